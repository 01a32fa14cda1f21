"""Stopping a training in a sentence, or on SIGTERM and Ctrl-C at the end of the same iteration on all ranks."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import torch
from torch import distributed

SIGNALS = (signal.SIGTERM, signal.SIGINT)

# Asking the other ranks waits for them, which a GPU that is busy with iterations queued ahead should not see often.
ITERATIONS_BETWEEN_QUESTIONS = {'cpu': 1, 'cuda': 10}


class TrainingStopped(SystemExit):
    """Ends the training without a traceback: the message goes to stderr, or the code to the shell."""


class StopSignals:
    """Notes the first SIGTERM or SIGINT instead of dying of it. A second one has its usual effect.

    Args:
        device_type: ``cpu`` or ``cuda``.
    """

    def __init__(self, device_type: str) -> None:
        self._received = 0
        self._interval = ITERATIONS_BETWEEN_QUESTIONS[device_type]
        # gloo whatever the gradients go through: the question must not wait for a GPU.
        self._group: Any = distributed.new_group(backend='gloo') if distributed.is_initialized() else None
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)

    def stop_after(self, iteration: int) -> int:
        """The signal that any rank has received, if all ranks have to stop after this iteration, otherwise 0."""
        if self._group is None:
            return self._received
        if iteration % self._interval:
            return 0
        received = torch.tensor(self._received)
        distributed.all_reduce(received, distributed.ReduceOp.MAX, group=self._group)
        return int(received)

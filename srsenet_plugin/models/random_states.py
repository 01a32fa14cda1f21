"""Random states of a training: the network's apart from the data's, saved and restored."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class RandomStates:
    """The random states of a training process.

    torch's generators, from which dropout and the like draw, have two states: one inside of :meth:`network` and one
    outside. Loaders draw from them as well, for each epoch and validation, which then changes nothing for the network.
    """

    def __init__(self) -> None:
        self._network = _torch_states()

    @contextmanager
    def network(self) -> Iterator[None]:
        """Within it, torch draws from the network's states."""
        outside = _torch_states()
        _set_torch_states(self._network)
        try:
            yield
        finally:
            self._network = _torch_states()
            _set_torch_states(outside)

    def state_dict(self) -> dict[str, Any]:
        """The states as tensors and plain values, which load without running code.

        torch's outside of :meth:`network` are not among them: the data's draws follow from the seed and the position.
        """
        algorithm, keys, *others = np.random.get_state()
        return {
            'network': self._network,
            'python': random.getstate(),
            'numpy': (algorithm, np.asarray(keys).tolist(), *others),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        self._network = state['network']
        version, values, gauss = state['python']
        random.setstate((version, tuple(values), gauss))
        np.random.set_state(state['numpy'])


def _torch_states() -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():
        states.append(torch.cuda.get_rng_state())
    return states


def _set_torch_states(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1 and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(states[1])

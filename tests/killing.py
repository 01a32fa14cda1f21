"""Runs functions in forks that die on the way, for kill_prepare.py and kill_training.py."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any


def forked(function: Callable[[], None], log: str, kill_after: float | None = None) -> int:
    """Runs a function in a fork that prints to a file and may be killed after some seconds, and returns its status."""
    child = os.fork()
    if not child:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        try:
            function()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def dying(owner: Any, name: str, call: int, function: Callable[[], None], after: bool) -> None:
    """Calls the function in a process that dies before, or after, it has made a call, the n-th, of another."""
    stock = getattr(owner, name)
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = stock(*args, **kwargs)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, counted)
    function()

"""Whether torch compiles networks on this machine."""

from __future__ import annotations

import torch
from basicsr.utils import get_root_logger
from torch import Tensor


def can_compile(device: torch.device) -> bool:
    """Tries it on a sum, because only then do C++ compiler, Python's headers or Triton turn out to be missing.

    Logs why not.
    """
    try:
        torch.compile(_increment)(torch.zeros(2, device=device))
    except Exception as error:  # of torch's compiler, or of the tools that it calls
        get_root_logger().warning(
            f'train: compile is left out, for torch.compile does not work here: {first_line(error)}'
        )
        return False
    return True


def first_line(error: Exception) -> str:
    """The first line of an error's message. Those of torch's compiler have many."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _increment(x: Tensor) -> Tensor:
    return x + 1

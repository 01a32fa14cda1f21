"""The device that a user names."""

from __future__ import annotations

import torch


def find_device(name: str) -> torch.device:
    """The device of a name, after a try whether it is there.

    Args:
        name: A device of torch's, or ``auto`` for CUDA if there is any and the processor otherwise.

    Raises:
        ValueError: There is no such device.
    """
    try:
        device = torch.device(('cuda' if torch.cuda.is_available() else 'cpu') if name == 'auto' else name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'The device {name} cannot be used: {str(error).partition(chr(10))[0]}') from None
    return device

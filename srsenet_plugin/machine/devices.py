"""The devices that torch computes on here, and the one that a user names."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

IS_THERE: Mapping[str, Callable[[], bool]] = {
    'cuda': lambda: torch.cuda.is_available(),
    'xpu': lambda: hasattr(torch, 'xpu') and torch.xpu.is_available(),  # Intel's GPUs, since torch 2.4
    'mps': lambda: torch.backends.mps.is_available(),  # Apple's
    'cpu': lambda: True,
}
"""Kinds of devices, the preferred first."""


def found_devices() -> list[str]:
    """The kinds of devices that are there, the preferred first."""
    return [kind for kind, is_there in IS_THERE.items() if is_there()]


def find_device(name: str, kinds: Sequence[str] = tuple(IS_THERE)) -> torch.device:
    """The device of a name, after a try whether it is there.

    Args:
        name: A device of torch's, or ``auto`` for the first of ``kinds`` that is there.
        kinds: Some of :data:`IS_THERE`, with ``cpu``.

    Raises:
        ValueError: There is no such device.
    """
    try:
        device = torch.device(next(kind for kind in found_devices() if kind in kinds) if name == 'auto' else name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'The device {name} cannot be used: {str(error).partition(chr(10))[0]}') from None
    return device


def describe(device: torch.device) -> str:
    """What measurements depend on: the device's name, for a processor its threads too, and torch's version."""
    if device.type == 'cuda':
        name = torch.cuda.get_device_name(device)
    else:
        name = f'{_processor()}, {torch.get_num_threads()} threads'
    return f'{name}, torch {torch.__version__}'


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:  # no Linux
        lines = []
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, '') or platform.processor() or platform.machine()

"""Which precision a device computes in fast."""

from __future__ import annotations

from pathlib import Path

import torch

DTYPES = {'off': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}
# Names of the processors' bf16 units: x86's in the kernel's spelling, and ARM's.
BF16_FLAGS = frozenset({'avx512_bf16', 'amx_bf16', 'bf16'})
# x86's units for products of 8-bit integers. Without them, sums of two products are cut off at 16 bits.
INT8_FLAGS = frozenset({'avx512_vnni', 'avx_vnni', 'amx_int8'})


def amp_dtype(amp: str | bool, device_type: str) -> tuple[torch.dtype | None, str]:
    """The dtype for autocast, or None for float32, and the reason in words.

    Args:
        amp: ``off``, ``bf16`` or ``fp16``. YAML reads off as False.
        device_type: ``cpu`` or ``cuda``.

    Raises:
        ValueError: ``amp`` is none of these.
    """
    name = 'off' if amp is False else amp
    if name not in DTYPES:
        raise ValueError(f'train: amp: {amp!r} is none of {", ".join(DTYPES)}.')
    if name == 'bf16' and not _computes_in_bf16(device_type):
        return None, f'float32, because this {device_type} has no bf16 units and emulates them slowly'
    if name == 'fp16' and device_type == 'cpu':
        return None, 'float32, because processors have no fast fp16; amp: bf16 is for them'
    return DTYPES[name], 'float32' if name == 'off' else f'{name}, with weights and loss in float32'


def grad_scaler(device_type: str, amp_dtype: torch.dtype | None) -> torch.amp.GradScaler:
    """What keeps gradients within the range of fp16; it does nothing for other dtypes."""
    enabled = amp_dtype == torch.float16
    if not hasattr(torch.amp, 'GradScaler'):  # before torch 2.3, where it was for CUDA alone
        return torch.cuda.amp.GradScaler(enabled=enabled)
    return torch.amp.GradScaler(device_type, enabled=enabled)


def computes_in_int8(device_type: str) -> bool:
    """Whether this is a processor with units for 8-bit integers. ARM's are left out: nobody has measured them yet."""
    return device_type == 'cpu' and _processor_has(INT8_FLAGS)


def _computes_in_bf16(device_type: str) -> bool:
    if device_type == 'cuda':
        return torch.cuda.get_device_capability() >= (8, 0)
    # other devices: where nobody has measured it yet
    return device_type == 'cpu' and _processor_has(BF16_FLAGS)


def _processor_has(flags: frozenset[str]) -> bool:
    """Whether the processor has one of these units."""
    try:
        words = Path('/proc/cpuinfo').read_text(encoding='utf-8').split()
    except OSError:  # no Linux: old torch has only its own, private, questions
        capabilities: dict[str, bool] = getattr(torch.cpu, 'get_capabilities', dict)()
        return any(capabilities.get(flag) for flag in flags)
    return not flags.isdisjoint(words)

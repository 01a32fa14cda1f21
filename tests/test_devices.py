"""Which device is taken, and that upscaling does nothing that Apple's devices cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import save_network
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from srsenet_plugin.inference.upscaler import Upscaler
from srsenet_plugin.machine import devices
from srsenet_plugin.machine.precision import amp_dtype


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The kinds of devices, beside the processor, that torch says are there."""
    kinds: set[str] = set()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: 'cuda' in kinds)
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: 'mps' in kinds)
    xpu = getattr(torch, 'xpu', type('', (), {}))
    monkeypatch.setattr(torch, 'xpu', xpu, raising=False)
    monkeypatch.setattr(xpu, 'is_available', lambda: 'xpu' in kinds, raising=False)
    monkeypatch.setattr(torch, 'zeros', lambda *_, device: None)  # the try
    return kinds


@pytest.mark.parametrize(
    ('kinds', 'taken'), [([], 'cpu'), (['mps'], 'mps'), (['mps', 'xpu'], 'xpu'), (['mps', 'xpu', 'cuda'], 'cuda')]
)
def test_auto(there: set[str], kinds: list[str], taken: str) -> None:
    there.update(kinds)
    assert devices.found_devices() == [*reversed(kinds), 'cpu']
    assert devices.find_device('auto') == torch.device(taken)
    assert devices.find_device('auto', ('cuda', 'cpu')) == torch.device('cuda' if 'cuda' in kinds else 'cpu')
    assert devices.find_device('cpu') == torch.device('cpu')


def test_torch_without_xpu(there: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, 'xpu')
    assert devices.found_devices() == ['cpu']


@pytest.mark.parametrize('device_type', ['mps', 'xpu'])
def test_the_processors_units_are_not_the_devices(device_type: str) -> None:
    assert amp_dtype('bf16', device_type)[0] is None


class WithoutFloat64(TorchDispatchMode):
    """Refuses float64, as Apple's devices do."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_flatten((args, kwargs, out))[0]:
            assert not (isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64), func
        return out


@pytest.mark.parametrize('dtype', [np.uint8, np.float64])
def test_upscaling_needs_no_float64(tmp_path: Path, dtype: type[np.generic]) -> None:
    upscale = Upscaler(4, save_network(tmp_path / 'net.pth'))
    with WithoutFloat64():
        assert upscale(np.zeros((5, 6, 4), dtype)).shape == (20, 24, 4)

"""spandrel recognises SrSENet by its keys and reads all else off its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import spandrel
import torch
from test_upscaler import save_network

import srsenet_plugin.spandrel_arch
from srsenet_plugin.weights.pretrained import load_network


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'upscale': 2},
        {'upscale': 3, 'num_feat': 12, 'reduction': 3},
        {'upscale': 5, 'num_block': 12},
        {'upscale': 8, 'num_in_ch': 3, 'num_out_ch': 3},
    ],
    ids=str,
)
def test_files_upscale(tmp_path: Path, options: dict[str, int]) -> None:
    path = save_network(tmp_path / 'net.pth', **options)
    model = spandrel.ModelLoader().load_from_file(path)
    assert isinstance(model, spandrel.ImageModelDescriptor)
    upscale, channels = options.get('upscale', 4), options.get('num_in_ch', 1)
    assert (model.architecture.id, model.scale) == ('SrSENet', upscale)
    assert (model.input_channels, model.output_channels) == (channels, channels)
    lr = torch.rand(1, channels, 9, 7)
    with torch.no_grad():
        assert torch.equal(model.eval()(lr), load_network(path)(lr).clamp(0, 1))


def test_files_in_half_precision(tmp_path: Path) -> None:
    path = save_network(tmp_path / 'net.pth')
    content = torch.load(path)
    torch.save({'params': {name: weight.half() for name, weight in content['params'].items()}}, path)
    assert spandrel.ModelLoader().load_from_file(path).dtype == torch.float32


def test_registering_again_does_nothing() -> None:
    before = len(spandrel.MAIN_REGISTRY)
    registered = spandrel.MAIN_REGISTRY.add(
        spandrel.ArchSupport.from_architecture(srsenet_plugin.spandrel_arch.SrSENetArch()), ignore_duplicates=True
    )
    assert not registered
    assert len(spandrel.MAIN_REGISTRY) == before

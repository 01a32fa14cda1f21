"""Published weights, which show whether architectures and evaluation are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from srsenet_plugin import VDSR, cli
from srsenet_plugin.compare import quality
from srsenet_plugin.compare.networks import find_network
from srsenet_plugin.weights import convert, files


@pytest.mark.slow
@pytest.mark.parametrize(
    ('arch', 'scale', 'name', 'psnr'),
    [
        ('VDSR', 2, 'Set5', 37.573),
        ('VDSR', 4, 'Set5', 31.433),
        ('LapSRN', 4, 'Set5', 31.620),
        ('LapSRN', 4, 'Set14', 28.223),
    ],
)
def test_published_weights_have_their_figures(
    benchmarks: Path, shared_datasets: Path, tmp_path: Path, arch: str, scale: int, name: str, psnr: float
) -> None:
    """Measured by those who provide the weights, with code of their own."""
    file = {'VDSR': 'vdsr_twtygqyy', 'LapSRN': 'lapsrn_x4_twtygqyy'}[arch]
    network = find_network(arch, scale, shared_datasets.parent / f'weights/{file}.safetensors')
    (benchmark,) = (found for found in quality.find_benchmarks(benchmarks / 'datasets', scale) if found.name == name)
    scores = quality.evaluate_network(network.build(), network.channels, '', benchmark, tmp_path / name, '')
    assert quality.means(scores)[0] == pytest.approx(psnr, abs=0.005)


def published_vdsr() -> dict[str, torch.Tensor]:
    """A state dict with the published one's keys, and small."""
    layers = {f'residual_layer.{i}.conv.weight': torch.rand(2, 2, 3, 3) for i in range(18)}
    return {'input.weight': torch.rand(2, 1, 3, 3), **layers, 'output.weight': torch.rand(1, 2, 3, 3)}


def test_command(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    state = published_vdsr()
    torch.save(state, tmp_path / 'published.pth')
    out = tmp_path / 'models/vdsr.pth'
    assert cli.main(['convert', str(tmp_path / 'published.pth'), '-o', str(out)]) == 0
    assert capfd.readouterr().out == f'{out}: type: VDSR\n'
    assert files.load(out)['scales'] == [2, 3, 4]
    assert find_network('VDSR', 3, out).weights is not None
    network = find_network('VDSR', 8, out)
    assert (network.weights, network.no_weights) == (None, f'{out} is for x2, x3, x4')
    net = VDSR(num_feat=2)
    net.load_state_dict(files.network_weights(out, 'params'))
    assert torch.equal(net.body[10].weight, state['residual_layer.10.conv.weight'])
    assert torch.equal(net.conv_last.weight, state['output.weight'])

    assert cli.main(['convert', str(tmp_path / 'published.pth'), '-o', str(out)]) == 1
    assert f'srsenet: {out} exists already.' in capfd.readouterr().err


def test_unknown_weights_are_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    torch.save({'conv.weight': torch.zeros(1)}, tmp_path / 'x.pth')
    assert convert.convert_state_dict({'conv.weight': torch.zeros(1)}) is None
    assert cli.main(['convert', str(tmp_path / 'x.pth'), '-o', str(tmp_path / 'out.pth')]) == 1
    assert 'x.pth is not one of the releases that can be converted' in capfd.readouterr().err
    (tmp_path / 'damaged.pth').write_bytes(np.random.default_rng(0).bytes(100))
    assert cli.main(['convert', str(tmp_path / 'damaged.pth'), '-o', str(tmp_path / 'out.pth')]) == 1
    assert 'damaged.pth is damaged, or no file of weights' in capfd.readouterr().err
    assert not (tmp_path / 'out.pth').exists()

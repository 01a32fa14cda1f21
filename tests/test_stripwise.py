"""The network in strips equals the network, in a fraction of the memory."""

from __future__ import annotations

import re

import pytest
import torch
from conftest import run_python

from srsenet_plugin import SrSENet
from srsenet_plugin.inference import stripwise
from srsenet_plugin.inference.stripwise import StripwiseSrSENet

PEAK = """
import sys, torch
from srsenet_plugin import SrSENet
from srsenet_plugin.inference.stripwise import StripwiseSrSENet
net = SrSENet(num_block=1).eval()  # more blocks take more time, and no more memory
if sys.argv[1] == 'strips':
    net = StripwiseSrSENet(net)
with torch.inference_mode():
    net(torch.rand(1, 1, 400, 800))
print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))
"""


def random_net(**options: int) -> SrSENet:
    torch.manual_seed(0)
    net = SrSENet(**({'num_feat': 16, 'num_block': 2, 'reduction': 4} | options)).eval()
    for parameter in net.parameters():
        parameter.data.normal_(0, 0.1)
    return net


def reference(net: SrSENet, lr: torch.Tensor) -> torch.Tensor:
    """In float64, beside which float32 rounds: by 1e-6 or less here, where values are about 1."""
    with torch.no_grad():
        sr = net.double()(lr.double())
    net.float()
    return sr


@pytest.mark.parametrize('rows', [None, (1, 1), (2, 3), (5, 2), (7, 23), (100, 100)], ids=str)
@pytest.mark.parametrize('upscale', [2, 3, 4, 5, 8])
@pytest.mark.parametrize('channels', [1, 3])
def test_equals_the_network(upscale: int, channels: int, rows: tuple[int, int] | None) -> None:
    net = random_net(upscale=upscale, num_in_ch=channels, num_out_ch=channels)
    lr = torch.rand(2, channels, 23, 17)
    sr = StripwiseSrSENet(net, rows=rows)(lr)
    assert sr.dtype == torch.float32
    torch.testing.assert_close(sr, reference(net, lr).float(), rtol=0, atol=2e-6)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_without_torchs_fused_operator(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """Which is private, and may change or be missing."""
    net, lr = random_net(), torch.rand(1, 1, 23, 17)
    strips = StripwiseSrSENet(net, dtype)
    srs = [strips(lr)]
    stripwise._has_fused_operator.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(torch.ops.mkldnn, '_convolution_pointwise', refused)
        srs.append(strips(lr))
    stripwise._has_fused_operator.cache_clear()
    torch.testing.assert_close(*srs, rtol=0, atol=2e-6 if dtype == torch.float32 else 0.02)


def refused(*arguments: object) -> None:
    raise RuntimeError('no such operator here')


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_small_images(height: int, width: int) -> None:
    net = random_net()
    lr = torch.rand(1, 1, height, width)
    torch.testing.assert_close(StripwiseSrSENet(net)(lr), reference(net, lr).float(), rtol=0, atol=2e-6)


def test_networks_without_biases() -> None:
    net = random_net()
    net.upconv.bias = net.conv_last.bias = None
    lr = torch.rand(1, 1, 9, 8)
    torch.testing.assert_close(StripwiseSrSENet(net)(lr), reference(net, lr).float(), rtol=0, atol=2e-6)


def test_goes_to_a_device_as_a_whole() -> None:
    """The device 'meta' computes shapes, and refuses tensors that were left behind."""
    sr = StripwiseSrSENet(random_net()).to('meta')(torch.empty(1, 1, 9, 8, device='meta'))
    assert sr.shape == (1, 1, 36, 32)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_features_of_half_precision(dtype: torch.dtype) -> None:
    net = random_net()
    lr = torch.rand(1, 1, 40, 30)
    sr = StripwiseSrSENet(net, dtype, torch.float32)(lr)
    difference = (sr - reference(net, lr)).abs().max()
    assert 0 < difference < 0.05


def test_tiles_are_another_image() -> None:
    """The means of the SE layers are those of the whole image: half an image comes out differently, also far inside."""
    net = random_net()
    for module in net.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data *= 30  # gates that make much of the means
    lr = torch.rand(1, 1, 80, 40) * torch.linspace(0, 1, 80)[:, None]
    whole = reference(net, lr)
    tile = reference(net, lr[:, :, :40])
    middle = slice(60, 100)  # 5 LR rows and more from the cut, which the convolutions do not reach
    assert (whole[:, :, middle] - tile[:, :, middle]).abs().max() > 1e-3
    strips = StripwiseSrSENet(net, rows=(8, 8))(lr)
    assert (whole - strips).abs().max() < 2e-6


@pytest.mark.slow
def test_peak_memory_is_less_than_a_quarter() -> None:
    peaks = [int(re.findall(r'\d+', run_python(PEAK, way))[-1]) for way in ('whole', 'strips')]
    assert peaks[1] < peaks[0] / 4, f'{peaks} kB'


def test_networks_whose_weights_are_in_half_precision() -> None:
    torch.manual_seed(0)
    net = SrSENet(num_feat=8, num_block=1, reduction=2).bfloat16()
    x = torch.rand(1, 1, 7, 6)
    expected = SrSENet(num_feat=8, num_block=1, reduction=2)
    expected.load_state_dict(net.state_dict())
    torch.testing.assert_close(StripwiseSrSENet(net, torch.float32)(x), StripwiseSrSENet(expected)(x))

"""The network in 8-bit integers is near the network, whatever the strips, and steps aside where it cannot be had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PHOTOS, save_network
from numpy.typing import NDArray
from PIL import Image
from test_stripwise import random_net
from torch import nn
from torch.nn import functional as F

from srsenet_plugin import SrSENet, cli
from srsenet_plugin.compare import quality
from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.inference import quantised, upscaler
from srsenet_plugin.inference.quantised import Int8SrSENet
from srsenet_plugin.inference.stripwise import StripwiseSrSENet, strips
from srsenet_plugin.inference.upscaler import Upscaler
from srsenet_plugin.machine import precision
from srsenet_plugin.weights import pretrained
from srsenet_plugin.weights.codes import Codes
from srsenet_plugin.weights.ranges import PATCH_SIZE, Ranges, calibrate, patches, quantised_layers, stored_ranges

needs_int8 = pytest.mark.skipif(quantised.obstacle('cpu') is not None, reason=str(quantised.obstacle('cpu')))


@pytest.fixture(scope='module')
def photo() -> NDArray[np.uint8]:
    return np.asarray(Image.open(PHOTOS / 'coffee.png'))[50:130, 100:201]


def quantised_in_float(net: SrSENet, ranges: Ranges, lr: torch.Tensor) -> torch.Tensor:
    """What the network puts out when weights, and values between layers, are rounded as in 8 bits: in float64."""

    def rounded(values: torch.Tensor, limits: tuple[float, float]) -> torch.Tensor:
        low, high = min(limits[0], 0), max(limits[1], 0)
        step = (high - low) / 255
        zero = round(-low / step)
        return ((values / step).round() + zero).clamp(0, 255).sub(zero) * step

    def activated(values: torch.Tensor, limits: tuple[float, float]) -> torch.Tensor:
        """Rounded before LeakyReLU and after it."""
        low, high = (limit if limit > 0 else 0.2 * limit for limit in limits)
        return rounded(F.leaky_relu(rounded(values, limits), 0.2), (low, high))

    def conv(layer: nn.Conv2d, values: torch.Tensor) -> torch.Tensor:
        steps = layer.weight.abs().amax((1, 2, 3), keepdim=True) / 127
        return F.conv2d(values, (layer.weight / steps).round() * steps, layer.bias, padding=1)

    net = net.double()
    with torch.no_grad():
        feat = F.leaky_relu(net.conv_first(lr.double()), 0.2)
        limits = tuple(limit if limit > 0 else 0.2 * limit for limit in ranges['conv_first'])
        for number, block in enumerate(net.body):
            branch = activated(conv(block.conv1, rounded(feat, limits)), ranges[f'body.{number}.conv1'])
            branch = activated(conv(block.conv2, branch), ranges[f'body.{number}.conv2'])
            feat = feat + branch * block.se.gate(branch.mean((2, 3)))
            limits = ranges[f'body.{number}']
        hr = F.leaky_relu(net.upconv(rounded(feat, limits)), 0.2)
        low, high = (limit if limit > 0 else 0.2 * limit for limit in ranges['upconv'])
        sr = conv(net.conv_last, rounded(hr, (low, high))) + net.upconv_image(lr.double())
    net.float()
    return sr


@needs_int8
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('scale', [2, 3, 4, 5, 8])
def test_equals_quantisation_in_float(scale: int, channels: int) -> None:
    """The rest of the difference is of values that fall on the other side of half a step, and of bfloat16."""
    net = random_net(upscale=scale, num_in_ch=channels, num_out_ch=channels)
    lr = torch.rand(2, channels, 23, 17)
    ranges = calibrate(net, [lr])
    sr = Int8SrSENet(net, ranges)(lr)
    expected = quantised_in_float(net, ranges, lr)
    with torch.no_grad():
        loss = (expected - net(lr)).square().mean().sqrt()
    assert sr.dtype == torch.float32
    assert (sr - expected).square().mean().sqrt() < 2 * loss
    assert (sr - net(lr)).abs().max() < 0.05 * net(lr).abs().max()


@needs_int8
@pytest.mark.parametrize('rows', [(1, 1), (2, 3), (5, 2), (7, 23), (100, 100)], ids=str)
@pytest.mark.parametrize('scale', [2, 3, 4])
def test_the_same_image_for_every_strip_size(scale: int, rows: tuple[int, int]) -> None:
    net = random_net(upscale=scale)
    lr = torch.rand(1, 1, 41, 29)
    ranges = calibrate(net, [lr])
    assert torch.equal(Int8SrSENet(net, ranges, rows)(lr), Int8SrSENet(net, ranges)(lr))


def test_workers_compute_on_one_thread_each() -> None:
    """Otherwise they share each operator with threads of their own, and the last bit depends on chance."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with quantised._workers() as each:
            assert each(lambda rows: torch.get_num_threads(), strips(9, 1)) == [1] * 9
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@needs_int8
def test_every_thread_has_a_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of an image that would otherwise be one strip. The image stays the same, and torch's number of threads."""
    counts = []

    def counted(height: int, count: int) -> list[slice]:
        found = list(strips(height, count))
        counts.append(len(found))
        return found

    net, lr = random_net(), torch.rand(1, 1, 70, 11)
    upscaled = Int8SrSENet(net, calibrate(net, [lr]))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = upscaled(lr)
        monkeypatch.setattr(quantised, 'strips', counted)
        torch.set_num_threads(8)
        assert torch.equal(upscaled(lr), expected)
        assert torch.get_num_threads() == 8
    finally:
        torch.set_num_threads(before)
    in_float = (counts.pop(0), counts.pop())  # strips of these are always the same
    assert in_float == (1, 1)
    assert min(counts) == 8


@needs_int8
@pytest.mark.parametrize(('height', 'width'), [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_small_images(height: int, width: int) -> None:
    net = random_net()
    lr = torch.rand(1, 1, height, width)
    torch.testing.assert_close(Int8SrSENet(net, calibrate(net, [lr]))(lr), net(lr).detach(), rtol=0, atol=0.1)


@needs_int8
def test_networks_without_biases_and_without_values() -> None:
    net = random_net()
    net.upconv.bias = net.conv_last.bias = None
    lr = torch.rand(1, 1, 9, 8)
    torch.testing.assert_close(Int8SrSENet(net, calibrate(net, [lr]))(lr), net(lr).detach(), rtol=0, atol=0.1)
    for parameter in net.parameters():
        parameter.data.zero_()
    assert not Int8SrSENet(net, calibrate(net, [lr]))(lr).any()


def test_codes_after_leaky_relu() -> None:
    """Each code stands for LeakyReLU of the value before, within half a step, and the largest are the ends."""
    codes = Codes.over(-2.0, 1.5)
    after, table = codes.activated(0.2)
    values = codes.scale * (np.arange(256) - codes.zero)
    expected = np.where(values > 0, values, 0.2 * values)
    assert np.abs(after.scale * (table.astype(int) - after.zero) - expected).max() <= 0.51 * after.scale
    assert table[codes.zero] == after.zero
    assert (table[0], table[255]) == (0, 255)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_codes_are_rounded_and_clamped(dtype: torch.dtype) -> None:
    codes = Codes.over(-1.0, 3.0)
    values = torch.linspace(-2, 4, 1001).to(dtype)
    expected = (values.double() / codes.scale + codes.zero).round().clamp(0, 255)
    error = codes.of(values).double() - expected
    assert error.abs().max() <= 1
    assert error.abs().mean() < (0.1 if dtype == torch.float32 else 0.2)
    assert abs(float(error.mean())) < 0.05


def test_ranges_hold_almost_all_values_of_all_images() -> None:
    net = random_net()
    images = [torch.rand(1, 1, 20, 30), 2 * torch.rand(1, 1, 25, 20)]
    ranges = calibrate(net, images)
    assert list(ranges) == [name for name, _ in quantised_layers(net)]
    with torch.no_grad():
        first = torch.cat([net.conv_first(image).flatten() for image in images])
    assert ranges['conv_first'] == pytest.approx((float(first.min()), float(first.max())), rel=1e-5)


@pytest.mark.parametrize('size', [(1, 300), (41, 40), (500, 700)])
def test_patches_reach_all_edges(size: tuple[int, int]) -> None:
    rows, columns = torch.meshgrid(*map(torch.arange, size), indexing='ij')
    found = patches(torch.stack([rows, columns]).float())
    assert found.shape[2:] == tuple(min(side, PATCH_SIZE) for side in size)
    for channel, side in enumerate(size):
        assert (found[:, channel].min(), found[:, channel].max()) == (0, side - 1)


def test_all_weights_of_the_package_have_ranges() -> None:
    """After new weights: python scripts/calibrate_int8.py BSD200."""
    for name in pretrained.names('srsenet'):
        ranges = stored_ranges(pretrained.weights_file(name))
        assert ranges is not None, name
        assert set(ranges) == {layer for layer, _ in quantised_layers(pretrained.load_network(name))}


SLOW = [
    pytest.param(name, scale, marks=pytest.mark.slow) for name in ('Set14', 'B100') for scale in pretrained.scales()
]


@needs_int8
@pytest.mark.parametrize(('name', 'scale'), [('Set5', scale) for scale in pretrained.scales()] + SLOW)
def test_loss_on_benchmarks(shared_datasets: Path, name: str, scale: int) -> None:
    net = pretrained.load_pretrained(scale)
    ranges = stored_ranges(pretrained.weights_file(f'srsenet_x{scale}'))
    assert ranges
    losses = []
    for path in sorted((shared_datasets / name / 'HR').iterdir()):
        gt = quality.read_bgr(path)
        gt = gt[: len(gt) // scale * scale, : gt.shape[1] // scale * scale]
        lr = imresize(gt, 1 / scale)
        exact, own = (
            quality.score(quality.upscale(way, 1, lr, scale)[0], gt, scale)[0]
            for way in (StripwiseSrSENet(net), Int8SrSENet(net, ranges))
        )
        losses.append(exact - own)
    assert np.mean(losses) <= 0.02


@needs_int8
def test_the_packages_weights_are_computed_in_int8(photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    sr = Upscaler(4)(photo)
    assert np.array_equal(sr, Upscaler(4, precision='int8')(photo))
    exact = Upscaler(4, precision='fp32')(photo).astype(int)
    assert not np.array_equal(sr, exact)
    assert np.abs(sr - exact).mean() < 0.5
    monkeypatch.setattr(upscaler, 'obstacle', lambda device: 'no reason')
    assert not np.array_equal(sr, Upscaler(4)(photo))


@needs_int8
@pytest.mark.parametrize('options', [{}, {'tile': 30}, {'self_ensemble': True}], ids=str)
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_own_weights_are_calibrated_on_the_image(
    tmp_path: Path, photo: NDArray[np.uint8], channels: int, options: dict[str, int]
) -> None:
    weights = save_network(tmp_path / 'x4.pth', num_in_ch=1)
    image = np.dstack([photo, photo[..., :1]])[:41, :50, {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
    exact = Upscaler(4, weights, precision='fp32', **options)(image).astype(int)  # type: ignore[arg-type]
    sr = Upscaler(4, weights, precision='int8', **options)(image)  # type: ignore[arg-type]
    assert 0 < np.abs(sr - exact).max() <= 4


def test_without_units_for_int8(
    tmp_path: Path, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(precision, 'INT8_FLAGS', frozenset({'no such flag'}))
    quantised.obstacle.cache_clear()
    try:
        with pytest.warns(UserWarning, match='There is no int8 here: this processor has no units for int8'):
            upscale = Upscaler(4, precision='int8')
        assert np.array_equal(upscale(photo), Upscaler(4)(photo))
        Image.fromarray(photo[:20, :20]).save(tmp_path / 'photo.png')
        assert cli.main(['upscale', str(tmp_path / 'photo.png'), '--precision', 'int8']) == 0
        assert capsys.readouterr().err.splitlines()[0].startswith('There is no int8 here: this processor has no units')
    finally:
        quantised.obstacle.cache_clear()


@needs_int8
def test_a_torch_without_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    class Operators:
        pass

    monkeypatch.setattr(torch.ops, 'onednn', Operators())
    quantised.obstacle.cache_clear()
    try:
        assert 'lacks operators in int8: pip install -U torch' in str(quantised.obstacle('cpu'))
    finally:
        quantised.obstacle.cache_clear()


def test_the_question_for_int8_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    quantised.obstacle.cache_clear()
    quantised.obstacle('cpu')
    assert torch.equal(torch.get_rng_state(), before)


def test_other_devices_have_no_int8() -> None:
    assert quantised.obstacle('cuda') == 'int8 is for processors, not for cuda'


def test_ranges_belong_to_the_content_of_a_file(tmp_path: Path) -> None:
    file = pretrained.weights_file('srsenet_x4')
    copy = tmp_path / 'mine.pth'
    copy.write_bytes(file.read_bytes())
    assert stored_ranges(copy) == stored_ranges(file) is not None
    copy.write_bytes(file.read_bytes() + b'0')
    assert stored_ranges(copy) is None


@needs_int8
@pytest.mark.parametrize('color', ['net', 'rgb'])
def test_onnx_in_int8(tmp_path: Path, photo: NDArray[np.uint8], color: str) -> None:
    onnxruntime = pytest.importorskip('onnxruntime')
    path = tmp_path / 'x4.onnx'
    command = ['export', '--format', 'onnx', '--precision', 'int8', '--color', color, '-o', str(path)]
    assert cli.main(command) == 0
    assert path.stat().st_size < 1.1e6
    image = photo if color == 'rgb' else photo[..., 1]
    lr = np.float32(image.reshape(*image.shape[:2], -1).transpose(2, 0, 1)[None] / 255)
    if color == 'net':
        lr = lr * np.float32(219 / 255) + np.float32(16 / 255)
    sr = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider']).run(None, {'lr': lr})[0]
    if color == 'net':
        sr = (sr - 16 / 255) * (255 / 219)
    own = Upscaler(4, precision='int8')(image).reshape(*sr.shape[2:], -1).transpose(2, 0, 1)
    difference = sr[0].clip(0, 1) * 255 - own
    assert np.sqrt(np.square(difference).mean()) < 1
    assert np.abs(difference).max() < 12


def test_int8_is_for_onnx_and_weights_with_ranges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / 'net')
    assert cli.main(['export', '--format', 'safetensors', '--precision', 'int8', '-o', out]) == 1
    assert 'safetensors has no int8 here; onnx has.' in capsys.readouterr().err
    weights = str(save_network(tmp_path / 'x4.pth'))
    assert cli.main(['export', '--format', 'onnx', '--precision', 'int8', '-o', out, '--weights', weights]) == 1
    assert 'of these weights none were measured' in capsys.readouterr().err
    assert not (tmp_path / 'net').exists()

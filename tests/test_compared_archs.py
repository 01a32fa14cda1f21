"""The architectures of Table I that SrSENet is compared with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from torch import nn

from srsenet_plugin import DRCN, FSRCNN, SRCNN, VDSR, Bicubic, DeepSupervisionLoss, LapSRN
from srsenet_plugin.archs.bicubic_arch import BicubicEnlarge
from srsenet_plugin.data import imresize

SMALL: dict[str, dict[str, Any]] = {
    'Bicubic': {},
    'SRCNN': {},
    'FSRCNN': {},
    'VDSR': {'num_feat': 8},
    'DRCN': {'num_feat': 8, 'num_recursion': 3},
    'LapSRN': {'num_feat': 8},
}


def weights(net: nn.Module) -> int:
    """Parameters as the papers count them: of convolutions, without biases."""
    return sum(module.weight.numel() for module in net.modules() if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)))


@pytest.mark.parametrize(
    ('net', 'count'),
    [
        (SRCNN(mapping_kernel_size=1), 8_032),  # Dong et al., TPAMI 2016
        (SRCNN(mapping_kernel_size=5), 57_184),  # the same
        (FSRCNN(upscale=3), 12_464),  # Dong et al., ECCV 2016: FSRCNN (56, 12, 4)
        (VDSR(), 664_704),  # Tai et al., DRRN, CVPR 2017: 665 k; and the published weights
        (DRCN(), 1_774_080),  # the same: 1,774 k
        (LapSRN(upscale=4), 812_768),  # Lai et al., TPAMI 2019: 813 k
        (LapSRN(upscale=4, upconv_kernel_size=4), 870_112),  # the published weights
        (Bicubic(), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_weights_as_published(net: nn.Module, count: int) -> None:
    assert weights(net) == count


@pytest.mark.parametrize('arch', SMALL)
@pytest.mark.parametrize('upscale', [2, 3, 4, 5, 8])
@pytest.mark.parametrize('channels', [1, 3])
def test_any_scale_y_and_rgb_from_the_lr_image(arch: str, upscale: int, channels: int) -> None:
    options = {'num_in_ch': channels, 'num_out_ch': channels} if arch != 'Bicubic' else {}
    net = build_network({'type': arch, 'upscale': upscale, **SMALL[arch], **options}).eval()
    with torch.no_grad():
        assert net(torch.rand(2, channels, 5, 7)).shape == (2, channels, 5 * upscale, 7 * upscale)


@pytest.mark.parametrize('arch', [name for name in SMALL if name != 'Bicubic'])
def test_every_weight_learns(arch: str) -> None:
    torch.manual_seed(0)
    net = build_network({'type': arch, 'upscale': 4, **SMALL[arch]})
    with torch.no_grad():
        for parameter in net.parameters():  # DRCN's recursions start as identities, which weigh the same
            parameter += 0.01 * torch.randn_like(parameter)
    loss = build_loss({'type': 'DeepSupervisionLoss', 'loss': {'type': 'MSELoss'}})
    loss(net(torch.rand(2, 1, 8, 8)), torch.rand(2, 1, 32, 32)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize('upscale', [2, 3, 4, 5, 7, 8])
@pytest.mark.parametrize('size', [(1, 1), (1, 6), (2, 3), (13, 9)])
def test_enlarges_as_imresize(upscale: int, size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(BicubicEnlarge(upscale)(x), imresize(x, upscale), rtol=0, atol=1e-14)
    torch.testing.assert_close(BicubicEnlarge(upscale)(x.float()), imresize(x, upscale).float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize('upscale', [2, 3, 4, 8])
def test_bicubic_of_8_bit_images_as_imresize(upscale: int) -> None:
    x = torch.randint(0, 256, (1, 3, 31, 47), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    x[..., :16, :16] = x[..., :16, :16] // 128 * 255  # over- and undershoots
    assert torch.equal(Bicubic(upscale)(x / 255), imresize(x, upscale) / 255)


def test_enlarges_in_float32_under_autocast() -> None:
    x = torch.rand(1, 1, 8, 8)
    with torch.autocast('cpu', torch.bfloat16):
        enlarged = BicubicEnlarge(4)(x)
    assert torch.equal(enlarged, BicubicEnlarge(4)(x))
    half = BicubicEnlarge(4)(x.half())
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), enlarged, rtol=0, atol=1e-3)


def test_lapsrn_predicts_each_level_in_training() -> None:
    net = LapSRN(num_feat=4, num_conv=1, upscale=8)
    x = torch.rand(1, 1, 5, 6)
    imgs = net(x)
    assert [tuple(img.shape[2:]) for img in imgs] == [(10, 12), (20, 24), (40, 48)]
    assert torch.equal(net.eval()(x), imgs[-1])


def test_lapsrn_has_5_convolutions_a_level_at_x8() -> None:
    assert [len(level.body) for level in LapSRN(upscale=8).levels] == [5, 5, 5]
    assert [len(level.body) for level in LapSRN(upscale=4).levels] == [10, 10]


def test_drcn_averages_its_predictions() -> None:
    net = DRCN(num_feat=4, num_recursion=3, upscale=2)
    with torch.no_grad():
        net.output_weights.copy_(torch.tensor([1.0, 2.0, 5.0]))
    x = torch.rand(1, 1, 5, 6)
    *predictions, average = net(x)
    assert len(predictions) == 3
    expected = sum(weight / 8 * img for weight, img in zip((1, 2, 5), predictions))
    torch.testing.assert_close(average, expected)
    assert torch.equal(net.eval()(x), average)


def test_deep_supervision_adds_up_the_levels() -> None:
    loss = DeepSupervisionLoss({'type': 'L1Loss', 'loss_weight': 3.0}, intermediate_weight=0.25, loss_weight=2.0)
    small, large = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 32, 32)
    target = torch.full((1, 1, 32, 32), 0.5)  # bicubic keeps it
    expected = 2 * 3 * ((large - 0.5).abs().mean() + 0.25 * (small - 0.5).abs().mean())
    torch.testing.assert_close(loss((small, large), target), expected)
    torch.testing.assert_close(loss(large, target), 2 * 3 * (large - 0.5).abs().mean())


def test_deep_supervision_shrinks_the_target_as_imresize() -> None:
    """Inside; the edges of a patch are mirrored by imresize alone."""
    target = torch.rand(1, 1, 64, 64)
    inside = torch.zeros(1, 1, 32, 32)
    inside[..., 2:-2, 2:-2] = 1
    shrunk = imresize(target, 1 / 2)
    # The loss of an image that differs from the right target by 1 inside, and nowhere else
    large = target.clone()
    loss = DeepSupervisionLoss({'type': 'L1Loss', 'reduction': 'sum'})
    edges = loss((shrunk, large), target)
    torch.testing.assert_close(loss((shrunk + inside, large), target) - edges, inside.sum(), rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    ('arch', 'arguments', 'message'),
    [
        (Bicubic, {'upscale': 1}, 'Bicubic: upscale must be an integer of at least 2; got 1'),
        (SRCNN, {'mapping_kernel_size': 4}, 'SRCNN: mapping_kernel_size must be odd; got 4'),
        (FSRCNN, {'num_shrink': 0}, 'FSRCNN: num_shrink must be an integer of at least 1'),
        (VDSR, {'num_layer': 1}, 'VDSR: num_layer must be an integer of at least 2'),
        (VDSR, {'num_in_ch': 3}, 'VDSR: num_out_ch must equal num_in_ch'),
        (DRCN, {'num_recursion': 0}, 'DRCN: num_recursion must be an integer of at least 1'),
        (LapSRN, {'upscale': 2.5}, 'LapSRN: upscale must be an integer of at least 2; got 2.5'),
        (LapSRN, {'num_conv': 0}, 'LapSRN: num_conv must be an integer of at least 1'),
    ],
)
def test_wrong_arguments_are_refused(arch: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arch(**arguments)

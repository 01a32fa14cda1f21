from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from srsenet_plugin import LapSRN, SELayer, SrSENet


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(('upscale', 'kernel'), [(2, 4), (3, 5), (4, 8), (5, 9), (8, 16)])
@pytest.mark.parametrize('channels', [1, 3])
def test_parameter_count_equals_the_layer_list(upscale: int, kernel: int, channels: int) -> None:
    conv_first = channels * 64 * 9 + 64
    block = 2 * (64 * 64 * 9 + 64) + (64 * 4 + 4) + (4 * 64 + 64)
    upconv = 64 * 64 * kernel**2 + 64
    conv_last = 64 * channels * 9 + channels
    upconv_image = channels * channels * kernel**2
    net = SrSENet(num_in_ch=channels, num_out_ch=channels, upscale=upscale)
    assert count(net) == conv_first + 8 * block + upconv + conv_last + upconv_image
    stated = {2: 662_321, 4: 858_977, 8: 1_645_601}  # in the README, for Y
    if channels == 1 and upscale in stated:
        assert count(net) == stated[upscale]


@pytest.mark.parametrize(('upscale', 'expected'), [(2, (4, 2, 1)), (4, (8, 4, 2)), (8, (16, 8, 4))])
def test_transposed_convolutions_are_those_of_section_4b(upscale: int, expected: tuple[int, int, int]) -> None:
    net = SrSENet(upscale=upscale)
    for conv in (net.upconv, net.upconv_image):
        assert (conv.kernel_size[0], conv.stride[0], conv.padding[0]) == expected


def test_20_layers_as_in_table_1() -> None:
    assert sum(isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) for module in SrSENet().modules()) == 20


def test_order_of_layers_is_that_of_figure_2() -> None:
    """The whole network against its drawing, written out with functions and random weights."""
    torch.manual_seed(0)
    net = SrSENet(num_feat=8, num_block=2, reduction=2).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    state = net.state_dict()

    def act(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.conv2d(x, state[f'{name}.weight'], state[f'{name}.bias'], padding=1)

    lr = torch.rand(2, 1, 5, 7, dtype=torch.float64)
    x = act(conv(lr, 'conv_first'))
    for i in range(2):
        y = act(conv(act(conv(x, f'body.{i}.conv1')), f'body.{i}.conv2'))
        z = y.mean((2, 3))
        z = act(z @ state[f'body.{i}.se.fc1.weight'].T + state[f'body.{i}.se.fc1.bias'])
        z = 1 / (1 + torch.exp(-(z @ state[f'body.{i}.se.fc2.weight'].T + state[f'body.{i}.se.fc2.bias'])))
        x = x + y * z[..., None, None]
    x = act(F.conv_transpose2d(x, state['upconv.weight'], state['upconv.bias'], stride=4, padding=2))
    expected = conv(x, 'conv_last') + F.conv_transpose2d(lr, state['upconv_image.weight'], stride=4, padding=2)
    torch.testing.assert_close(net(lr), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('upscale', [2, 3, 4, 5, 8])
@pytest.mark.parametrize('size', [(1, 1), (1, 5), (3, 2), (7, 11)])
def test_output_is_upscale_times_the_input(upscale: int, size: tuple[int, int]) -> None:
    net = SrSENet(num_feat=16, num_block=1, upscale=upscale)
    assert net(torch.rand(2, 1, *size)).shape == (2, 1, size[0] * upscale, size[1] * upscale)


@pytest.mark.parametrize('upscale', [2, 3, 4, 5, 8])
@pytest.mark.parametrize('channels', [1, 3])
def test_untrained_network_is_bilinear_upsampling(upscale: int, channels: int) -> None:
    net = SrSENet(num_in_ch=channels, num_out_ch=channels, upscale=upscale)
    lr = torch.rand(1, channels, 9, 10)
    expected = F.interpolate(lr, scale_factor=upscale, mode='bilinear', align_corners=False)
    # At the edges a transposed convolution has no neighbours to interpolate with.
    inside = (..., slice(upscale, -upscale), slice(upscale, -upscale))
    torch.testing.assert_close(net(lr)[inside], expected[inside], rtol=0, atol=1e-6)


@pytest.mark.parametrize('arch', [SrSENet, LapSRN])
def test_autocast_does_not_round_the_image(arch: type[SrSENet | LapSRN]) -> None:
    torch.manual_seed(0)
    net = arch(upscale=2).eval()
    for parameter in (net if isinstance(net, SrSENet) else net.levels[0]).conv_last.parameters():
        nn.init.zeros_(parameter)  # so that the image alone is left
    lr = torch.rand(1, 1, 9, 10)
    expected = net(lr)
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(net(lr), expected, rtol=0, atol=0)


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    net = SrSENet(num_in_ch=3, num_out_ch=3, upscale=2)
    nn.init.normal_(net.conv_last.weight)  # it starts at zero, and lets nothing through on the first step
    net(torch.rand(2, 3, 6, 6)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_blocks_have_weights_of_their_own() -> None:
    blocks = list(SrSENet().body)
    assert len(blocks) == 8
    assert len({id(parameter) for block in blocks for parameter in block.parameters()}) == 8 * 8


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_se_layer_against_float64(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    layer = SELayer(num_feat=6, reduction=3)
    x = torch.randn(2, 6, 4, 5).to(memory_format=memory_format)
    w1, b1, w2, b2 = (parameter.double() for parameter in layer.parameters())
    expected = torch.empty(2, 6, 4, 5, dtype=torch.float64)
    for n in range(2):
        squeezed = [sum(x[n, c].double().flatten().tolist()) / 20 for c in range(6)]
        hidden = [sum(w1[i, c] * squeezed[c] for c in range(6)) + b1[i] for i in range(2)]
        hidden = [value if value > 0 else 0.2 * value for value in hidden]
        for c in range(6):
            logit = sum(w2[c, i] * hidden[i] for i in range(2)) + b2[c]
            expected[n, c] = x[n, c].double() / (1 + torch.exp(-logit))
    torch.testing.assert_close(layer(x).double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_gradients_of_the_means_have_the_memory_format_of_the_features(memory_format: torch.memory_format) -> None:
    found: list[torch.Tensor] = []

    class Recording(SELayer):
        def gate(self, means: torch.Tensor) -> torch.Tensor:
            # Down to the features, by way of the means alone.
            found.extend(torch.autograd.grad(means.sum(), x, retain_graph=True))
            return super().gate(means)

    x = torch.randn(2, 6, 4, 5).to(memory_format=memory_format).requires_grad_()
    Recording(num_feat=6, reduction=3)(x)
    assert found[0].is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(found[0], torch.full_like(x, 1 / 20))


@pytest.mark.parametrize('upscale', [2, 3, 4, 8])
def test_upconv_and_its_gradients_equal_torchs(upscale: int) -> None:
    torch.manual_seed(0)
    ours = SrSENet(num_feat=4, num_block=1, reduction=2, upscale=upscale).upconv.double()
    nn.init.normal_(ours.bias)
    stock = nn.ConvTranspose2d(4, 4, ours.kernel_size, upscale, ours.padding).double()
    stock.load_state_dict(ours.state_dict())
    assert_same_gradients(ours, stock)


@pytest.mark.parametrize('channels', [1, 3])
def test_conv_to_image_and_its_gradients_equal_torchs(channels: int) -> None:
    torch.manual_seed(0)
    ours = SrSENet(channels, channels, num_feat=4, num_block=1, reduction=2).conv_last.double()
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    stock = nn.Conv2d(4, channels, 3, padding=1).double()
    stock.load_state_dict(ours.state_dict())
    assert_same_gradients(ours, stock)
    x = torch.randn(1, 4, 1, 5).double()
    torch.testing.assert_close(ours(x), ours.eval()(x))


def assert_same_gradients(ours: nn.Module, stock: nn.Module) -> None:
    """The outputs, and the gradients of input, weights and biases, from four channels of features."""
    x = torch.randn(2, 4, 5, 6).double()
    outputs = []
    for module in (ours, stock):
        own = x.clone().requires_grad_()
        output = module(own)
        output.mul(torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
        outputs.append((output, own.grad, module.weight.grad, module.bias.grad))
    torch.testing.assert_close(*outputs)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'upscale': 1}, 'upscale must be an integer of at least 2; got 1'),
        ({'upscale': 2.0}, 'upscale must be an integer of at least 2; got 2.0'),
        ({'upscale': 'x4'}, "upscale must be an integer of at least 2; got 'x4'"),
        ({'num_in_ch': 0}, 'num_in_ch must be an integer of at least 1'),
        ({'num_in_ch': 3}, 'num_out_ch must equal num_in_ch'),
        ({'num_feat': -64}, 'num_feat must be an integer of at least 1'),
        ({'num_block': 0}, 'num_block must be an integer of at least 1'),
        ({'reduction': 0}, 'reduction must be an integer of at least 1'),
        ({'reduction': 128}, 'reduction must divide num_feat=64; got 128'),
        ({'reduction': 7}, 'reduction must divide num_feat=64; got 7'),
        ({'negative_slope': -0.2}, 'negative_slope must be a number between 0 and 1'),
        ({'negative_slope': '0.2'}, 'negative_slope must be a number between 0 and 1'),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SrSENet(**arguments)

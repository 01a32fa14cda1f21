"""SrSENet in 8 bits for ONNX: pairs of QuantizeLinear and DequantizeLinear around each layer, which runtimes fuse."""

from __future__ import annotations

import copy

import torch
import torch.ao.quantization.fx._decomposed  # defines the operators, which the exporter knows
from torch import Tensor, nn
from torch.nn import functional as F

from srsenet_plugin.archs.srsenet_arch import SrSEBlock, SrSENet
from srsenet_plugin.weights.codes import LARGEST_CODE, LARGEST_WEIGHT, Codes, activated, cell_weight, quantise
from srsenet_plugin.weights.ranges import Ranges


def with_qdq(net: SrSENet, ranges: Ranges) -> SrSENet:
    """A copy of a network whose layers round their weights, and what they take and give, to 8 bits.

    Args:
        net: The network.
        ranges: Of its features.
    """
    net = copy.deepcopy(net).float()
    slope = net.act.negative_slope
    codes = Codes.over(*activated(ranges['conv_first'], slope))
    for number, block in enumerate(net.body):
        assert isinstance(block, SrSEBlock)
        inner, branch = (Codes.over(*ranges[f'body.{number}.{layer}']) for layer in ('conv1', 'conv2'))
        between, gated = (own.activated(slope)[0] for own in (inner, branch))
        block.conv1 = nn.Sequential(_Rounded(codes), _Conv(block.conv1), _Rounded(inner))  # type: ignore[assignment]
        block.conv2 = nn.Sequential(_Rounded(between), _Conv(block.conv2), _Rounded(branch))  # type: ignore[assignment]
        block.se = nn.Sequential(_Rounded(gated), block.se)  # type: ignore[assignment]
        codes = Codes.over(*ranges[f'body.{number}'])
    hr = Codes.over(*ranges['upconv'])
    net.upconv = nn.Sequential(_Rounded(codes), _Cells(net.upconv, _Rounded(hr)))  # type: ignore[assignment]
    after = Codes.over(*activated(ranges['upconv'], slope))
    net.conv_last = nn.Sequential(_Rounded(after), _Conv(net.conv_last))  # type: ignore[assignment]
    return net.eval()


class _Rounded(nn.Module):
    """Rounds values to codes and back."""

    def __init__(self, codes: Codes) -> None:
        super().__init__()
        self.codes = codes

    def forward(self, x: Tensor) -> Tensor:
        arguments = (*self.codes, 0, LARGEST_CODE, torch.uint8)
        operators = torch.ops.quantized_decomposed
        return operators.dequantize_per_tensor(operators.quantize_per_tensor(x, *arguments), *arguments)


class _Conv(nn.Module):
    """A convolution whose weights are int8, with a scale for each output channel."""

    weight: Tensor
    scales: Tensor
    zeros: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.padding, self.bias = conv.padding, conv.bias
        weight, scales = quantise(conv.weight.detach())
        self.register_buffer('weight', weight)
        self.register_buffer('scales', scales)
        self.register_buffer('zeros', torch.zeros(len(scales), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.ops.quantized_decomposed.dequantize_per_channel(
            self.weight, self.scales, self.zeros, 0, -LARGEST_WEIGHT, LARGEST_WEIGHT, torch.int8
        )
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class _Cells(nn.Module):
    """A transposed convolution as a 2x2 convolution to the HR pixels around a corner: runtimes have that in 8 bits."""

    def __init__(self, upconv: nn.ConvTranspose2d, rounded: nn.Module) -> None:
        super().__init__()
        self.scale = upconv.stride[0]
        # From (row, column, out) x (2, 2, in) to the orders of convolutions and of F.pixel_shuffle.
        weight = cell_weight(upconv).unflatten(1, (2, 2, -1)).permute(0, 3, 1, 2).unflatten(0, (self.scale**2, -1))
        conv = nn.Conv2d(upconv.in_channels, upconv.out_channels * self.scale**2, 2, padding=1)
        conv.weight = nn.Parameter(weight.transpose(0, 1).flatten(0, 1))
        bias = upconv.bias
        conv.bias = None if bias is None else nn.Parameter(bias.detach().repeat_interleave(self.scale**2))
        self.conv, self.rounded = _Conv(conv), rounded

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in, H, W) to (N, out, scale * H, scale * W)."""
        height, width = (self.scale * side for side in x.shape[2:])
        start = self.scale // 2
        hr = F.pixel_shuffle(self.rounded(self.conv(x)), self.scale)
        return hr[:, :, start : start + height, start : start + width]

"""What several architectures share: checks of constructor arguments, and convolutions for images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def require_int(arch: str, name: str, value: int, minimum: int) -> None:
    """Raises ValueError, naming architecture and argument, unless ``value`` is an integer of at least ``minimum``."""
    if not isinstance(value, int) or value < minimum:
        raise ValueError(f'{arch}: {name} must be an integer of at least {minimum}; got {value!r}')


def require_same_channels(arch: str, num_in_ch: int, num_out_ch: int) -> None:
    """Raises ValueError unless both are equal, as they must be where a residual is added to the enlarged input."""
    require_int(arch, 'num_in_ch', num_in_ch, 1)
    if num_out_ch != num_in_ch:
        raise ValueError(
            f'{arch}: num_out_ch must equal num_in_ch, because the output is the enlarged input plus a residual; '
            f'got num_in_ch={num_in_ch!r}, num_out_ch={num_out_ch!r}'
        )


def init_conv(conv: nn.Conv2d | nn.ConvTranspose2d, init: Callable[[Tensor], object]) -> None:
    """Starts a convolution with weights by ``init`` and with biases of zero."""
    init(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Within it autocast leaves dtypes as they are: bf16 would round an 8-bit image by up to half a step."""
    try:
        return torch.autocast(device.type, enabled=False)
    except RuntimeError:  # the device has none, as Apple's had not before torch 2.5
        return nullcontext()


def full_precision(x: Tensor) -> torch.dtype:
    """The dtype in which convolutions of images keep more than 8 bits.

    On CUDA it is float64, because cuDNN computes float32 in TF32 by default, whose ten bits are too few for an enlarged
    image.
    """
    return torch.float64 if x.is_cuda or x.dtype == torch.float64 else torch.float32


class FullPrecisionConv2d(nn.Conv2d):
    """A convolution that autocast and TF32 leave alone, for the first one on an enlarged image.

    Neighbours in such an image differ by less than bf16's rounding, and their differences are what a network needs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, ...), in its weights' dtype."""
        dtype = full_precision(self.weight)
        bias = None if self.bias is None else self.bias.to(dtype)
        with without_autocast(x.device):
            return self._conv_forward(x.to(dtype), self.weight.to(dtype), bias).to(self.weight.dtype)


class BilinearUpConv(nn.ConvTranspose2d):
    """A transposed convolution, without bias, that starts as bilinear interpolation of each channel.

    Kernel, stride and padding are [2r, r, r/2] at even scales r and [2r-1, r, (r-1)/2] at odd ones, so that the output
    is exactly ``scale`` times the input. Under autocast it keeps its weights' precision; without, SrSENet lost 0.03 dB
    at x2.

    Args:
        num_ch: Channels of the image.
        scale: Scale, 2 or more.
    """

    def __init__(self, num_ch: int, scale: int) -> None:
        kernel_size = 2 * scale - scale % 2
        super().__init__(num_ch, num_ch, kernel_size, scale, (kernel_size - scale) // 2, bias=False)
        weights = 1 - (torch.arange(kernel_size) - (kernel_size - 1) / 2).abs() / scale
        with torch.no_grad():
            self.weight.zero_()
            for channel in range(num_ch):
                self.weight[channel, channel] = torch.outer(weights, weights)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Maps (N, num_ch, H, W) to (N, num_ch, scale * H, scale * W)."""
        with without_autocast(x.device):
            return super().forward(x.to(self.weight.dtype))

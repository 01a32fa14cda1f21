"""SrSENet: single-image super-resolution with squeeze-and-excitation blocks.

Paper: Mei et al., "An Effective Single-Image Super-Resolution Model Using Squeeze-and-Excitation Networks", 2018,
https://arxiv.org/abs/1810.01831. Sections, figures and tables below are those of its ICPR version.

The network is the one that the text and Fig. 2 and 3 describe. The authors' code, https://github.com/MKFMiku/SrSENet,
differs from them: no activation after the first convolution nor after the second one of a block, no biases, 16 hidden
units in the SE layer, and one block that is applied eight times.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srsenet_plugin.archs.arch_util import BilinearUpConv, require_int, require_same_channels


class SELayer(nn.Module):
    """Squeeze-and-excitation: scales each channel by a gate computed from the means of all channels (III.B, Fig. 3).

    Args:
        num_feat: Channels. Default: 64.
        reduction: The bottleneck has ``num_feat // reduction`` hidden units. Default: 16.
        negative_slope: Slope of the LeakyReLU between the two layers. Default: 0.2.
    """

    def __init__(self, num_feat: int = 64, reduction: int = 16, negative_slope: float = 0.2) -> None:
        super().__init__()
        self.fc1 = nn.Linear(num_feat, num_feat // reduction)
        self.act = nn.LeakyReLU(negative_slope, inplace=True)
        self.fc2 = nn.Linear(num_feat // reduction, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, num_feat, H, W) to the same shape."""
        if x.is_contiguous(memory_format=torch.channels_last):
            # So that the gradients come in channels_last too: adding them up in two formats is slow.
            return x * self.gate(x.permute(0, 2, 3, 1).mean((1, 2)))
        return x * self.gate(x.mean((2, 3)))

    def gate(self, means: Tensor) -> Tensor:
        """Maps means of the channels, (N, num_feat), to their gates, (N, num_feat, 1, 1), from 0 to 1."""
        return torch.sigmoid(self.fc2(self.act(self.fc1(means))))[:, :, None, None]


class SrSEBlock(nn.Module):
    """Residual block: two 3x3 convolutions, each with LeakyReLU, then channel gates, then the block's input (Fig. 2).

    Args:
        num_feat: Channels. Default: 64.
        reduction: See :class:`SELayer`. Default: 16.
        negative_slope: Slope of the LeakyReLUs. Default: 0.2.
    """

    def __init__(self, num_feat: int = 64, reduction: int = 16, negative_slope: float = 0.2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.conv2 = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.act = nn.LeakyReLU(negative_slope, inplace=True)
        self.se = SELayer(num_feat, reduction, negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, num_feat, H, W) to the same shape."""
        return x + self.se(self.convs(x))

    def convs(self, x: Tensor) -> Tensor:
        """The branch that the gates scale: both convolutions with their activations."""
        return self.act(self.conv2(self.act(self.conv1(x))))


class UpConv(nn.ConvTranspose2d):
    """A transposed convolution whose bias is added by itself: in bf16, oneDNN's gradient of it takes longer than those
    of weights and input together."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Maps (N, in_channels, H, W) to (N, out_channels, stride * H, stride * W)."""
        output = F.conv_transpose2d(x, self.weight, None, self.stride, self.padding)  # type: ignore[arg-type]
        return output if self.bias is None else output.add_(self.bias.to(output.dtype)[:, None, None])


class ConvToImage(nn.Conv2d):
    """A 3x3 convolution to the few channels of an image. On processors, it trains as a 1x1 convolution to what each
    pixel adds to the nine around it, and nine additions: to a single channel, oneDNN's 3x3 takes twice as long."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H, W)."""
        if not self.training or x.device.type != 'cpu':
            return super().forward(x)
        height, width = x.shape[2:]
        shares = F.conv2d(x, self.weight.permute(0, 2, 3, 1).reshape(-1, self.in_channels, 1, 1))
        taps = F.pad(shares.to(self.weight.dtype), (1, 1, 1, 1)).unflatten(1, (-1, 9)).unbind(2)
        shifted = [tap[:, :, i // 3 : i // 3 + height, i % 3 : i % 3 + width] for i, tap in enumerate(taps)]
        output = torch.stack(shifted).sum(0)
        return output if self.bias is None else output + self.bias[:, None, None]


class SrSENet(nn.Module):
    """SrSENet (III.A, Fig. 2): a learnt residual image on top of an image enlarged by one transposed convolution.

    Residual branch: a convolution, ``num_block`` SrSEBlocks, a transposed convolution and a convolution. Image branch:
    a transposed convolution of the LR image itself. With the defaults these are the 20 layers of Table I, and 858,977
    parameters at x4.

    The transposed convolutions have kernel, stride and padding [4, 2, 1], [8, 4, 2] and [16, 8, 4] at x2, x4 and x8,
    and an odd kernel at odd scales (IV.B). The image branch starts as bilinear interpolation and the residual at zero,
    so an untrained network is bilinear upsampling.

    Args:
        num_in_ch: Channels of the LR image: 1 for Y, as in the paper, or 3 for RGB. Default: 1.
        num_out_ch: Channels of the SR image; equal to ``num_in_ch``. Default: 1.
        num_feat: Channels of the features. Default: 64.
        num_block: SrSEBlocks. Default: 8.
        upscale: Scale, 2 or more. Default: 4.
        reduction: Reduction ratio of the SE layers; divides ``num_feat``. Default: 16.
        negative_slope: Slope of all LeakyReLUs. Default: 0.2.

    Raises:
        ValueError: An argument is outside its range above.
    """

    def __init__(
        self,
        num_in_ch: int = 1,
        num_out_ch: int = 1,
        num_feat: int = 64,
        num_block: int = 8,
        upscale: int = 4,
        reduction: int = 16,
        negative_slope: float = 0.2,
    ) -> None:
        super().__init__()
        require_same_channels('SrSENet', num_in_ch, num_out_ch)
        require_int('SrSENet', 'num_feat', num_feat, 1)
        require_int('SrSENet', 'num_block', num_block, 1)
        require_int('SrSENet', 'upscale', upscale, 2)
        require_int('SrSENet', 'reduction', reduction, 1)
        if num_feat % reduction:
            raise ValueError(f'SrSENet: reduction must divide num_feat={num_feat}; got {reduction}')
        if not isinstance(negative_slope, (int, float)) or not 0 < negative_slope < 1:
            raise ValueError(f'SrSENet: negative_slope must be a number between 0 and 1; got {negative_slope!r}')

        self.upscale = upscale
        kernel_size = 2 * upscale - upscale % 2
        padding = (kernel_size - upscale) // 2
        self.act = nn.LeakyReLU(negative_slope, inplace=True)
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1)
        self.body = nn.Sequential(*(SrSEBlock(num_feat, reduction, negative_slope) for _ in range(num_block)))
        self.upconv = UpConv(num_feat, num_feat, kernel_size, upscale, padding)
        self.conv_last = ConvToImage(num_feat, num_out_ch, 3, padding=1)
        self.upconv_image = BilinearUpConv(num_in_ch, upscale)  # without bias: conv_last has one already
        self._init_weights(negative_slope)

    def _init_weights(self, negative_slope: float) -> None:
        for module in self.body.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, negative_slope)
                module.weight.data *= 0.1  # residual blocks that start small, as BasicSR's architectures do
        for parameter in self.conv_last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Upscales LR images.

        Args:
            x: Shape (N, num_in_ch, H, W), range [0, 1]. Y is the luma of MATLAB's rgb2ycbcr, from 16/255 to
                235/255.

        Returns:
            Shape (N, num_out_ch, upscale * H, upscale * W), range about [0, 1], not clipped.
        """
        feat = self.body(self.act(self.conv_first(x)))
        residual = self.conv_last(self.act(self.upconv(feat)))
        return self.upconv_image(x) + residual

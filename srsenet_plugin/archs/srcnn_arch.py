"""SRCNN, the first convolutional network for super-resolution.

Paper: Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016,
https://arxiv.org/abs/1501.00092.
"""

from __future__ import annotations

from torch import Tensor, nn

from srsenet_plugin.archs.arch_util import FullPrecisionConv2d, init_conv, require_int
from srsenet_plugin.archs.bicubic_arch import BicubicEnlarge


class SRCNN(nn.Module):
    """SRCNN: three convolutions on the bicubic-enlarged image (section 3.1).

    ``mapping_kernel_size`` 5 is the 9-5-5 network with 57,184 weights and biases besides, whose results the paper
    compares with others; 1 is 9-1-5 with 8,032. Edges are replicated, as in the authors' code.

    Args:
        num_in_ch: Channels of the LR image: 1 for Y, as in the paper, or 3 for RGB.
        num_out_ch: Channels of the SR image.
        upscale: Scale, 2 or more.
        mapping_kernel_size: Odd kernel size of the second convolution.

    Raises:
        ValueError: An argument is outside its range above.
    """

    def __init__(self, num_in_ch: int = 1, num_out_ch: int = 1, upscale: int = 4, mapping_kernel_size: int = 5) -> None:
        super().__init__()
        require_int('SRCNN', 'num_in_ch', num_in_ch, 1)
        require_int('SRCNN', 'num_out_ch', num_out_ch, 1)
        require_int('SRCNN', 'upscale', upscale, 2)
        require_int('SRCNN', 'mapping_kernel_size', mapping_kernel_size, 1)
        if mapping_kernel_size % 2 == 0:
            raise ValueError(f'SRCNN: mapping_kernel_size must be odd; got {mapping_kernel_size}')
        self.enlarge = BicubicEnlarge(upscale)
        self.conv1 = FullPrecisionConv2d(num_in_ch, 64, 9, padding=4, padding_mode='replicate')
        self.conv2 = _conv(64, 32, mapping_kernel_size)
        self.conv3 = _conv(32, num_out_ch, 5)
        self.relu = nn.ReLU(inplace=True)
        for conv in (self.conv1, self.conv2, self.conv3):
            init_conv(conv, lambda weight: nn.init.normal_(weight, std=0.001))  # section 3.3

    def forward(self, x: Tensor) -> Tensor:
        """Upscales (N, num_in_ch, H, W) to (N, num_out_ch, upscale * H, upscale * W); range [0, 1]."""
        out = self.relu(self.conv1(self.enlarge(x)))
        return self.conv3(self.relu(self.conv2(out)))


def _conv(num_in_ch: int, num_out_ch: int, kernel_size: int) -> nn.Conv2d:
    return nn.Conv2d(num_in_ch, num_out_ch, kernel_size, padding=kernel_size // 2, padding_mode='replicate')

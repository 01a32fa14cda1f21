"""VDSR, a very deep network that learns the residual of the bicubic-enlarged image.

Paper: Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016,
https://arxiv.org/abs/1511.04587.
"""

from __future__ import annotations

from torch import Tensor, nn

from srsenet_plugin.archs.arch_util import FullPrecisionConv2d, init_conv, require_int, require_same_channels
from srsenet_plugin.archs.bicubic_arch import BicubicEnlarge


class VDSR(nn.Module):
    """VDSR: ``num_layer`` convolutions with ReLU between them, added to the enlarged image (section 3.1).

    The defaults are the authors' network: 664,704 weights, the 665 k of the literature, and biases besides. The PyTorch
    weights that ``srsenet convert`` reads have no biases. One network serves all scales: its weights do not depend on
    ``upscale``.

    Args:
        num_in_ch: Channels of the LR image: 1 for Y, as in the paper, or 3 for RGB.
        num_out_ch: Channels of the SR image; equal to ``num_in_ch``.
        num_feat: Channels of the features.
        num_layer: Convolutions, 2 or more.
        upscale: Scale, 2 or more.
        bias: Give the convolutions biases.
        clamp_y: Clamp an enlarged image of one channel to Y's range, [16, 235] / 255, as the authors' code does.

    Raises:
        ValueError: An argument is outside its range above.
    """

    def __init__(
        self,
        num_in_ch: int = 1,
        num_out_ch: int = 1,
        num_feat: int = 64,
        num_layer: int = 20,
        upscale: int = 4,
        bias: bool = True,
        clamp_y: bool = True,
    ) -> None:
        super().__init__()
        require_same_channels('VDSR', num_in_ch, num_out_ch)
        require_int('VDSR', 'num_feat', num_feat, 1)
        require_int('VDSR', 'num_layer', num_layer, 2)
        require_int('VDSR', 'upscale', upscale, 2)
        self.enlarge = BicubicEnlarge(upscale)
        self.clamp_y = clamp_y and num_in_ch == 1
        self.conv_first = FullPrecisionConv2d(num_in_ch, num_feat, 3, padding=1, bias=bias)
        self.body = nn.ModuleList(nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=bias) for _ in range(num_layer - 2))
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1, bias=bias)
        self.relu = nn.ReLU(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_conv(module, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity='relu'))  # section 4.2

    def forward(self, x: Tensor) -> Tensor:
        """Upscales (N, num_in_ch, H, W) to (N, num_out_ch, upscale * H, upscale * W); range about [0, 1]."""
        enlarged = self.enlarge(x)
        if self.clamp_y:
            enlarged = enlarged.clamp(16 / 255, 235 / 255)
        out = self.relu(self.conv_first(enlarged))
        for conv in self.body:
            out = self.relu(conv(out))
        return enlarged + self.conv_last(out)

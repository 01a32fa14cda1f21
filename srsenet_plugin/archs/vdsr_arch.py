"""VDSR, a very deep network that learns the residual of the bicubic-enlarged image.

Paper: Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016,
https://arxiv.org/abs/1511.04587.
"""

from __future__ import annotations

from torch import Tensor, nn

from srsenet_plugin.archs.arch_util import require_int, require_same_channels
from srsenet_plugin.archs.bicubic_arch import BicubicEnlarge


class VDSR(nn.Module):
    """VDSR: ``num_layer`` convolutions with ReLU between them, added to the enlarged image (section 3.1).

    With the defaults 664,704 weights, the 665 k of the literature; no biases, as in the published PyTorch weights that
    ``srsenet convert`` reads. One network serves all scales: its weights do not depend on ``upscale``.

    Args:
        num_in_ch (int): Channels of the LR image: 1 for Y, as in the paper, or 3 for RGB. Default: 1.
        num_out_ch (int): Channels of the SR image; equal to ``num_in_ch``. Default: 1.
        num_feat (int): Channels of the features. Default: 64.
        num_layer (int): Convolutions, 2 or more. Default: 20.
        upscale (int): Scale, 2 or more. Default: 4.

    Raises:
        ValueError: An argument is outside what is stated above.
    """

    def __init__(
        self, num_in_ch: int = 1, num_out_ch: int = 1, num_feat: int = 64, num_layer: int = 20, upscale: int = 4
    ) -> None:
        super().__init__()
        require_same_channels('VDSR', num_in_ch, num_out_ch)
        require_int('VDSR', 'num_feat', num_feat, 1)
        require_int('VDSR', 'num_layer', num_layer, 2)
        require_int('VDSR', 'upscale', upscale, 2)
        self.enlarge = BicubicEnlarge(upscale)
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1, bias=False)
        self.body = nn.ModuleList(nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=False) for _ in range(num_layer - 2))
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity='relu')  # section 4.2

    def forward(self, x: Tensor) -> Tensor:
        """Upscales (N, num_in_ch, H, W) to (N, num_out_ch, upscale * H, upscale * W); range about [0, 1]."""
        enlarged = self.enlarge(x)
        out = self.relu(self.conv_first(enlarged))
        for conv in self.body:
            out = self.relu(conv(out))
        return enlarged + self.conv_last(out)

"""FSRCNN, which works on the LR image and enlarges at its end.

Paper: Dong et al., "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016,
https://arxiv.org/abs/1608.00367.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from srsenet_plugin.archs.arch_util import init_conv, require_int


class FSRCNN(nn.Module):
    """FSRCNN(d, s, m): feature extraction, shrinking, m mappings, expanding, and a 9x9 deconvolution (section 3.2).

    The defaults are the authors' network: 12,464 weights, a bias for each channel, and a one-slope PReLU after each
    convolution. Edges are replicated, as in the authors' code.

    Args:
        num_in_ch: Channels of the LR image: 1 for Y, as in the paper, or 3 for RGB.
        num_out_ch: Channels of the SR image.
        num_feat: The paper's d, the channels of the features.
        num_shrink: The paper's s, the channels of the mappings.
        num_mapping: The paper's m, the number of mappings.
        upscale: Scale, 2 or more.

    Raises:
        ValueError: An argument is outside its range above.
    """

    def __init__(
        self,
        num_in_ch: int = 1,
        num_out_ch: int = 1,
        num_feat: int = 56,
        num_shrink: int = 12,
        num_mapping: int = 4,
        upscale: int = 4,
    ) -> None:
        super().__init__()
        require_int('FSRCNN', 'num_in_ch', num_in_ch, 1)
        require_int('FSRCNN', 'num_out_ch', num_out_ch, 1)
        require_int('FSRCNN', 'num_feat', num_feat, 1)
        require_int('FSRCNN', 'num_shrink', num_shrink, 1)
        require_int('FSRCNN', 'num_mapping', num_mapping, 1)
        require_int('FSRCNN', 'upscale', upscale, 2)
        self.conv_first = _conv_and_prelu(num_in_ch, num_feat, 5)
        self.shrink = _conv_and_prelu(num_feat, num_shrink, 1)
        self.body = nn.Sequential(*(_conv_and_prelu(num_shrink, num_shrink, 3) for _ in range(num_mapping)))
        self.expand = _conv_and_prelu(num_shrink, num_feat, 1)
        kernel_size = max(9, upscale + (upscale + 1) % 2)  # odd, and without gaps beyond x9
        # The pixel that is replicated at each edge becomes ``upscale`` pixels, which are left out.
        self.upconv = nn.ConvTranspose2d(
            num_feat,
            num_out_ch,
            kernel_size,
            upscale,
            padding=upscale + kernel_size // 2,
            output_padding=upscale - 1,
        )
        self._init_weights()

    def _init_weights(self) -> None:
        """As in section 4.1: He et al. for PReLU, and a Gaussian of 0.001 for the deconvolution."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_conv(module, lambda weight: nn.init.kaiming_normal_(weight, a=0.25))
        init_conv(self.upconv, lambda weight: nn.init.normal_(weight, std=0.001))

    def forward(self, x: Tensor) -> Tensor:
        """Upscales (N, num_in_ch, H, W) to (N, num_out_ch, upscale * H, upscale * W); range [0, 1]."""
        feat = self.expand(self.body(self.shrink(self.conv_first(x))))
        return self.upconv(F.pad(feat, (1, 1, 1, 1), mode='replicate'))


def _conv_and_prelu(num_in_ch: int, num_out_ch: int, kernel_size: int) -> nn.Sequential:
    conv = nn.Conv2d(num_in_ch, num_out_ch, kernel_size, padding=kernel_size // 2, padding_mode='replicate')
    return nn.Sequential(conv, nn.PReLU())

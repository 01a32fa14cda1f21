"""FSRCNN, which works on the LR image and enlarges at its end.

Paper: Dong et al., "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016,
https://arxiv.org/abs/1608.00367.
"""

from __future__ import annotations

from torch import Tensor, nn

from srsenet_plugin.archs.arch_util import init_conv, require_int


class FSRCNN(nn.Module):
    """FSRCNN(d, s, m): feature extraction, shrinking, m mappings, expanding, and a 9x9 deconvolution (section 3.2).

    With the defaults 12,464 weights, and biases and PReLUs besides.

    Args:
        num_in_ch (int): Channels of the LR image: 1 for Y, as in the paper, or 3 for RGB. Default: 1.
        num_out_ch (int): Channels of the SR image. Default: 1.
        num_feat (int): The paper's d, the channels of the features. Default: 56.
        num_shrink (int): The paper's s, the channels of the mappings. Default: 12.
        num_mapping (int): The paper's m, the number of mappings. Default: 4.
        upscale (int): Scale, 2 or more. Default: 4.

    Raises:
        ValueError: An argument is outside what is stated above.
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
        self.conv_first = nn.Sequential(nn.Conv2d(num_in_ch, num_feat, 5, padding=2), nn.PReLU(num_feat))
        self.shrink = nn.Sequential(nn.Conv2d(num_feat, num_shrink, 1), nn.PReLU(num_shrink))
        mappings = [nn.Conv2d(num_shrink, num_shrink, 3, padding=1) for _ in range(num_mapping)]
        self.body = nn.Sequential(*mappings, nn.PReLU(num_shrink))
        self.expand = nn.Sequential(nn.Conv2d(num_shrink, num_feat, 1), nn.PReLU(num_feat))
        kernel_size = max(9, upscale + (upscale + 1) % 2)  # odd, and without gaps beyond x9
        self.upconv = nn.ConvTranspose2d(
            num_feat, num_out_ch, kernel_size, upscale, kernel_size // 2, output_padding=upscale - 1
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
        return self.upconv(self.expand(self.body(self.shrink(self.conv_first(x)))))

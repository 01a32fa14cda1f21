"""LapSRN, which enlarges step by step and predicts an image at each.

Paper: Lai et al., "Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution", CVPR 2017,
https://arxiv.org/abs/1704.03915. The figures of SrSENet's Table I for other methods are this paper's.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from srsenet_plugin.archs.arch_util import BilinearUpConv, init_conv, require_int, require_same_channels


class LapSRNLevel(nn.Module):
    """One level of the pyramid: features and image are enlarged, and a residual is added to the image."""

    def __init__(
        self, num_ch: int, num_feat: int, num_conv: int, scale: int, upconv_kernel_size: int, bias: bool
    ) -> None:
        super().__init__()
        self.scale = scale
        self.body = nn.ModuleList(nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=bias) for _ in range(num_conv))
        kernel_size = max(upconv_kernel_size, scale)
        self.upconv = nn.ConvTranspose2d(
            num_feat, num_feat, kernel_size, scale, padding=(kernel_size - scale) // 2, bias=bias
        )
        self.conv_last = nn.Conv2d(num_feat, num_ch, 3, padding=1, bias=bias)
        self.upconv_image = BilinearUpConv(num_ch, scale)
        self.act = nn.LeakyReLU(0.2, inplace=True)
        self._init_weights()

    def _init_weights(self) -> None:
        """He et al. (section 3.3); for the residuals too small to spoil the enlarged image at the start."""
        for conv in (*self.body, self.upconv):
            init_conv(conv, lambda weight: nn.init.kaiming_normal_(weight, 0.2))
        init_conv(self.conv_last, lambda weight: nn.init.normal_(weight, std=0.001))

    def forward(self, feat: Tensor, img: Tensor) -> tuple[Tensor, Tensor]:
        """Enlarges features (N, num_feat, H, W) and image (N, num_ch, H, W)."""
        for conv in self.body:
            feat = self.act(conv(feat))
        height, width = (self.scale * side for side in feat.shape[2:])
        # What the kernel makes beyond the image is cut off evenly; of an odd number of rows, one more at the end.
        feat = self.act(self.upconv(feat)[..., :height, :width])
        return feat, self.upconv_image(img) + self.conv_last(feat)


class LapSRN(nn.Module):
    """LapSRN: a level for each factor of two, each with its own loss (section 3).

    The defaults are the authors' network, of https://github.com/phoenix104104/LapSRN. It has 812,768 weights at x4, the
    813 k of the literature, and biases besides. The PyTorch weights that ``srsenet convert`` reads have transposed
    convolutions of 4x4 for the features and no biases. Scales that are no power of two get a level for each prime
    factor.

    Args:
        num_in_ch: Channels of the LR image: 1 for Y, as in the paper, or 3 for RGB.
        num_out_ch: Channels of the SR image; equal to ``num_in_ch``.
        num_feat: Channels of the features.
        num_conv: Convolutions of each level. None: the paper's 10, or 5 with three levels and more.
        upscale: Scale, 2 or more.
        upconv_kernel_size: Kernel size of the features' transposed convolutions, at least 2.
        bias: Give all convolutions biases, except the transposed ones of the image.

    Raises:
        ValueError: An argument is outside its range above.
    """

    supervises_all_outputs = True

    def __init__(
        self,
        num_in_ch: int = 1,
        num_out_ch: int = 1,
        num_feat: int = 64,
        num_conv: int | None = None,
        upscale: int = 4,
        upconv_kernel_size: int = 3,
        bias: bool = True,
    ) -> None:
        super().__init__()
        require_same_channels('LapSRN', num_in_ch, num_out_ch)
        require_int('LapSRN', 'num_feat', num_feat, 1)
        require_int('LapSRN', 'upscale', upscale, 2)
        require_int('LapSRN', 'upconv_kernel_size', upconv_kernel_size, 2)
        scales = list(_prime_factors(upscale))
        if num_conv is None:
            num_conv = 10 if len(scales) < 3 else 5
        require_int('LapSRN', 'num_conv', num_conv, 1)
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1, bias=bias)
        self.act = nn.LeakyReLU(0.2, inplace=True)
        self.levels = nn.ModuleList(
            LapSRNLevel(num_in_ch, num_feat, num_conv, scale, upconv_kernel_size, bias) for scale in scales
        )
        init_conv(self.conv_first, lambda weight: nn.init.kaiming_normal_(weight, 0.2))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Upscales LR images.

        Args:
            x: Shape (N, num_in_ch, H, W), range [0, 1].

        Returns:
            Shape (N, num_out_ch, upscale * H, upscale * W). In training mode the images of all levels, the smallest
                first, as ``DeepSupervisionLoss`` takes them.
        """
        feat, img = self.act(self.conv_first(x)), x
        imgs = []
        for level in self.levels:
            feat, img = level(feat, img)
            imgs.append(img)
        return tuple(imgs) if self.training else img


def _prime_factors(number: int) -> Iterator[int]:
    factor = 2
    while number > 1:
        if number % factor:
            factor += 1
        else:
            number //= factor
            yield factor

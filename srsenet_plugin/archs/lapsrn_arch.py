"""LapSRN, which enlarges step by step and predicts an image at each.

Paper: Lai et al., "Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution", CVPR 2017,
https://arxiv.org/abs/1704.03915. The figures of SrSENet's Table I for other methods are this paper's.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from srsenet_plugin.archs.arch_util import BilinearUpConv, require_int, require_same_channels


class LapSRNLevel(nn.Module):
    """One level of the pyramid: features and image are enlarged, and a residual is added to the image."""

    def __init__(self, num_ch: int, num_feat: int, num_conv: int, scale: int, upconv_kernel_size: int) -> None:
        super().__init__()
        self.body = nn.ModuleList(nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=False) for _ in range(num_conv))
        kernel_size = max(upconv_kernel_size, scale)
        padding = (kernel_size - scale + 1) // 2
        self.upconv = nn.ConvTranspose2d(
            num_feat, num_feat, kernel_size, scale, padding, scale + 2 * padding - kernel_size, bias=False
        )
        self.conv_last = nn.Conv2d(num_feat, num_ch, 3, padding=1, bias=False)
        self.upconv_image = BilinearUpConv(num_ch, scale)
        self.act = nn.LeakyReLU(0.2, inplace=True)
        self._init_weights()

    def _init_weights(self) -> None:
        """He et al. (section 3.3); for the residuals too small to spoil the enlarged image at the start."""
        for conv in (*self.body, self.upconv):
            nn.init.kaiming_normal_(conv.weight, 0.2)
        nn.init.normal_(self.conv_last.weight, std=0.001)

    def forward(self, feat: Tensor, img: Tensor) -> tuple[Tensor, Tensor]:
        """Enlarges features (N, num_feat, H, W) and image (N, num_ch, H, W)."""
        for conv in self.body:
            feat = self.act(conv(feat))
        feat = self.act(self.upconv(feat))
        return feat, self.upconv_image(img) + self.conv_last(feat)


class LapSRN(nn.Module):
    """LapSRN: a level for each factor of two, each with its own loss (section 3).

    The paper's network has transposed convolutions of 3x3 for the features, which are 812,768 weights at x4, the 813 k
    of the literature; the published PyTorch weights that ``srsenet convert`` reads have 4x4 ones. Neither
    count has biases. Scales that are no power of two get a level for each prime factor.

    Args:
        num_in_ch (int): Channels of the LR image: 1 for Y, as in the paper, or 3 for RGB. Default: 1.
        num_out_ch (int): Channels of the SR image; equal to ``num_in_ch``. Default: 1.
        num_feat (int): Channels of the features. Default: 64.
        num_conv (int, optional): Convolutions of each level. Default: the paper's 10, or 5 with three levels and more.
        upscale (int): Scale, 2 or more. Default: 4.
        upconv_kernel_size (int): Kernel size of the features' transposed convolutions, at least 2. Default: 3.

    Raises:
        ValueError: An argument is outside what is stated above.
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
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, padding=1, bias=False)
        self.act = nn.LeakyReLU(0.2, inplace=True)
        self.levels = nn.ModuleList(
            LapSRNLevel(num_in_ch, num_feat, num_conv, scale, upconv_kernel_size) for scale in scales
        )
        nn.init.kaiming_normal_(self.conv_first.weight, 0.2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Upscales LR images.

        Args:
            x (Tensor): Shape (N, num_in_ch, H, W), range [0, 1].

        Returns:
            Tensor | tuple[Tensor, ...]: Shape (N, num_out_ch, upscale * H, upscale * W). In training mode the images of
                all levels, the smallest first: what ``DeepSupervisionLoss`` takes.
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

"""Bicubic interpolation as MATLAB's ``imresize`` enlarges images: the first row of every comparison.

Networks that work on an enlarged image take theirs from :class:`BicubicEnlarge`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srsenet_plugin.archs.arch_util import full_precision, require_int, without_autocast
from srsenet_plugin.data.cubic import cubic


class BicubicEnlarge(nn.Module):
    """Enlarges by an integer scale: Keys' kernel with a = -0.5, edges mirrored, one dimension after the other.

    It runs on the images' device and lets gradients through. Images are enlarged in float32 at least, also under
    autocast and where convolutions are TF32's: a network adds values to the result that are smaller than rounding.

    Args:
        upscale: Scale, 2 or more.
        round_values: Round the values to integers from 0 to 255 after each dimension, half away from zero, as
            MATLAB does with uint8 images. Default: False.
    """

    weights: Tensor

    def __init__(self, upscale: int, round_values: bool = False) -> None:
        super().__init__()
        self.round_values = round_values
        # Of the 5 pixels around each pixel, the weights that make the pixels it becomes; each of those uses 4.
        offsets = (torch.arange(upscale, dtype=torch.float64) + 0.5) / upscale - 0.5
        taps = torch.arange(-2, 3, dtype=torch.float64)
        self.register_buffer('weights', cubic(taps - offsets[:, None])[:, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, upscale * H, upscale * W), in the same dtype."""
        with without_autocast(x.device):
            out = x.to(full_precision(x))
            for _ in range(2):
                out = self._enlarge_rows(out).transpose(2, 3)
        return out.to(x.dtype)

    def _enlarge_rows(self, x: Tensor) -> Tensor:
        num, channels, height, width = x.shape
        # Two rows more on both sides, mirrored. Slices, unlike computed indices, run in every tool that reads ONNX.
        x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)
        x = torch.cat([x[:, :, 2:3], x, x[:, :, -3:-2]], 2)
        planes = x.reshape(num * channels, 1, height + 4, width)
        out = F.conv2d(planes, self.weights.to(x.dtype)[..., None]).transpose(1, 2)
        if self.round_values:
            # Half up is half away from zero here: negative values become 0 either way.
            out = (out + 0.5).floor().clamp(0, 255)
        return out.reshape(num, channels, -1, width)


class Bicubic(nn.Module):
    """Bicubic interpolation as a network without parameters, which ``basicsr/test.py`` tests like any other.

    The bicubic figures of the literature are those of 8-bit RGB images that MATLAB's ``imresize`` has enlarged: it
    rounds uint8 images between the two dimensions too. So does this, equal to MATLAB to the last bit at x2, x4 and x8.

    Args:
        upscale: Scale, 2 or more. Default: 4.
        uint8: Treat images as 8-bit ones, and round where MATLAB does. Otherwise they are enlarged in floating
            point, and gradients flow through. Default: True.

    Raises:
        ValueError: ``upscale`` is no integer of at least 2.
    """

    def __init__(self, upscale: int = 4, uint8: bool = True) -> None:
        super().__init__()
        require_int('Bicubic', 'upscale', upscale, 2)
        self.upscale = upscale
        self.uint8 = uint8
        self.enlarge = BicubicEnlarge(upscale, round_values=uint8)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges images.

        Args:
            x: Shape (N, C, H, W) with any number of channels, range [0, 1].

        Returns:
            Shape (N, C, upscale * H, upscale * W); range [0, 1], or about that without ``uint8``.
        """
        if not self.uint8:
            return self.enlarge(x)
        # In float64 sums of dyadic weights are exact, and halves are halves.
        pixels = (x.double() * 255).round().clamp(0, 255)
        return (self.enlarge(pixels) / 255).to(x.dtype)

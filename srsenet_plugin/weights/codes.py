"""Values and weights in 8 bits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

LARGEST_CODE = 255
LARGEST_WEIGHT = 127  # -128 is left out: oneDNN wants symmetric weights
FRACTION_BITS = 3  # with which values are rounded to codes


class Codes(NamedTuple):
    """How uint8 codes stand for values: ``scale * (code - zero)``."""

    scale: float
    zero: int

    @classmethod
    def over(cls, low: float, high: float) -> Codes:
        """Spreads the codes over a range, and over zero."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / LARGEST_CODE or 1.0
        return cls(scale, round(-low / scale))

    def activated(self, slope: float) -> tuple[Codes, NDArray[np.uint8]]:
        """The codes after LeakyReLU, spread over the range that is left, and a table of them for those before it."""
        values = (np.arange(LARGEST_CODE + 1) - self.zero) * self.scale
        values[: self.zero] *= slope
        after = Codes.over(values[0], values[-1])
        table = np.round(values / after.scale + after.zero).clip(0, LARGEST_CODE)
        return after, table.astype(np.uint8)

    def of(self, values: Tensor) -> Tensor:
        """The codes of values, rounded; in whole numbers, which is three times as fast as in float32."""
        offset = (2 * self.zero + 1) << (FRACTION_BITS - 1)
        codes = values.mul(2**FRACTION_BITS / self.scale).to(torch.int16).add_(offset)
        return codes.bitwise_right_shift_(FRACTION_BITS).clamp_(0, LARGEST_CODE).to(torch.uint8)


def activated(limits: tuple[float, float], slope: float) -> list[float]:
    """The limits after LeakyReLU."""
    return [limit if limit > 0 else slope * limit for limit in limits]


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights as int8, and the scale of each output channel, which comes first."""
    scales = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / LARGEST_WEIGHT
    return (weight / scales.view(-1, *[1] * (weight.ndim - 1))).round().to(torch.int8), scales


def cell_weight(upconv: nn.ConvTranspose2d) -> Tensor:
    """The weight that maps four LR pixels to a cell, (rows * columns * out, 2 * 2 * in).

    With the paddings of SrSENet, HR row r of a cell sees row r + stride of the kernel at the LR row above the corner,
    and row r at the one below; columns likewise.
    """
    stride, size = upconv.stride[0], upconv.kernel_size[0]
    weight = F.pad(upconv.weight, (0, 2 * stride - size, 0, 2 * stride - size))  # an odd kernel lacks a row
    weight = weight.unflatten(3, (2, stride)).unflatten(2, (2, stride)).flip(2, 4)
    return weight.permute(3, 5, 1, 2, 4, 0).flatten(3).flatten(0, 2)

"""MATLAB's ``rgb2ycbcr`` and its inverse: ITU-R BT.601, Y from 16 to 235 and CbCr from 16 to 240 of 255."""

from __future__ import annotations

import torch
from torch import Tensor

# For RGB in [0, 1]; all as fractions of 255.
RGB_TO_YCBCR = torch.tensor([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
YCBCR_TO_RGB = RGB_TO_YCBCR.double().inverse().float()
OFFSET = torch.tensor([16.0, 128.0, 128.0])[:, None, None] / 255
GREY_TO_Y = 219 / 255


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """Maps (..., 3, H, W) in [0, 1] to Y, Cb and Cr as fractions of 255."""
    return torch.einsum('ij,...jhw->...ihw', RGB_TO_YCBCR.to(rgb), rgb).add_(OFFSET.to(rgb))


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """Maps (..., 3, H, W), as :func:`rgb_to_ycbcr` gives them, back; what is no colour of RGB leaves [0, 1]."""
    return torch.einsum('ij,...jhw->...ihw', YCBCR_TO_RGB.to(ycbcr), ycbcr - OFFSET.to(ycbcr))


def grey_to_y(grey: Tensor) -> Tensor:
    """Y of RGB whose three values are equal, in [0, 1]; its CbCr are nothing."""
    return grey * GREY_TO_Y + 16 / 255


def y_to_grey(y: Tensor) -> Tensor:
    """The inverse of :func:`grey_to_y`."""
    return (y - 16 / 255) / GREY_TO_Y

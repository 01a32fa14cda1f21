"""MATLAB's ``rgb2ycbcr`` and its inverse: ITU-R BT.601, Y from 16 to 235 and CbCr from 16 to 240 of 255."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# What red, green and blue in [0, 1] add to Y, in 255ths of its range.
LUMA_WEIGHTS = (65.481, 128.553, 24.966)
# For RGB in [0, 1]; all as fractions of 255.
RGB_TO_YCBCR = torch.tensor([LUMA_WEIGHTS, (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214)]) / 255
YCBCR_TO_RGB = RGB_TO_YCBCR.double().inverse().float()
OFFSET = torch.tensor([16.0, 128.0, 128.0])[:, None, None] / 255
GREY_TO_Y = 219 / 255

# What each uint8 value of red, with the offset, of green and of blue adds to Y. The sums, rounded to float32, are
# BasicSR's for each of the 2^24 colours, although it divides by 255 last.
Y_TABLES = [
    ((np.arange(256, dtype=np.float32) / 255.0).astype(np.float64) * weight + offset) / 255.0
    for weight, offset in zip(LUMA_WEIGHTS, (16.0, 0.0, 0.0))
]


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """Maps (..., 3, H, W) in [0, 1] to Y, Cb and Cr as fractions of 255."""
    return _mixed(RGB_TO_YCBCR, rgb).add_(OFFSET.type_as(rgb))


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """Maps (..., 3, H, W), as :func:`rgb_to_ycbcr` gives them, back; values outside RGB's colours leave [0, 1]."""
    return _mixed(YCBCR_TO_RGB, ycbcr - OFFSET.type_as(ycbcr))


def _mixed(weights: Tensor, image: Tensor) -> Tensor:
    """Multiplies the colours of each pixel by a matrix.

    Exported networks contain this. OpenCV runs no einsum, and TorchScript's ``to`` would keep the device of the export.
    """
    return (weights.type_as(image) @ image.transpose(-3, -2)).transpose(-3, -2)


def grey_to_y(grey: Tensor) -> Tensor:
    """Y of RGB whose three values are equal, in [0, 1]; its CbCr are nothing."""
    return grey * GREY_TO_Y + 16 / 255


def y_to_grey(y: Tensor) -> Tensor:
    """The inverse of :func:`grey_to_y`."""
    return (y - 16 / 255) / GREY_TO_Y


def rgb_to_y(img: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Y of a uint8 image (H, W, 3), shape (H, W), range [16/255, 235/255], as BasicSR computes it."""
    red, green, y = map(cv2.LUT, cv2.split(np.ascontiguousarray(img)), Y_TABLES)
    y += green
    y += red
    return y


def rgb_to_rounded_y(img: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Y of a uint8 image (H, W, 3) or (H, W), 16 to 235, rounded half up, as MATLAB rounds it for uint8 images."""
    channels = (img, img, img) if img.ndim == 2 else np.moveaxis(img, 2, 0)
    thousandths = sum(round(1000 * weight) * plane.astype(np.int32) for weight, plane in zip(LUMA_WEIGHTS, channels))
    return ((thousandths + 127500) // 255000 + 16).astype(np.uint8)

"""YCbCr of ITU-R BT.601, as MATLAB's ``rgb2ycbcr`` computes it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

YCBCR_WEIGHTS = ((65.481, 128.553, 24.966), (-37.797, -74.203, 112.0), (112.0, -93.786, -18.214))
"""What red, green and blue in [0, 1] add to Y, Cb and Cr, in 255ths."""

YCBCR_OFFSETS = (16.0, 128.0, 128.0)
"""What Y, Cb and Cr of black are, in 255ths."""

_LUMA = YCBCR_WEIGHTS[0]
# What each uint8 value of red, with the offset, of green and of blue adds to Y. The sums, rounded to float32, are
# BasicSR's for each of the 2^24 colours, although it divides by 255 last.
_Y_TABLES = [
    ((np.arange(256, dtype=np.float32) / 255.0).astype(np.float64) * weight + offset) / 255.0
    for weight, offset in zip(_LUMA, (YCBCR_OFFSETS[0], 0.0, 0.0))
]


def rgb_to_y(img: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Y of a uint8 image (H, W, 3), shape (H, W), range [16/255, 235/255], as BasicSR computes it."""
    red, green, y = map(cv2.LUT, cv2.split(np.ascontiguousarray(img)), _Y_TABLES)
    y += green
    y += red
    return y


def rgb_to_rounded_y(img: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Y of a uint8 image (H, W, 3) or (H, W), 16 to 235, rounded half up, as MATLAB rounds it for uint8 images."""
    channels = (img, img, img) if img.ndim == 2 else np.moveaxis(img, 2, 0)
    thousandths = sum(round(1000 * weight) * plane.astype(np.int32) for weight, plane in zip(_LUMA, channels))
    return ((thousandths + 127500) // 255000 + int(YCBCR_OFFSETS[0])).astype(np.uint8)

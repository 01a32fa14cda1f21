"""The programs that LR images of 8 bits are made with, and which of them has made some: their pixels differ.

MATLAB's ``imresize`` rounds 8-bit images after each dimension. Its older versions repeat the edge pixels, today's
mirror the image. It widens its kernel to cover all pixels; so do Pillow, and torch with ``antialias``. OpenCV leaves
pixels out, and so does torch by default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from srsenet_plugin.data.colour import rgb_to_rounded_y
from srsenet_plugin.data.imresize import imresize


def _matlab(img: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    return imresize(img, 1 / scale)


def _matlab_clamped(img: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    margin = 4 * scale  # more than the kernel's reach, and whole LR pixels
    padded = np.pad(img, [(margin, margin)] * 2 + [(0, 0)] * (img.ndim - 2), 'edge')
    return imresize(padded, 1 / scale)[4:-4, 4:-4]


def _matlab_double(img: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    return np.clip(np.floor(imresize(img.astype(np.float64), 1 / scale) + 0.5), 0, 255).astype(np.uint8)


def _matlab_y(img: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    return imresize(rgb_to_rounded_y(img), 1 / scale)


def _opencv(img: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    size = (img.shape[1] // scale, img.shape[0] // scale)
    return cv2.resize(img, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def _pillow(img: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    size = (img.shape[1] // scale, img.shape[0] // scale)
    return np.asarray(Image.fromarray(img).resize(size, Image.Resampling.BICUBIC))


def _torch(img: NDArray[np.uint8], scale: int, antialias: bool = False) -> NDArray[np.uint8]:
    planes = torch.from_numpy(np.atleast_3d(img).transpose(2, 0, 1).astype(np.float32) / 255)[None]
    size = (img.shape[0] // scale, img.shape[1] // scale)
    shrunk = F.interpolate(planes, size=size, mode='bicubic', antialias=antialias)[0]
    return _rounded(shrunk.numpy().transpose(1, 2, 0).reshape(*size, *img.shape[2:]))


def _torch_antialiased(img: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    return _torch(img, scale, antialias=True)


def _basicsr(img: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    from basicsr.utils import matlab_functions

    shrunk = matlab_functions.imresize(np.atleast_3d(img).astype(np.float32) / 255, 1 / scale)
    return _rounded(shrunk.reshape(*shrunk.shape[:2], *img.shape[2:]))


def _rounded(img: NDArray) -> NDArray[np.uint8]:
    return np.clip(np.round(img * 255), 0, 255).astype(np.uint8)


Y_ALONE = 'MATLAB of Y alone'
"""The resizer whose LR images are grey, Y of the HR image shrunk."""

Resizer = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]

RESIZERS: Mapping[str, Resizer] = {
    'MATLAB': _matlab,
    'MATLAB with clamped edges': _matlab_clamped,
    'MATLAB with doubles': _matlab_double,
    Y_ALONE: _matlab_y,
    "BasicSR's port": _basicsr,
    'Pillow': _pillow,
    'torch with antialias': _torch_antialiased,
    'OpenCV': _opencv,
    'torch': _torch,
}
"""Shrink an image (H, W, 3), RGB, or (H, W), both sides multiples of the scale, by bicubic interpolation to 8 bits."""


@dataclass(frozen=True)
class Likeness:
    """How much LR images are like those that a resizer makes.

    Attributes:
        resizer: Key of :data:`RESIZERS`.
        equal: Share of equal values, 1 for images that are the same bit for bit.
        largest: Largest difference.
    """

    resizer: str
    equal: float
    largest: int


def likenesses(pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]], scale: int) -> list[Likeness]:
    """Compares LR images with what each resizer makes of the HR images, the most alike first.

    Grey LR images of HR images in colour are taken for Y: ``MATLAB of Y alone`` has shrunk Y, and all others RGB, whose
    Y is compared.

    Args:
        pairs: HR images (H, W, 3), RGB, or (H, W), both sides multiples of the scale; and LR images.
        scale: Scale.

    Returns:
        One for each resizer that makes images of this kind.
    """
    found = []
    of_y = all(lr.ndim == 2 for _, lr in pairs) and any(hr.ndim == 3 for hr, _ in pairs)
    for name, resize in RESIZERS.items():
        if name == Y_ALONE and not of_y:
            continue
        differences = []
        for hr, lr in pairs:
            made = resize(hr, scale)
            if of_y and name != Y_ALONE:
                made = rgb_to_rounded_y(made)
            # A grey image equals its RGB.
            differences.append(np.abs(np.atleast_3d(made).astype(np.int16) - np.atleast_3d(lr)).ravel())
        every = np.concatenate(differences)
        found.append(Likeness(name, float(np.mean(every == 0)), int(every.max())))
    return sorted(found, key=lambda likeness: -likeness.equal)

"""LR patches as cut out of photographs that were saved as JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from srsenet_plugin.data.colour import GREY_TO_Y

# Side of the squares in which JPEG codes an image: blocks of 8x8, and CbCr may have half of the resolution.
SQUARE = 16
SAMPLINGS = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)


class JpegPatches:
    """Cuts patches out of images as if these had been saved as JPEG, each patch with another quality and noise.

    CbCr have the full or half of the resolution (4:4:4 or 4:2:0), by chance.

    Args:
        quality: The lowest and the highest quality, on libjpeg's scale from 1 to 100.
        clean: Share of the patches that stay as they are, from 0 to 1.
        noise: The lowest and the highest standard deviation of Gaussian noise in each channel, of values from 0 to 255.
        noisy: Share of the compressed patches that have noise, which comes before the compression; from 0 to 1.
    """

    def __init__(
        self, quality: Sequence[int], clean: float = 0.0, noise: Sequence[float] = (0.0, 0.0), noisy: float = 1.0
    ) -> None:
        self._quality, self._clean, self._noise, self._noisy = quality, clean, noise, noisy

    def cut(self, img: NDArray[np.uint8], top: int, left: int, size: int, of_y: bool, rng: Any) -> NDArray:
        """Cuts a square out of an image.

        Args:
            img: RGB or, three times, Y, shape (H, W, 3).
            top: First row.
            left: First column.
            size: Number of rows and columns.
            of_y: Whether the image is Y, whose 16 to 235 are a photograph's 0 to 255.
            rng: What to draw from: a generator with the methods of the module ``random``.

        Returns:
            Shape (size, size, 3): uint8, or float64 in [0, 1] for Y that was compressed.
        """
        if rng.random() < self._clean:
            return img[top : top + size, left : left + size]
        quality, sampling = rng.randint(*self._quality), rng.choice(SAMPLINGS)
        sigma = rng.uniform(*self._noise) if rng.random() < self._noisy else 0.0
        # With one square more on each side, because CbCr of half the resolution are interpolated across the edges:
        # the patch has the values that it has in a JPEG of the whole image.
        first_row, first_column = (max(start // SQUARE - 1, 0) * SQUARE for start in (top, left))
        last_row, last_column = (((start + size - 1) // SQUARE + 2) * SQUARE for start in (top, left))
        window = img[first_row:last_row, first_column:last_column, : 1 if of_y else 3]
        levels = (window - 16.0) / GREY_TO_Y if of_y else window
        if sigma:
            levels = levels + np.random.default_rng(rng.getrandbits(64)).normal(0, sigma, levels.shape)
        saved = _saved(np.clip(np.rint(levels), 0, 255).astype(np.uint8), quality, sampling)
        patch = saved[top - first_row :, left - first_column :][:size, :size]
        return np.broadcast_to(patch * (GREY_TO_Y / 255) + 16 / 255, (size, size, 3)) if of_y else patch


def _saved(img: NDArray[np.uint8], quality: int, sampling: int) -> NDArray[np.uint8]:
    """An image (H, W, 3) or (H, W, 1) after it was saved as JPEG."""
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    encoded = cv2.imencode('.jpg', np.ascontiguousarray(img[..., ::-1]), parameters)[1]
    saved = cv2.imdecode(encoded, cv2.IMREAD_COLOR if img.shape[2] == 3 else cv2.IMREAD_GRAYSCALE)
    return np.asarray(saved).reshape(img.shape)[..., ::-1]

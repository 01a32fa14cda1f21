"""Results of any size: the next larger network enlarges an image, and MATLAB's ``imresize`` shrinks the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.inference.transparency import without_hidden_colour


@dataclass(frozen=True)
class ResultSize:
    """The size that results are to have, by one of the three.

    Attributes:
        scale: Factor of both sides.
        width: Width in pixels; the height keeps the proportions.
        height: Height in pixels; the width keeps the proportions.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result of an image, rounded half up."""
        if self.width is not None:
            return _rounded(height * self.width / width), self.width
        if self.height is not None:
            return self.height, _rounded(width * self.height / height)
        assert self.scale is not None
        return _rounded(height * self.scale), _rounded(width * self.scale)

    def __str__(self) -> str:
        """For names of files: ``x2.5``, ``w3000`` or ``h2000``."""
        if self.width is not None:
            return f'w{self.width}'
        return f'x{self.scale:g}' if self.height is None else f'h{self.height}'


class AnySizeUpscaler:
    """Upscales images to a size.

    Args:
        size: The size of the results. Images that are larger are shrunk.
        scales: Scales that there are networks for.
        upscaler: Gives a function that upscales images by one of them, such as an ``Upscaler``.
    """

    def __init__(
        self, size: ResultSize, scales: Iterable[int], upscaler: Callable[[int], Callable[[NDArray], NDArray]]
    ) -> None:
        self._size = size
        self._scales = list(scales)
        self._upscaler = upscaler

    def __call__(self, image: NDArray) -> NDArray:
        """Upscales an image, as ``Upscaler`` takes them.

        Raises:
            ValueError: It would have to be enlarged by more than the largest scale.
        """
        size = self._size.of(*image.shape[:2])
        factor = max(size[0] / image.shape[0], size[1] / image.shape[1])
        if factor > 1:
            return _resized(self._upscaler(scale_for(factor, self._scales))(image), size)
        return image if size == image.shape[:2] else _resized(without_hidden_colour(image), size)


def scale_for(factor: float, scales: Iterable[int]) -> int:
    """The smallest scale that is not smaller than a factor.

    Raises:
        ValueError: There is none.
    """
    fitting = [scale for scale in scales if scale >= factor]
    if not fitting:
        raise ValueError(f'would have to be enlarged {factor:g} times; {max(scales)} times is the most')
    return min(fitting)


def _rounded(side: float) -> int:
    return max(math.floor(side + 0.5), 1)


def _resized(image: NDArray, size: tuple[int, int]) -> NDArray:
    if image.shape[:2] == size:
        return image
    if image.dtype == np.uint8:
        return imresize(image, output_size=size)
    is_integer = image.dtype == np.uint16
    resized = imresize(image.astype(np.float64), output_size=size).clip(0, 65535 if is_integer else 1)
    return (np.floor(resized + 0.5) if is_integer else resized).astype(image.dtype)

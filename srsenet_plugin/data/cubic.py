"""Cubic convolution with mirrored edges: what MATLAB's ``imresize`` is made of, for arrays and tensors alike."""

from __future__ import annotations

from typing import TypeVar

from numpy.typing import NDArray
from torch import Tensor

Array = TypeVar('Array', NDArray, Tensor)


def cubic(x: Array) -> Array:
    """Keys' cubic convolution kernel with a = -0.5 (IEEE Trans. ASSP 29(6), 1981, equation 15)."""
    x = abs(x)
    square = x * x
    cube = square * x
    near = 1.5 * cube - 2.5 * square + 1
    far = -0.5 * cube + 2.5 * square - 4 * x + 2
    return near * (x <= 1) + far * ((x > 1) & (x <= 2))


def mirrored(index: Array, size: int) -> Array:
    """Indices within ``size`` pixels for any integers, the edge pixel repeated: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ..."""
    index = index % (2 * size)
    return index + (2 * size - 1 - 2 * index) * (index >= size)

"""MATLAB's ``imresize`` with its default bicubic kernel, which the SR literature makes its LR images with."""

from __future__ import annotations

import math
import numbers

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array


def imresize(img: NDArray, scale: float) -> NDArray:
    """Resizes an image as MATLAB's ``imresize(img, scale)`` does, to the last bit for uint8 images.

    Bicubic with a = -0.5, antialiased when shrinking, edges mirrored. As in MATLAB one dimension is resized after the
    other, and the class of the input is kept *between* the two as well: uint8 values are rounded twice, half away from
    zero. Ports that round once differ on every image.

    Args:
        img (ndarray): Shape (H, W) or (H, W, C), uint8 with range [0, 255] or float of any range.
        scale (float): Factor of both sides, greater than 0.

    Returns:
        ndarray: Shape (ceil(H * scale), ceil(W * scale)[, C]), dtype of the input.

    Raises:
        ValueError: The image is none of these, is empty or holds NaN or infinity, or the scale is not positive.
    """
    if not isinstance(img, np.ndarray) or img.ndim not in (2, 3) or img.size == 0:
        raise ValueError(f'imresize: img must be a non-empty array (H, W) or (H, W, C); got shape {np.shape(img)}')
    if img.dtype != np.uint8 and not np.issubdtype(img.dtype, np.floating):
        raise ValueError(f'imresize: img must be uint8 or float; got {img.dtype}')
    if not np.isfinite(img).all():
        raise ValueError('imresize: img holds NaN or infinity')
    if not isinstance(scale, numbers.Real) or isinstance(scale, bool) or not 0 < scale < math.inf:
        raise ValueError(f'imresize: scale must be a number greater than 0; got {scale!r}')

    # Both scales are equal, so MATLAB's order (the smaller scale first) is rows, then columns.
    rows = _resize_rows(img, scale)
    return np.ascontiguousarray(_resize_rows(rows.swapaxes(0, 1), scale).swapaxes(0, 1))


def _resize_rows(img: NDArray, scale: float) -> NDArray:
    """Resizes the first dimension, from and to the image's dtype."""
    weights = _weights(img.shape[0], scale)
    out = (weights @ img.reshape(img.shape[0], -1).astype(np.float64)).reshape(-1, *img.shape[1:])
    if img.dtype == np.uint8:
        # Half away from zero is half up here: what is negative becomes 0 either way.
        out = np.clip(np.floor(out + 0.5), 0, 255)
    return out.astype(img.dtype)


def _weights(in_size: int, scale: float) -> csr_array:
    """The (out_size, in_size) matrix that resizes one dimension."""
    out_size = math.ceil(in_size * scale)
    widening = max(1.0, 1 / scale)  # antialiasing: a kernel widened to cover one output pixel
    support = 4 * widening
    centre = (np.arange(out_size) + 0.5) / scale - 0.5
    taps = np.floor(centre - support / 2)[:, None] + np.arange(math.ceil(support) + 2)
    weight = _cubic((centre[:, None] - taps) / widening)
    weight /= weight.sum(1, keepdims=True)
    # Mirrored with the edge pixel repeated: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...
    taps = taps.astype(np.int64) % (2 * in_size)
    taps = np.minimum(taps, 2 * in_size - 1 - taps)
    row = np.broadcast_to(np.arange(out_size)[:, None], taps.shape)
    return csr_array((weight.ravel(), (row.ravel(), taps.ravel())), shape=(out_size, in_size))


def _cubic(x: NDArray) -> NDArray:
    """Keys' cubic convolution kernel with a = -0.5 (IEEE Trans. ASSP 29(6), 1981, equation 15)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))

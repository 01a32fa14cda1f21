"""MATLAB's ``imresize`` with its default bicubic kernel, which the SR literature makes its LR images with."""

from __future__ import annotations

import functools
import math
import numbers
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from srsenet_plugin.data.cubic import cubic, mirrored

if TYPE_CHECKING:  # slow to import, and few photographs need it
    from scipy.sparse import csr_array

# The kernel, which covers four pixels of the result, grows with 1 / scale; beyond this it would fill the memory.
MAX_WIDENING = 1000

Image = TypeVar('Image', NDArray, Tensor)


def imresize(
    img: Image,
    scale: float | None = None,
    output_size: tuple[int, int] | None = None,
    antialiasing: bool = True,
) -> Image:
    """Resizes images as MATLAB's ``imresize`` does.

    Bicubic with a = -0.5, edges mirrored. As in MATLAB one dimension is resized after the other, the smaller scale
    first, and the class of the input is kept *between* the two as well: uint8 values are rounded twice, half away from
    zero. Ports that round once differ on nearly every image. Float images are computed in float64.

    The result was compared with images that MATLAB itself has made, and equals them to the last bit: Set5 shrunk 2, 3
    and 4 times as uint8, and 8 times as double. Sums are exact where an image is shrunk 2, 4 or 8 times, so that the
    equality holds for every image. At other scales, such as 0.7, 0.9 and 1.5, a sum may lie on a half, and the rounding
    errors of float64 decide whether it is rounded up. This function computes in the order of MATLAB's published code.
    The order in which MATLAB's compiled part adds up is not public, so a few values in ten thousand may differ by 1.

    Args:
        img: Array of shape (H, W) or (H, W, C), or tensor of shape (C, H, W) or (N, C, H, W); uint8
            with range [0, 255], or float of any range. No gradient flows through.
        scale: Factor of both sides, greater than 0; at least 1/1000 of a pixel has to be left.
        output_size: Height and width of the result, instead of ``scale``.
        antialiasing: Widen the kernel when shrinking, so that it covers all pixels. Default: True.

    Returns:
        The same kind, class and device. With ``scale``, sides are ceil(side * scale).

    Raises:
        ValueError: ``img`` is none of these, is empty or holds NaN or infinity; not exactly one of ``scale`` and
            ``output_size`` is given; or one of them is not positive.
    """
    if isinstance(img, Tensor):
        return _resize_tensor(img, scale, output_size, antialiasing)
    if not isinstance(img, np.ndarray) or img.ndim not in (2, 3) or img.size == 0:
        raise ValueError(
            'imresize: img must be a non-empty array (H, W) or (H, W, C) or tensor (C, H, W) or (N, C, H, W); '
            f'got {type(img).__name__} of shape {np.shape(img)}'
        )
    if img.dtype != np.uint8:
        if not np.issubdtype(img.dtype, np.floating):
            raise ValueError(f'imresize: img must be uint8 or float; got {img.dtype}')
        if not np.isfinite(img).all():
            raise ValueError('imresize: img holds NaN or infinity')

    scales, sizes = _scales_and_sizes((img.shape[0], img.shape[1]), scale, output_size)
    factor = SHRINK_FACTORS.get(scales[0]) if scales[0] == scales[1] else None
    if factor and img.dtype == np.uint8 and antialiasing and _can_shrink(img, factor):
        return _shrink(img, factor)
    resized = img if img.dtype == np.uint8 else img.astype(np.float64)
    for axis in np.argsort(scales, kind='stable'):
        rows = resized.swapaxes(0, axis)
        resized = _resize_rows(rows, scales[axis], sizes[axis], antialiasing).swapaxes(0, axis)
    return np.ascontiguousarray(resized, img.dtype)


def _resize_tensor(img: Tensor, scale: float | None, output_size: tuple[int, int] | None, antialiasing: bool) -> Tensor:
    if img.ndim not in (3, 4) or img.numel() == 0:
        raise ValueError(f'imresize: a tensor must be (C, H, W) or (N, C, H, W), not empty; got {tuple(img.shape)}')
    if img.dtype != torch.uint8 and not img.is_floating_point():
        raise ValueError(f'imresize: img must be uint8 or float; got {img.dtype}')
    # NumPy has no bfloat16; float64 holds every float.
    planes = img.detach().cpu().flatten(0, -3)
    planes = planes if img.dtype == torch.uint8 else planes.double()
    resized = [torch.from_numpy(imresize(plane.numpy(), scale, output_size, antialiasing)) for plane in planes]
    return torch.stack(resized).unflatten(0, img.shape[:-2]).to(img)


def _scales_and_sizes(
    in_sizes: tuple[int, int], scale: float | None, output_size: tuple[int, int] | None
) -> tuple[list[float], list[int]]:
    if (scale is None) == (output_size is None):
        raise ValueError('imresize: give either scale or output_size')
    if output_size is None:
        if not isinstance(scale, numbers.Real) or isinstance(scale, bool) or not 0 < scale < math.inf:
            raise ValueError(f'imresize: scale must be a number greater than 0; got {scale!r}')
        if scale * min(in_sizes) < 1 / MAX_WIDENING:
            raise ValueError(f'imresize: scale {scale} leaves nothing of an image of {in_sizes[0]}x{in_sizes[1]}')
        return [scale, scale], [math.ceil(size * scale) for size in in_sizes]
    sizes = list(output_size) if isinstance(output_size, (tuple, list)) else []
    if len(sizes) != 2 or not all(isinstance(size, numbers.Integral) and size > 0 for size in sizes):
        raise ValueError(f'imresize: output_size must be two integers greater than 0; got {output_size!r}')
    return [out / size for out, size in zip(sizes, in_sizes)], sizes


def _resize_rows(img: NDArray, scale: float, out_size: int, antialiasing: bool) -> NDArray:
    """Resizes the first dimension of a uint8 or float64 image, and keeps its dtype."""
    weights = _weights(img.shape[0], scale, out_size, antialiasing)
    out = (weights @ img.reshape(img.shape[0], -1).astype(np.float64)).reshape(-1, *img.shape[1:])
    if img.dtype == np.uint8:
        # Half away from zero is half up here: negative values become 0 either way.
        return np.clip(np.floor(out + 0.5), 0, 255).astype(np.uint8)
    return out


def _weights(in_size: int, scale: float, out_size: int, antialiasing: bool) -> csr_array:
    """The (out_size, in_size) matrix that resizes one dimension."""
    # In the order of MATLAB's published code, pixels counted from 1: where sums lie on halves, roundings decide.
    shrink = min(scale, 1.0) if antialiasing else 1.0
    support = 4 / shrink
    centre = np.arange(1, out_size + 1) / scale + 0.5 * (1 - 1 / scale)
    taps = np.floor(centre - support / 2)[:, None] + np.arange(math.ceil(support) + 2)
    weight = shrink * cubic(shrink * (centre[:, None] - taps))
    weight /= sum(weight.T)[:, None]  # one after the other, as np.sum does not
    columns = mirrored(taps.astype(np.int64) - 1, in_size)
    # Built so, it keeps the order of each row's sum, also where mirrored pixels are among them twice.
    ends = np.arange(out_size + 1) * taps.shape[1]
    from scipy.sparse import csr_array

    return csr_array((weight.ravel(), columns.ravel(), ends), shape=(out_size, in_size))


# uint8 images shrunk 2, 4 or 8 times. The weights are multiples of 2^-8, 2^-12 and 2^-16, which the 16-bit fixed-point
# weights of torch's antialiased bicubic hold exactly. It rounds half up and clips at the edges of its input, so it
# gives MATLAB's values if it gets the image with mirrored edges, one dimension at a time.
SHRINK_FACTORS = {1 / 2: 2, 1 / 4: 4, 1 / 8: 8}


def _shrink(img: NDArray, factor: int) -> NDArray:
    shrunk = img
    for _ in range(2):
        shrunk = cv2.transpose(_shrink_rows(shrunk, factor))
    return shrunk.reshape(*shrunk.shape[:2], *img.shape[2:])


def _shrink_rows(img: NDArray, factor: int) -> NDArray:
    height, *row_shape = img.shape
    out_height = -(-height // factor)
    pixels = math.prod(row_shape)
    margin = 2 * factor
    below = margin + out_height * factor - height
    rows = cv2.copyMakeBorder(img.reshape(height, pixels), margin, below, 0, -pixels % 4, cv2.BORDER_REFLECT)
    # Rows do not care what their pixels mean, and torch is several times faster with channels_last and 4 channels.
    tensor = torch.from_numpy(rows.reshape(1, *rows.shape[:1], -1, 4)).permute(0, 3, 1, 2)
    size = (out_height + 4, tensor.shape[3])
    out = F.interpolate(tensor, size=size, mode='bicubic', antialias=True)[..., 2:-2, :]
    return out.permute(0, 2, 3, 1).numpy().reshape(out_height, -1)[:, :pixels].reshape(out_height, *row_shape)


def _can_shrink(img: NDArray, factor: int) -> bool:
    # What cv2.transpose takes, and sizes that torch's 32-bit offsets do.
    return img[0, 0].size <= 4 and img.size < 2**30 and _shrinks_exactly(factor)


@functools.cache
def _shrinks_exactly(factor: int) -> bool:
    """Looks once, because torch promises no bits: another version or processor may compute otherwise."""
    img = np.random.default_rng(0).integers(0, 256, (12 * factor, 16 * factor), np.uint8)
    rows = _resize_rows(img, 1 / factor, 12, antialiasing=True)
    return np.array_equal(_shrink_rows(img, factor), rows)

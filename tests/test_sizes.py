"""Results of any size: enlarged by the next larger scale, then shrunk to the pixel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from srsenet_plugin.data import imresize
from srsenet_plugin.inference.sizes import AnySizeUpscaler, ResultSize, scale_for
from srsenet_plugin.inference.upscaler import Upscaler


def repeated(scale: int) -> Callable[[NDArray], NDArray]:
    return lambda image: image.repeat(scale, 0).repeat(scale, 1)


SCALES = (2, 4, 8)


@pytest.mark.parametrize(
    ('size', 'expected'),
    [
        (ResultSize(scale=2.5), (25, 18)),  # 17.5, half up
        (ResultSize(scale=1.1), (11, 8)),  # 11.000000000000002 in floating point
        (ResultSize(width=3), (4, 3)),
        (ResultSize(width=700), (1000, 700)),
        (ResultSize(height=33), (33, 23)),
        (ResultSize(width=1), (1, 1)),
    ],
    ids=str,
)
def test_sizes(size: ResultSize, expected: tuple[int, int]) -> None:
    assert size.of(10, 7) == expected


def test_sides_are_at_least_a_pixel() -> None:
    assert ResultSize(width=10).of(1, 1000) == (1, 10)


@pytest.mark.parametrize(('factor', 'scale'), [(1.01, 2), (2, 2), (2.01, 4), (3, 4), (8, 8)])
def test_the_next_larger_scale(factor: float, scale: int) -> None:
    assert scale_for(factor, SCALES) == scale


def test_beyond_the_largest_scale() -> None:
    with pytest.raises(ValueError, match=r'enlarged 8\.5 times; 8 times is the most'):
        AnySizeUpscaler(ResultSize(scale=8.5), SCALES, repeated)(np.zeros((4, 4), np.uint8))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize('shape', [(10, 7), (10, 7, 3), (10, 7, 4)], ids=str)
def test_results(shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    white = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)  # type: ignore[call-overload]
    image = (np.random.default_rng(0).integers(0, 2, shape) * white).astype(dtype)  # bicubic overshoots on it
    if shape[2:] == (4,):
        image[..., 3] = white
    result = AnySizeUpscaler(ResultSize(scale=2.6), SCALES, repeated)(image)
    assert result.dtype == dtype
    assert result.shape == (26, 18, *shape[2:])
    enlarged = image.repeat(4, 0).repeat(4, 1)
    if dtype == np.uint8:  # which MATLAB rounds between the two dimensions
        assert np.array_equal(result, imresize(enlarged, output_size=(26, 18)))
    else:
        exact = imresize(enlarged / white, output_size=(26, 18)).clip(0, 1) * white
        assert np.abs(result - exact).max() <= (0.5 + 1e-6 if dtype == np.uint16 else 1e-6)


def test_a_scale_that_there_is_needs_no_shrinking() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    assert np.array_equal(AnySizeUpscaler(ResultSize(width=24), SCALES, repeated)(image), repeated(4)(image))


def test_larger_images_are_shrunk_without_their_hidden_colour() -> None:
    image: NDArray[np.uint8] = np.full((20, 20, 4), 255, np.uint8)
    image[:, 9:] = 0
    result = AnySizeUpscaler(ResultSize(width=7), SCALES, repeated)(image)
    assert result.shape == (7, 7, 4)
    assert (result[..., :3] == 255).all()
    same = AnySizeUpscaler(ResultSize(width=20), SCALES, repeated)(image)
    assert np.array_equal(same, image)


def test_networks() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    result = AnySizeUpscaler(ResultSize(scale=3), [4], Upscaler)(image)
    assert np.array_equal(result, imresize(Upscaler(4)(image), output_size=(24, 27)))

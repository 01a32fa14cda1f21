from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import PHOTOS
from numpy.typing import NDArray
from PIL import Image

from srsenet_plugin.data.imresize import imresize


def mod_crop(img: NDArray, scale: int) -> NDArray:
    return img[: img.shape[0] // scale * scale, : img.shape[1] // scale * scale]


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_equals_matlab_on_uint8(shared_datasets: Path, scale: int) -> None:
    for path in sorted((shared_datasets / 'Set5/HR').iterdir()):
        matlab = cv2.imread(str(shared_datasets / f'Set5/LR_bicubic_matlab/X{scale}/{path.stem}x{scale}.png'))
        assert np.array_equal(imresize(mod_crop(cv2.imread(str(path)), scale), 1 / scale), matlab), path.name


def test_equals_matlab_on_double(shared_datasets: Path) -> None:
    for path in sorted((shared_datasets / 'Set5/HR').iterdir()):
        matlab = cv2.imread(str(shared_datasets / f'Set5/LR_bicubic_matlab/X8/{path.stem}x8.png'))
        out = imresize(mod_crop(cv2.imread(str(path)), 8).astype(np.float64), 1 / 8)
        assert np.array_equal(np.clip(np.floor(out + 0.5), 0, 255), matlab), path.name


@pytest.mark.parametrize('scale', [2, 4, 8])
@pytest.mark.parametrize('name', ['coffee.png', 'camera.png'])
def test_equals_pillow_on_uint8(name: str, scale: int) -> None:
    """Pillow's BICUBIC rounds between its passes too, but takes columns first and clips at the edges.

    So it gives MATLAB's values on the transposed image, with edges mirrored beforehand.
    """
    img = mod_crop(cv2.imread(str(PHOTOS / name)), scale)
    pad = 2 * scale
    padded = np.pad(img, ((pad, pad), (pad, pad), (0, 0)), 'symmetric').swapaxes(0, 1)
    size = (padded.shape[1] // scale, padded.shape[0] // scale)
    pillow = np.asarray(Image.fromarray(np.ascontiguousarray(padded)).resize(size, Image.Resampling.BICUBIC))
    assert np.array_equal(imresize(img, 1 / scale), pillow.swapaxes(0, 1)[2:-2, 2:-2])


def reference(img: NDArray, scale: float) -> NDArray:
    """MATLAB's imresize of a (H, W) float image, pixel by pixel."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    def resize(line: NDArray) -> list[float]:
        shrink = min(scale, 1)
        out = []
        for i in range(math.ceil(len(line) * scale)):
            centre = (i + 0.5) / scale - 0.5
            reach = math.ceil(2 / shrink) + 1
            total = weights = 0.0
            for j in range(math.floor(centre) - reach, math.floor(centre) + reach + 1):
                mirrored = j % (2 * len(line))
                mirrored = min(mirrored, 2 * len(line) - 1 - mirrored)
                weight = kernel(shrink * (centre - j))
                total += weight * line[mirrored]
                weights += weight
            out.append(total / weights)
        return out

    rows = np.array([resize(column) for column in img.T]).T
    return np.array([resize(row) for row in rows])


@pytest.mark.parametrize('scale', [0.5, 1 / 3, 0.7, 0.125, 1, 2, 3, 8])
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (5, 2), (16, 13)])
def test_float_against_reference(size: tuple[int, int], scale: float) -> None:
    img = np.random.default_rng(0).normal(size=size)
    np.testing.assert_allclose(imresize(img, scale), reference(img, scale), rtol=0, atol=1e-12)


def test_keeps_class_and_dimensions() -> None:
    for dtype in (np.uint8, np.float32, np.float64):
        assert imresize(np.ones((6, 8), dtype), 0.5).dtype == dtype
        assert imresize(np.ones((6, 8, 3), dtype), 0.7).shape == (5, 6, 3)


@pytest.mark.parametrize(
    ('img', 'scale', 'message'),
    [
        (np.zeros((2, 2), bool), 2, 'uint8 or float; got bool'),
        (np.zeros((2, 2), np.uint16), 2, 'uint8 or float; got uint16'),
        (np.zeros((2, 2), complex), 2, 'uint8 or float; got complex'),
        (np.zeros((0, 2)), 2, 'non-empty'),
        (np.zeros(4), 2, 'non-empty array'),
        ([[1.0]], 2, 'non-empty array'),
        (np.full((2, 2), np.nan), 2, 'NaN or infinity'),
        (np.zeros((2, 2)), 0, 'greater than 0; got 0'),
        (np.zeros((2, 2)), -2, 'greater than 0; got -2'),
        (np.zeros((2, 2)), math.inf, 'greater than 0; got inf'),
        (np.zeros((2, 2)), '2', "greater than 0; got '2'"),
    ],
)
def test_outside_the_contract(img: NDArray, scale: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        imresize(img, scale)

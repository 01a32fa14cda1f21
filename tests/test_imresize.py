from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import PHOTOS
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from srsenet_plugin.data import imresize


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


def kernel(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * (x * x * x) - 2.5 * (x * x) + 1
    return -0.5 * (x * x * x) + 2.5 * (x * x) - 4 * x + 2 if x <= 2 else 0.0


def resize_line(line: list[float], scale: float, out_size: int, antialiasing: bool) -> list[float]:
    shrink = min(scale, 1) if antialiasing else 1
    reach = math.ceil(2 / shrink) + 1
    out = []
    for i in range(out_size):
        centre = (i + 0.5) / scale - 0.5
        total = weights = 0.0
        for j in range(math.floor(centre) - reach, math.floor(centre) + reach + 1):
            mirrored = j % (2 * len(line))
            mirrored = min(mirrored, 2 * len(line) - 1 - mirrored)
            weight = kernel(shrink * (centre - j))
            total += weight * line[mirrored]
            weights += weight
        out.append(total / weights)
    return out


def reference(
    img: NDArray, scales: tuple[float, float], sizes: tuple[int, int], antialiasing: bool = True
) -> tuple[NDArray, float]:
    """MATLAB's imresize of a (H, W) image, and how near a uint8 value of it was to being rounded the other way."""
    margin = math.inf
    out = img.astype(np.float64)
    for axis in (0, 1) if scales[0] <= scales[1] else (1, 0):
        lines = out.T if axis == 0 else out
        resized = np.array([resize_line(list(line), scales[axis], sizes[axis], antialiasing) for line in lines])
        if img.dtype == np.uint8:
            inside = resized[(resized > -0.5) & (resized < 255.5)]
            margin = min([margin, *np.abs(inside % 1 - 0.5)])
            resized = np.clip(np.floor(resized + 0.5), 0, 255)
        out = resized.T if axis == 0 else resized
    return out, margin


def resize_line_as_published(line: list[int], scale: float, out_size: int) -> list[float]:
    """In the order of MATLAB's published code, one operation of Python's floats after the other."""
    shrink = min(scale, 1.0)
    support = 4 / shrink
    out = []
    for i in range(1, out_size + 1):
        centre = i / scale + 0.5 * (1 - 1 / scale)
        first = math.floor(centre - support / 2)
        taps = range(first, first + math.ceil(support) + 2)
        weights = [shrink * kernel(shrink * (centre - tap)) for tap in taps]
        total = 0.0
        for weight in weights:
            total += weight
        value = 0.0
        for weight, tap in zip(weights, taps):
            index = (tap - 1) % (2 * len(line))
            value += weight / total * line[min(index, 2 * len(line) - 1 - index)]
        out.append(value)
    return out


@pytest.mark.parametrize('scale', [0.3, 0.6, 0.7, 0.75, 0.9, 1.5, 3])
def test_ties_fall_as_in_the_published_order(scale: float) -> None:
    """Even values with one odd among them make many sums that lie on a half."""
    rng = np.random.default_rng(0)
    img = rng.choice(np.array([0, 1, 2, 4, 5, 10, 20, 25, 50, 100, 125, 200, 250], np.uint8), (40, 60))
    out = img
    for _ in range(2):
        size = math.ceil(len(out) * scale)
        lines = np.array([resize_line_as_published(column.tolist(), scale, size) for column in out.T])
        out = np.clip(np.floor(lines + 0.5), 0, 255).astype(np.uint8)
    assert np.array_equal(imresize(img, scale), out)


def ceil_sizes(img: NDArray, scale: float) -> tuple[int, int]:
    return math.ceil(img.shape[0] * scale), math.ceil(img.shape[1] * scale)


shapes = st.tuples(st.integers(1, 20), st.integers(1, 20))
EXACT = {2: 1 / 2, 4: 1 / 4, 8: 1 / 8}


@settings(deadline=None)  # shared machines pause for longer than any deadline
@given(shape=shapes, scale=st.sampled_from(sorted(EXACT.values())), data=st.data())
def test_shrunk_uint8_equals_reference_on_every_value(
    shape: tuple[int, int], scale: float, data: st.DataObject
) -> None:
    img = data.draw(arrays(np.uint8, shape))
    expected, _ = reference(img, (scale, scale), ceil_sizes(img, scale))
    assert np.array_equal(imresize(img, scale), expected)


@settings(deadline=None)  # shared machines pause for longer than any deadline
@given(
    shape=shapes,
    scale=st.sampled_from([0.7, 1 / 3, 0.9, 1, 1.5, 2, 3, 8]) | st.floats(0.1, 4),
    dtype=st.sampled_from([np.uint8, np.float32, np.float64]),
    antialiasing=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_scale_against_reference(
    shape: tuple[int, int], scale: float, dtype: type, antialiasing: bool, seed: int
) -> None:
    img = np.random.default_rng(seed).uniform(0, 256, shape).astype(dtype)
    expected, margin = reference(img, (scale, scale), ceil_sizes(img, scale), antialiasing)
    assume(margin > 1e-9)  # which way a tie falls depends on the order of sums
    out = imresize(img, scale, antialiasing=antialiasing)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, expected, rtol=0, atol={np.uint8: 0, np.float32: 1e-4, np.float64: 1e-10}[dtype])


@settings(deadline=None)  # shared machines pause for longer than any deadline
@given(shape=shapes, size=shapes, dtype=st.sampled_from([np.uint8, np.float64]), seed=st.integers(0, 2**32 - 1))
def test_output_size_against_reference(shape: tuple[int, int], size: tuple[int, int], dtype: type, seed: int) -> None:
    """Both scales differ, so that the order of the dimensions shows."""
    img = np.random.default_rng(seed).uniform(0, 256, shape).astype(dtype)
    expected, margin = reference(img, (size[0] / shape[0], size[1] / shape[1]), size)
    assume(margin > 1e-9)
    np.testing.assert_allclose(imresize(img, output_size=size), expected, rtol=0, atol=1e-10)


@settings(deadline=None)  # shared machines pause for longer than any deadline
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 20), st.integers(1, 20)),
    scale=st.sampled_from([1 / 2, 1 / 4, 1 / 8, 0.7, 2]),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.float64, torch.bfloat16]),
    seed=st.integers(0, 2**32 - 1),
)
def test_channels_batches_and_tensors_are_planes(
    shape: tuple[int, ...], scale: float, dtype: torch.dtype, seed: int
) -> None:
    img = (256 * torch.rand(shape, generator=torch.Generator().manual_seed(seed))).to(dtype)
    out = imresize(img, scale)
    assert out.dtype == dtype
    for n, sample in enumerate(img):
        assert torch.equal(imresize(sample, scale), out[n])
        if dtype != torch.bfloat16:
            last = sample.permute(1, 2, 0).numpy()
            for channels in (last, np.ascontiguousarray(last), last[::-1, ::-1][::-1, ::-1]):
                assert np.array_equal(imresize(channels, scale), out[n].permute(1, 2, 0).numpy())
        for c, plane in enumerate(sample):
            expected = imresize((plane if dtype == torch.uint8 else plane.double()).numpy(), scale)
            assert torch.equal(torch.from_numpy(expected).to(dtype), out[n, c])


def test_every_value_also_where_torch_computes_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast path is left when a look at this torch shows other values."""
    img = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    expected = imresize(img, 1 / 4)
    module = sys.modules[imresize.__module__]
    interpolate = module.F.interpolate
    monkeypatch.setattr(module.F, 'interpolate', lambda *args, **kwargs: interpolate(*args, **kwargs) + 1)
    module._shrinks_exactly.cache_clear()
    assert np.array_equal(imresize(img, 1 / 4), expected)
    assert not module._shrinks_exactly(4)
    monkeypatch.undo()
    module._shrinks_exactly.cache_clear()
    assert module._shrinks_exactly(4)


def test_large_images() -> None:
    """Wider than 2^16, and with values in all bits of the fast path."""
    img = np.random.default_rng(0).integers(0, 256, (16, 70_000, 3), np.uint8)
    out = imresize(img, 1 / 8)
    assert out.shape == (2, 8750, 3)
    for start in (0, 4000, 8700):
        # Two pixels beyond either side are all that a pixel of the result sees.
        part = imresize(img[:, max(0, start - 2) * 8 : (start + 52) * 8], 1 / 8)
        assert np.array_equal(part[:, min(start, 2) :][:, :50], out[:, start : start + 50])


@pytest.mark.parametrize(
    ('img', 'arguments', 'message'),
    [
        (np.zeros((2, 2), bool), {'scale': 2}, 'uint8 or float; got bool'),
        (np.zeros((2, 2), np.uint16), {'scale': 2}, 'uint8 or float; got uint16'),
        (np.zeros((2, 2), complex), {'scale': 2}, 'uint8 or float; got complex'),
        (np.zeros((0, 2)), {'scale': 2}, 'non-empty'),
        (np.zeros(4), {'scale': 2}, 'non-empty array'),
        ([[1.0]], {'scale': 2}, 'non-empty array .* got list'),
        (np.full((2, 2), np.nan), {'scale': 2}, 'NaN or infinity'),
        (torch.full((1, 2, 2), math.inf), {'scale': 2}, 'NaN or infinity'),
        (torch.zeros(2, 2), {'scale': 2}, r'must be \(C, H, W\) or \(N, C, H, W\)'),
        (torch.zeros(1, 0, 2), {'scale': 2}, 'not empty'),
        (torch.zeros(1, 2, 2, dtype=torch.bool), {'scale': 2}, r'uint8 or float; got torch\.bool'),
        (torch.zeros(1, 2, 2, dtype=torch.complex64), {'scale': 2}, r'uint8 or float; got torch\.complex64'),
        (np.zeros((2, 2)), {'scale': 0}, 'greater than 0; got 0'),
        (np.zeros((2, 2)), {'scale': -2}, 'greater than 0; got -2'),
        (np.zeros((2, 2)), {'scale': math.inf}, 'greater than 0; got inf'),
        (np.zeros((2, 2)), {'scale': math.nan}, 'greater than 0; got nan'),
        (np.zeros((2, 2)), {'scale': True}, 'greater than 0; got True'),
        (np.zeros((2, 2)), {'scale': '2'}, "greater than 0; got '2'"),
        (np.zeros((2, 2)), {'scale': 1e-9}, 'leaves nothing of an image of 2x2'),
        (np.zeros((2, 2)), {}, 'either scale or output_size'),
        (np.zeros((2, 2)), {'scale': 2, 'output_size': (4, 4)}, 'either scale or output_size'),
        (np.zeros((2, 2)), {'output_size': (4, 0)}, 'two integers greater than 0'),
        (np.zeros((2, 2)), {'output_size': (4, 4.0)}, 'two integers greater than 0'),
        (np.zeros((2, 2)), {'output_size': (4, 4, 3)}, 'two integers greater than 0'),
        (np.zeros((2, 2)), {'output_size': 4}, 'two integers greater than 0'),
    ],
)
def test_outside_the_contract(img: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        imresize(img, **arguments)

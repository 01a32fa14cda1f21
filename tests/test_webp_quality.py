"""The quality of WebP files, against the one that they were saved with."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import pytest
from conftest import PHOTOS
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srsenet_plugin.inference.webp_quality import webp_quality


def saved(photo: str, **options: object) -> bytes:
    file = io.BytesIO()
    with Image.open(PHOTOS / photo) as img:
        img.convert('RGB').crop((0, 0, 200, 150)).save(file, 'WEBP', **options)
    return file.getvalue()


@pytest.mark.parametrize('photo', ['chelsea.png', 'coffee.png', 'rocket.jpg'])
@pytest.mark.parametrize('options', [{}, {'method': 6}, {'xmp': b'<x/>'}], ids=str)
def test_libwebps_quality(photo: str, options: dict[str, object]) -> None:
    """Near 90, where the weights change, it is nearly exact. Coarser segments differ more from each other."""
    for quality in (0, 20, 50, 75, 85, 90, 95, 100):
        found = webp_quality(saved(photo, quality=quality, **options))
        assert found == pytest.approx(quality, abs=1 if quality >= 90 else 10), quality


def test_files_without_losses_have_none() -> None:
    data = saved('chelsea.png', lossless=True)
    assert webp_quality(data) is None
    assert webp_quality(data[:16]) is None
    assert webp_quality(b'') is None


@given(st.binary(max_size=60))
def test_any_bytes_have_a_quality_or_none(frame: bytes) -> None:
    assert webp_quality(webp(frame)) in range(101)


def webp(frame: bytes) -> bytes:
    chunk = b'VP8 ' + struct.pack('<I', len(frame)) + frame
    return b'RIFF' + struct.pack('<I', 4 + len(chunk)) + b'WEBP' + chunk


def encoded(bits: list[int]) -> bytes:
    """The boolean encoder of RFC 6386, section 7.3, for bits that are as probable as not, on whole numbers."""
    low, size, shifts = 0, 255, 0
    for bit in bits:
        split = 1 + ((size - 1) * 128 >> 8)
        low, size = (low + split, size - split) if bit else (low, split)
        while size < 128:
            low, size, shifts = low << 1, size << 1, shifts + 1
    low, shifts = low << 16, shifts + 16  # more than the last bit needs
    low, shifts = low << -shifts % 8, shifts + -shifts % 8
    return low.to_bytes(shifts // 8 + 1, 'big')


def number(value: int, count: int) -> list[int]:
    return [value >> i & 1 for i in reversed(range(count))]


def optional(value: int | None, count: int) -> list[int]:
    return [0] if value is None else [1, *number(abs(value), count), int(value < 0)]


def header(index: int, segments: list[int | None] | None, absolute: bool, loop_filter_deltas: bool) -> Iterator[int]:
    """Sections 9.2 to 9.6, with something in each field."""
    yield from (0, 0)
    if segments is None:
        yield 0
    else:
        yield from (1, 1, 1, int(absolute))
        for value in segments:
            yield from optional(value, 7)
        for value in (3, None, -9, 63):
            yield from optional(value, 6)
        yield from (1, *number(200, 8), 0, 1, *number(3, 8))
    yield from (0, *number(40, 6), *number(5, 3))
    yield from (1, 1) if loop_filter_deltas else (0,)
    if loop_filter_deltas:
        for value in (2, None, -2, -2, 4, -12, 2, None):
            yield from optional(value, 6)
    yield from (0, 1)
    yield from number(index, 7)


@pytest.mark.parametrize('loop_filter_deltas', [False, True])
@pytest.mark.parametrize(
    ('segments', 'absolute', 'mean'),
    [
        (None, False, 26),
        ([10, 20, 30, 40], True, 25),
        ([10, None, None, 30], True, 10),
        ([-6, None, 6, 4], False, 27),
        ([-100, None, 6, 120], False, (0 + 26 + 32 + 127) / 4),
    ],
)
def test_other_encoders_headers(
    segments: list[int | None] | None, absolute: bool, mean: float, loop_filter_deltas: bool
) -> None:
    """libwebp states the quantisers of segments as they are. Others may state their differences."""
    frame = bytes(10) + encoded(list(header(26, segments, absolute, loop_filter_deltas)))
    linear = (1 - mean / 127) ** 3
    expected = 1.5 * linear if linear < 0.5 else (1 + linear) / 2
    assert webp_quality(webp(frame)) == round(100 * expected)

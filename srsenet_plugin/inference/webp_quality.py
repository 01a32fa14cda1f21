"""The quality of lossy WebP files, from their quantisers.

They hold an image of VP8, whose header RFC 6386 describes: https://www.rfc-editor.org/rfc/rfc6386.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

LARGEST_INDEX = 127
NUM_SEGMENTS = 4


def webp_quality(data: bytes) -> int | None:
    """The quality, 0 to 100 as libwebp counts it, that a WebP file was saved with.

    libwebp gives finer quantisers to parts of the image that need them, and their mean is taken. Where they differ, the
    result is up to a tenth of the scale away from the quality.

    Args:
        data: A WebP file, whole or its beginning.

    Returns:
        None if its image is lossless, or damaged.
    """
    start = 12  # behind the names of RIFF and WebP
    while start + 8 <= len(data):
        name, size = struct.unpack_from('<4sI', data, start)
        if name == b'VP8L':
            return None
        if name == b'VP8 ':
            return _quality(_quantiser_index(data[start + 8 : start + 8 + size]))
        start += 8 + size + size % 2
    return None


def _quality(index: float) -> int:
    """The inverse of libwebp's way from a quality to an index."""
    linear = (1 - index / LARGEST_INDEX) ** 3
    return round(100 * (1.5 * linear if linear < 0.5 else (1 + linear) / 2))


def _quantiser_index(frame: bytes) -> float:
    """Of luma's AC coefficients, 0 for the finest: sections 9.1 to 9.6."""
    header = _Bits(frame[10:])  # behind the frame's tag, start code and sizes
    header.read(2)  # colour space and clamping
    segments = _segments(header) if header.read(1) else None
    header.read(1 + 6 + 3)  # loop filter
    if header.read(1) and header.read(1):
        for _ in range(8):
            header.optional(6)
    header.read(2)  # partitions
    index = header.read(7)
    if segments is None:
        return index
    indices = segments.values if segments.absolute else [index + value for value in segments.values]
    return sum(min(max(value, 0), LARGEST_INDEX) for value in indices) / NUM_SEGMENTS


class _Segments(NamedTuple):
    absolute: bool
    values: list[int]


def _segments(header: _Bits) -> _Segments | None:
    """The quantisers of the segments: section 9.3."""
    has_map, has_values = header.read(1), header.read(1)
    segments = None
    if has_values:
        absolute = bool(header.read(1))
        segments = _Segments(absolute, [header.optional(7) for _ in range(NUM_SEGMENTS)])
        for _ in range(NUM_SEGMENTS):
            header.optional(6)  # loop filter
    if has_map:
        for _ in range(NUM_SEGMENTS - 1):
            if header.read(1):
                header.read(8)
    return segments


class _Bits:
    """Reads bits that are as probable as not by the arithmetic decoder of section 7. Zeros follow the data."""

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data)
        self._value = self._byte() << 8 | self._byte()
        self._range = 255
        self._shifts = 0

    def read(self, count: int) -> int:
        """An unsigned number of so many bits."""
        number = 0
        for _ in range(count):
            number = number << 1 | self._bit()
        return number

    def optional(self, count: int) -> int:
        """A number with its sign behind it, if it is there; or 0."""
        if not self.read(1):
            return 0
        magnitude = self.read(count)
        return -magnitude if self.read(1) else magnitude

    def _bit(self) -> int:
        split = 1 + ((self._range - 1) * 128 >> 8)
        bit = int(self._value >= split << 8)
        if bit:
            self._value -= split << 8
            self._range -= split
        else:
            self._range = split
        while self._range < 128:
            self._value <<= 1
            self._range <<= 1
            self._shifts += 1
            if self._shifts == 8:
                self._shifts = 0
                self._value |= self._byte()
        return bit

    def _byte(self) -> int:
        return next(self._bytes, 0)

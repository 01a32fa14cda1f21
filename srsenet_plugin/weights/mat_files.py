"""MATLAB's files (level 5), as far as published weights need them: numbers, texts, cells and structs.

The format is that of MATLAB's document "MAT-File Format". Files come from anybody. So nothing else is read, such as
objects and function handles, and a file cannot make the reader work or allocate much more than its size.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

# Bytes of a file, and of all that it expands to. Published networks of Table I have up to 3 MB.
LARGEST_CONTENT = 64 * 2**20
# Arrays in a file, cells and fields included. MS-LapSRN's file, with the log of its training, has 33 thousand.
MOST_ARRAYS = 10**5
# Cells and structs within each other. Published networks have 4.
DEEPEST = 16

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
# By MATLAB's numbers: types of stored values, and classes of arrays.
_STORED = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
_NUMBERS = {6: 'f8', 7: 'f4', 8: 'i1', 9: 'u1', 10: 'i2', 11: 'u2', 12: 'i4', 13: 'u4', 14: 'i8', 15: 'u8'}
_TEXTS = {1: 'latin-1', 2: 'latin-1', 4: 'utf-16', 16: 'utf-8', 17: 'utf-16'}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_REFUSED = {3: 'an object', 5: 'a sparse array', 16: 'a function handle', 17: 'an object', 18: 'an object'}
_COMPLEX = 0x800


def is_mat_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as MATLAB's files do, level 5 and newer."""
    with open(path, 'rb') as file:
        return file.read(7) == b'MATLAB '


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Loads the variables of a file, by name.

    Numbers are arrays with their dimensions in MATLAB's order, texts are str, cells are lists, and structs are lists of
    a dict for each element.

    Raises:
        ValueError: The file is damaged or truncated, too large, of another version, or holds other things.
        OSError: The file cannot be read.
    """
    with open(path, 'rb') as file:
        content = file.read(LARGEST_CONTENT + 1)
    try:
        if len(content) > LARGEST_CONTENT:
            raise ValueError(f'it is larger than {LARGEST_CONTENT} bytes')
        return _Reader(content).variables()
    except ValueError as error:  # numpy's and those of texts included
        raise ValueError(f'{path} is damaged, or no MATLAB file of weights ({error}).') from error


class _Reader:
    """Reads one file."""

    def __init__(self, content: bytes) -> None:
        order = {b'IM': '<', b'MI': '>'}.get(content[126:128])
        if content.startswith(b'MATLAB 7.3'):
            raise ValueError('it is of version 7.3: save it with -v7')
        if order is None:
            raise ValueError('it has no header of MATLAB 5')
        self.content = content
        self.order = order
        self.byte_order = 'little' if order == '<' else 'big'
        self.arrays = 0

    def variables(self) -> dict[str, Any]:
        found = {}
        expanded = 0
        for kind, data in self._elements(self.content[_HEADER:], padded=False):
            if kind == _COMPRESSED:
                stream = zlib.decompressobj()
                try:
                    data = stream.decompress(data, LARGEST_CONTENT - expanded + 1)
                except zlib.error as error:
                    raise ValueError(str(error)) from None
                expanded += len(data)
                if expanded > LARGEST_CONTENT:
                    raise ValueError(f'it expands to more than {LARGEST_CONTENT} bytes')
                if not stream.eof:
                    raise ValueError('it is truncated')
                ((kind, data),) = list(self._elements(data))[:1] or [(0, b'')]
            if kind != _MATRIX:
                raise ValueError(f'it holds an element of type {kind} among its variables')
            name, value = self._array(data, 1)
            found[name] = value
        return found

    def _elements(self, data: bytes, padded: bool = True) -> Iterator[tuple[int, bytes]]:
        """Splits data into elements: their type and their bytes."""
        view = memoryview(data)
        while view:
            first = self._integer(view[:4])
            if first >> 16:  # up to four bytes stand in the tag itself
                kind, size, start, end = first & 0xFFFF, first >> 16, 4, 8
            else:
                kind, size, start = first, self._integer(view[4:8]), 8
                end = 8 + size + (-size % 8 if padded else 0)
            if size > len(view) - start or (start == 4 and size > 4):
                raise ValueError('it is truncated')
            yield kind, bytes(view[start : start + size])
            view = view[end:]

    def _integer(self, data: Sequence[int]) -> int:
        if len(data) != 4:
            raise ValueError('it is truncated')
        return int.from_bytes(bytes(data), self.byte_order)  # type: ignore[arg-type]

    def _array(self, data: bytes, depth: int) -> tuple[str, Any]:
        """The name of an array, empty inside of others, and its value."""
        self.arrays += 1
        if self.arrays > MOST_ARRAYS:
            raise ValueError(f'it holds more than {MOST_ARRAYS} arrays')
        if depth > DEEPEST:
            raise ValueError(f'it is nested more than {DEEPEST} levels deep')
        if not data:
            return '', np.zeros((0, 0))
        elements = self._elements(data)
        flags = self._integer(self._next(elements)[1][:4])
        shape = [int(side) for side in self._values(*self._next(elements))]
        name = self._next(elements)[1].decode('latin-1')
        if min(shape, default=-1) < 0:
            raise ValueError('it holds an array without dimensions')
        kind = flags & 0xFF
        if kind in _NUMBERS:
            if flags & _COMPLEX:
                raise ValueError('it holds complex numbers')
            values = self._values(*self._next(elements)).astype(_NUMBERS[kind], copy=False)
            if values.size != math.prod(shape):
                raise ValueError('it holds an array that is not as long as its dimensions say')
            return name, values.reshape(shape, order='F')
        if kind == _CHAR:
            return name, self._text(*self._next(elements)) if math.prod(shape) else ''
        if kind == _CELL:
            return name, [self._inner(elements, depth) for _ in range(math.prod(shape))]
        if kind == _STRUCT:
            length = int(self._values(*self._next(elements)).sum())
            names = self._next(elements)[1]
            if length < 1 or len(names) % length:
                raise ValueError('it holds a struct without names')
            fields = [
                names[start : start + length].partition(b'\0')[0].decode('latin-1')
                for start in range(0, len(names), length)
            ]
            if not fields:
                return name, []
            return name, [{field: self._inner(elements, depth) for field in fields} for _ in range(math.prod(shape))]
        raise ValueError(f'it holds {_REFUSED.get(kind, f"an array of class {kind}")}')

    def _inner(self, elements: Iterator[tuple[int, bytes]], depth: int) -> Any:
        kind, data = self._next(elements)
        if kind != _MATRIX:
            raise ValueError(f'it holds an element of type {kind} for an array')
        return self._array(data, depth + 1)[1]

    def _next(self, elements: Iterator[tuple[int, bytes]]) -> tuple[int, bytes]:
        try:
            return next(elements)
        except StopIteration:
            raise ValueError('it is truncated') from None

    def _values(self, kind: int, data: bytes) -> np.ndarray:
        if kind not in _STORED:
            raise ValueError(f'it holds numbers of type {kind}')
        stored = np.dtype(f'{self.order}{_STORED[kind]}')
        return np.frombuffer(data, stored).astype(stored.newbyteorder('='))

    def _text(self, kind: int, data: bytes) -> str:
        if kind not in _TEXTS:
            raise ValueError(f'it holds letters of type {kind}')
        coding = _TEXTS[kind]
        return data.decode(f'{coding}-{self.byte_order[0]}e' if coding == 'utf-16' else coding)

"""Reads the B-tree of an LMDB's ``data.mdb`` without LMDB, which trusts the file and reads beyond it if it is damaged.

The layout is that of ``MDB_meta``, ``MDB_page`` and ``MDB_node`` in the ``mdb.c`` of LMDB 0.9, data version 1, as
64-bit little-endian machines write it. All that leads from page to page is checked, so that damage is an error, and
never a bus error, an endless loop or memory without bounds.
"""

from __future__ import annotations

import itertools
import os
import struct
from pathlib import Path
from typing import IO, NamedTuple

MAGIC, DATA_VERSION = 0xBEEFC0DE, 1
HEADER = struct.Struct('<QHHHH')  # number, padding, flags, end of the pointers to nodes, start of the nodes
OVERFLOW_HEADER = struct.Struct('<QHHI')  # number, padding, flags, number of pages
NODE = struct.Struct('<HHHH')  # size or page, low and high; flags, of branches the page's highest bits; size of the key
META = struct.Struct('<IIQQ')  # magic, data version, address, size of the map
TREE = struct.Struct('<IHHQQQQQ')  # padding, flags, depth; branch, leaf and overflow pages, entries, root
META_END = struct.Struct('<QQ')  # last page, transaction
BRANCH, LEAF, OVERFLOW, META_PAGE = 0x01, 0x02, 0x04, 0x08
IN_OVERFLOW = 0x01  # flag of a node whose value is on pages of its own
NO_PAGE = 2**64 - 1
PAGE_SIZES = [2**i for i in range(9, 17)]
LONGEST_KEY = 511
# The most that a process can map.
LARGEST_MAP = 2**47
DEEPEST_TREE = 32


class DamagedError(ValueError):
    """The file is no LMDB, or damaged; the message says why, without its name."""


class _Tree(NamedTuple):
    padding: int
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int


def find_values(path: Path) -> dict[bytes, tuple[int, int]]:
    """Where the values of an LMDB are in its file: offset and size in bytes, by key, in the order of the keys.

    Raises:
        DamagedError: It is no LMDB of plain values, is cut off, or damaged.
        OSError: It cannot be read.
    """
    with path.open('rb') as file:
        return _Reader(file).values()


class _Reader:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        first = self._meta(0)
        self._page_size = first[0]
        metas = [first, self._meta(self._page_size)]
        if metas[1][0] != self._page_size:
            raise DamagedError('has two first pages that differ in the size of pages')
        # LMDB writes the two in turn.
        _, self._tree, last_page, _ = max(metas, key=lambda meta: meta[3])
        self._num_pages = last_page + 1
        if self._num_pages * self._page_size > self._size:
            raise DamagedError(f'is cut off: it has {self._size} bytes of {self._num_pages * self._page_size}')
        self._seen = bytearray(self._num_pages)
        self._seen[:2] = b'\1\1'
        self._found: dict[bytes, tuple[int, int]] = {}

    def _meta(self, offset: int) -> tuple[int, _Tree, int, int]:
        """Size of a page, main tree, last page and transaction of one of the two first pages."""
        size = HEADER.size + META.size + 2 * TREE.size + META_END.size
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) < size:
            raise DamagedError('is cut off')
        _, _, flags, _, _ = HEADER.unpack_from(data)
        magic, version, _, map_size = META.unpack_from(data, HEADER.size)
        if not flags & META_PAGE or magic != MAGIC:
            raise DamagedError('does not begin as an LMDB does')
        if version != DATA_VERSION:
            raise DamagedError(f"has the version {version} of LMDB's layout, not {DATA_VERSION}")
        start = HEADER.size + META.size
        free = _Tree(*TREE.unpack_from(data, start))
        main = _Tree(*TREE.unpack_from(data, start + TREE.size))
        last_page, transaction = META_END.unpack_from(data, start + 2 * TREE.size)
        if free.padding not in PAGE_SIZES or main.padding or main.flags or map_size > LARGEST_MAP or last_page < 1:
            raise DamagedError('has a header that makes no sense')
        return free.padding, main, last_page, transaction

    def values(self) -> dict[bytes, tuple[int, int]]:
        if self._tree.root != NO_PAGE:
            self._read_page(self._tree.root, 1)
        if len(self._found) != self._tree.entries:
            raise DamagedError(f'holds {len(self._found)} values; its header counts {self._tree.entries}')
        return self._found

    def _take(self, first: int, count: int = 1) -> int:
        """The offset of pages that nothing else has led to."""
        if first + count > self._num_pages or self._seen.find(1, first, first + count) >= 0:
            raise DamagedError(f'leads to page {first} twice, or where there is none')
        self._seen[first : first + count] = b'\1' * count
        return first * self._page_size

    def _read_page(self, number: int, depth: int) -> None:
        if depth > min(self._tree.depth, DEEPEST_TREE):
            raise DamagedError('has a tree that is deeper than its header says')
        self._file.seek(self._take(number))
        page = self._file.read(self._page_size)
        found, _, flags, lower, upper = HEADER.unpack_from(page)
        if found != number or not HEADER.size <= lower <= upper <= self._page_size or lower % 2:
            raise DamagedError(f'has a damaged page {number}')
        if flags != (LEAF if depth == self._tree.depth else BRANCH):
            raise DamagedError(f'has a page {number} of another kind than is expected')
        offsets = [offset for (offset,) in struct.iter_unpack('<H', page[HEADER.size : lower])]
        if any(not upper <= offset <= self._page_size - NODE.size for offset in offsets):
            raise DamagedError(f'has a damaged page {number}')
        if flags == BRANCH:
            for i, offset in enumerate(offsets):
                self._read_branch(page, number, offset, depth, is_first=i == 0)
        else:
            for offset in offsets:
                self._read_leaf(page, number, offset)

    def _read_branch(self, page: bytes, number: int, offset: int, depth: int, is_first: bool) -> None:
        low, high, highest, key_size = NODE.unpack_from(page, offset)
        start = offset + NODE.size
        if start + key_size > len(page):
            raise DamagedError(f'has a damaged entry on page {number}')
        # The keys of a branch divide the values to the left and right of them; the first says nothing.
        key = b'' if is_first else page[start : start + key_size]
        last = self._last_key()
        num_before = len(self._found)
        self._read_page(low | high << 16 | highest << 32, depth + 1)
        following = next(itertools.islice(self._found, num_before, None), b'')
        if not is_first and not last < key <= following:
            raise DamagedError(f'has keys on page {number} that are out of order')

    def _last_key(self) -> bytes:
        return next(reversed(self._found), b'')

    def _read_leaf(self, page: bytes, number: int, offset: int) -> None:
        low, high, flags, key_size = NODE.unpack_from(page, offset)
        size = low | high << 16
        start = offset + NODE.size + key_size
        stored = struct.calcsize('<Q') if flags == IN_OVERFLOW else size
        if flags not in (0, IN_OVERFLOW) or not 0 < key_size <= LONGEST_KEY or start + stored > len(page):
            raise DamagedError(f'has a damaged entry on page {number}')
        key = page[start - key_size : start]
        if key <= self._last_key():
            raise DamagedError(f'has keys on page {number} that are out of order')
        if flags == IN_OVERFLOW:
            (first,) = struct.unpack_from('<Q', page, start)
            self._found[key] = self._overflow(first, size), size
        else:
            self._found[key] = number * self._page_size + start, size

    def _overflow(self, first: int, size: int) -> int:
        needed = -(-(OVERFLOW_HEADER.size + size) // self._page_size)
        offset = self._take(first)
        self._file.seek(offset)
        number, _, flags, count = OVERFLOW_HEADER.unpack(self._file.read(OVERFLOW_HEADER.size))
        # A value may have replaced a larger one, whose pages it keeps.
        if number != first or flags != OVERFLOW or count < needed:
            raise DamagedError(f'has a damaged page {first}')
        if count > 1:
            self._take(first + 1, count - 1)
        return offset + OVERFLOW_HEADER.size

"""Reads the values of an LMDB through a memory map of its file.

An LMDB environment must not cross a fork and must not be opened twice in a process. A map of the file has no such
rules: it goes along into loader workers however they are started, and two datasets may read one LMDB.
"""

from __future__ import annotations

import ctypes
import functools
import os

import lmdb
import numpy as np
from numpy.typing import NDArray

# Bytes of values in memory while they are located.
TOUCHED_AT_ONCE = 1 << 25


class MappedLmdb:
    """The values of an LMDB, as views into its file.

    Args:
        folder (str | PathLike): The LMDB's folder.

    Raises:
        ValueError: It is no LMDB, is cut off, or its file is not laid out as this expects.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._path = os.path.join(folder, 'data.mdb')
        self._version = _version(self._path)
        self._places = locate_values(folder)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> NDArray[np.uint8]:
        """The value of a key, shape (bytes,), uint8; read-only, and memory of the file."""
        start, size = self._places[key]
        return _map(self._path, self._version)[start : start + size]


def locate_values(folder: str | os.PathLike[str]) -> dict[str, tuple[int, int]]:
    """Where the values of an LMDB are in its ``data.mdb``: offset and size in bytes, by key.

    Raises:
        ValueError: It is no LMDB, is cut off, or its file is not laid out as this expects.
    """
    path = os.path.join(folder, 'data.mdb')
    if not os.path.isfile(path):  # LMDB would make it
        raise ValueError(f'{path} does not exist.')
    places: dict[str, tuple[int, int]] = {}
    key: bytes | None = b''
    try:
        while key is not None:
            # py-lmdb touches all of a value that it returns. Closing its map now and then gives that memory back.
            with lmdb.open(os.fspath(folder), readonly=True, lock=False, readahead=False) as environment:
                key = _locate_some(path, environment, key, places)
    except lmdb.Error as error:
        raise ValueError(f'{path} is no LMDB, or damaged ({error}).') from None
    return places


def _locate_some(
    path: str, environment: lmdb.Environment, key: bytes, places: dict[str, tuple[int, int]]
) -> bytes | None:
    """Locates the values of some keys from one on, and returns the next key, or None at the end."""
    page_size = environment.stat()['psize']
    # Pages beyond the end of the file would kill the process, not raise.
    if os.path.getsize(path) < (environment.info()['last_pgno'] + 1) * page_size:
        raise ValueError(f'{path} is cut off.')
    touched = 0
    with environment.begin(buffers=True) as transaction, open(path, 'rb') as file:
        cursor = transaction.cursor()
        found = cursor.set_range(key) if key else cursor.first()
        while found:
            key, value = bytes(cursor.key()), cursor.value()
            if touched > TOUCHED_AT_ONCE:
                return key
            touched += len(value)
            offset = _offset(value, page_size)
            file.seek(offset)
            if file.read(min(64, len(value))) != bytes(value[:64]):
                raise ValueError(f'{path} has pages of an unknown kind; PairedImageDataset may read it.')
            places[key.decode()] = offset, len(value)
            found = cursor.next()
    return None


def _version(path: str) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns


@functools.cache
def _map(path: str, version: tuple[int, ...]) -> NDArray[np.uint8]:
    if _version(path) != version:
        raise ValueError(f'{path} has been replaced since the dataset was built. Start again.')
    return np.asarray(np.memmap(path, np.uint8, 'r'))  # slices of a plain array are cheaper


def _offset(value: memoryview, page_size: int) -> int:
    """Where in the file a value is that LMDB shows in its own map, which starts at a page.

    A value begins on the page that holds it or, if it is large, on the first of its pages; and a page begins with its
    number (mp_pgno of MDB_page in LMDB's mdb.c).
    """
    address = np.frombuffer(value, np.uint8).ctypes.data
    in_page = address % page_size
    return ctypes.c_size_t.from_address(address - in_page).value * page_size + in_page

"""Reads the values of an LMDB through a memory map of its file.

An LMDB environment must not cross a fork and must not be opened twice in a process. A map of the file has no such
rules: it goes along into loader workers however they are started, and two datasets may read one LMDB.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Iterable

import lmdb
import numpy as np
from numpy.typing import NDArray


class MappedLmdb:
    """The values of some keys of an LMDB, as views into its file.

    Args:
        folder (str): The LMDB's folder.
        keys (Iterable[str]): Keys to read.

    Raises:
        ValueError: A key has no value, or the file is no LMDB that this can read.
    """

    def __init__(self, folder: str, keys: Iterable[str]) -> None:
        self._path = os.path.join(folder, 'data.mdb')
        self._version = _version(self._path)
        self._places: dict[str, tuple[int, int]] = {}
        with (
            lmdb.open(folder, readonly=True, lock=False, readahead=False) as environment,
            environment.begin(buffers=True) as transaction,
        ):
            page_size = environment.stat()['psize']
            for key in keys:
                value = transaction.get(key.encode())
                if value is None:
                    raise ValueError(f'{folder} has no value for {key!r}, which its meta_info.txt lists.')
                self._places[key] = _offset(value, page_size), len(value)
                if self[key][:64].tobytes() != bytes(value[:64]):
                    raise ValueError(f'{self._path} has pages of an unknown kind; PairedImageDataset may read it.')

    def __getitem__(self, key: str) -> NDArray[np.uint8]:
        """The value of a key, shape (bytes,), uint8; read-only, and memory of the file."""
        start, size = self._places[key]
        return _map(self._path, self._version)[start : start + size]


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

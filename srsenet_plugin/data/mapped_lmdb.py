"""Reads the values of an LMDB through a memory map of its file.

An LMDB environment must not cross a fork and must not be opened twice in a process, and LMDB crashes on damaged files.
A map of the file has no such rules: it goes along into loader workers however they are started, and two datasets may
read one LMDB.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srsenet_plugin.data.lmdb_pages import DamagedError, find_values


class MappedLmdb:
    """The values of an LMDB, as views into its file.

    Args:
        folder: The LMDB's folder.

    Raises:
        ValueError: It is no LMDB, is cut off or damaged.
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
        ValueError: It is no LMDB, is cut off or damaged.
    """
    path = Path(folder, 'data.mdb')
    try:
        return {key.decode(): place for key, place in find_values(path).items()}
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f'{path} does not exist.') from None
    except UnicodeDecodeError:
        raise ValueError(f'{path} is damaged: it has a key that is not UTF-8.') from None
    except DamagedError as error:
        raise ValueError(f'{path} is no LMDB, or damaged: it {error}.') from None


def _version(path: str) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns


@functools.cache
def _map(path: str, version: tuple[int, ...]) -> NDArray[np.uint8]:
    if _version(path) != version:
        raise ValueError(f'{path} has been replaced since the dataset was built. Start again.')
    return np.asarray(np.memmap(path, np.uint8, 'r'))  # slices of a plain array are cheaper

"""Writes images into an LMDB of BasicSR's layout."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType

import cv2
import lmdb
from numpy.typing import NDArray


class LmdbWriter:
    """Context manager that makes ``NAME.lmdb`` with ``data.mdb`` and ``meta_info.txt``.

    Values are uncompressed PPM (colour) or PGM (grey) files, which ``cv2.imdecode`` reads many times faster than PNG.
    The folder has ``.tmp`` behind its name until the block ends without an exception.

    Args:
        path (Path): The folder to make, ``*.lmdb``. It must not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + '.tmp')

    def __enter__(self) -> LmdbWriter:
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir(parents=True)
        # The map grows in put(): a map of "surely enough" fails on small disks and on Windows, which allocates it.
        self._env = lmdb.open(str(self._part), map_size=1 << 26, sync=False)
        self._meta_info = (self._part / 'meta_info.txt').open('w', encoding='utf-8')
        return self

    def put(self, key: str, img: NDArray) -> None:
        """Stores an image.

        Args:
            key (str): The image's name up to its first dot.
            img (ndarray): Shape (H, W) or (H, W, 3), BGR, uint8.
        """
        value = cv2.imencode('.pgm' if img.ndim == 2 else '.ppm', img)[1].tobytes()
        while True:
            try:
                with self._env.begin(write=True) as transaction:
                    transaction.put(key.encode(), value)
                break
            except lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()['map_size'])
        height, width = img.shape[:2]
        # BasicSR's format: name (h,w,c) compression level.
        self._meta_info.write(f'{key}.png ({height},{width},{1 if img.ndim == 2 else 3}) 0\n')

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._meta_info.close()
        if exc_type is None:
            self._env.sync(True)
        self._env.close()
        if exc_type is None:
            (self._part / 'lock.mdb').unlink(missing_ok=True)
            self._part.rename(self._path)
        else:
            shutil.rmtree(self._part, ignore_errors=True)

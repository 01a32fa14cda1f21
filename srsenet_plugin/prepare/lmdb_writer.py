"""Writes images into an LMDB of BasicSR's layout, with a manifest of its content."""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srsenet_plugin.data.manifest import write_manifest

# What a value may need beside its own pages: pages of the B-tree, which LMDB copies before it changes them.
SPARE_PAGES = 16


@dataclass(frozen=True)
class EncodedImage:
    """An image as it is stored: the file that is the value, its checksum, and (height, width, channels)."""

    value: bytes
    sha256: str
    shape: tuple[int, int, int]


def encode(img: NDArray[np.uint8], encoding: str) -> EncodedImage:
    """Encodes an image of shape (H, W) or (H, W, 3), RGB, as ``png`` or, uncompressed, as ``ppm``.

    ``cv2.imdecode`` reads uncompressed PPM (colour) and PGM (grey) many times faster than PNG.
    """
    height, width, channels = (*img.shape, 1)[:3]
    if encoding == 'ppm':
        header = f'P{5 if channels == 1 else 6}\n{width} {height}\n255\n'
        value = b''.join((header.encode(), np.ascontiguousarray(img).data))
    else:
        file = io.BytesIO()
        Image.fromarray(img).save(file, 'PNG')
        value = file.getvalue()
    return EncodedImage(value, hashlib.sha256(value).hexdigest(), (height, width, channels))


class LmdbWriter:
    """Context manager that fills a new folder with ``data.mdb``, ``meta_info.txt`` and ``manifest.json``.

    Args:
        folder: The folder to make, ``*.lmdb``. It must not exist.
        recipe: How the images were made, for the manifest.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        self._folder = folder
        self._recipe = recipe
        self._images: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> LmdbWriter:
        self._folder.mkdir(parents=True)
        # The map grows in put(): one of "surely enough" fails on small disks and on Windows, which allocates it.
        self._env = lmdb.open(str(self._folder), map_size=1 << 16, sync=False)
        self._page_size = self._env.stat()['psize']
        return self

    def put(self, key: str, image: EncodedImage) -> None:
        """Stores an image under the name that it had up to its first dot.

        Raises:
            OSError: LMDB could not write, because the disk is full for instance.
        """
        try:
            while not self._fits(key, image.value):
                pages = -(-len(image.value) // self._page_size) + SPARE_PAGES
                self._env.set_mapsize(self._env.info()['map_size'] + pages * self._page_size)
        except lmdb.Error as error:
            # LMDB calls a write that the disk took only a part of an input/output error.
            full = shutil.disk_usage(self._folder).free < len(image.value)
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(self._folder)) from error
        self._images[key] = {'shape': image.shape, 'sha256': image.sha256}

    def _fits(self, key: str, value: bytes) -> bool:
        try:
            with self._env.begin(write=True) as transaction:
                return transaction.put(key.encode(), value)
        except lmdb.MapFullError:
            return False

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is None:
            self._env.sync(True)
        self._env.close()
        if exc_type is None:
            (self._folder / 'lock.mdb').unlink(missing_ok=True)
            self._write_texts()

    def _write_texts(self) -> None:
        # BasicSR's format: name (h,w,c) compression level.
        lines = [f'{key}.png ({",".join(map(str, image["shape"]))}) 0\n' for key, image in self._images.items()]
        (self._folder / 'meta_info.txt').write_text(''.join(lines), encoding='utf-8')
        write_manifest(self._folder, self._recipe, self._images)

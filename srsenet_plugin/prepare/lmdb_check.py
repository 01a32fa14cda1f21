"""Checks that an LMDB of images agrees with its ``meta_info.txt`` and its manifest."""

from __future__ import annotations

import hashlib
import io
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from srsenet_plugin.data.manifest import MANIFEST, read_manifest
from srsenet_plugin.data.mapped_lmdb import locate_values
from srsenet_plugin.prepare.image_run import shorten
from srsenet_plugin.prepare.source_images import PILLOW_FORMATS

META_INFO_LINE = re.compile(r'(?P<key>[^.]*)\..* \((\d+),(\d+),(\d+)\) \d+')


def check_lmdb(folder: Path, workers: int | None = None) -> int:
    """Reads all of an LMDB: keys, checksums and shapes, as far as there is a manifest; otherwise it decodes the images.

    Args:
        folder: The LMDB, ours or one of BasicSR's.
        workers: Threads. Default: one for each processor.

    Returns:
        The number of its images.

    Raises:
        ValueError: It is no LMDB of images, or damaged; the message lists the defects.
    """
    shapes = _read_meta_info(folder)
    manifest = read_manifest(folder)['images']
    places = locate_values(folder)
    problems = []
    for name, keys in (('data.mdb', places.keys()), (MANIFEST, manifest.keys() or shapes.keys())):
        problems += [f'{key} is in meta_info.txt and not in {name}' for key in sorted(shapes.keys() - keys)]
        problems += [f'{key} is in {name} and not in meta_info.txt' for key in sorted(keys - shapes.keys())]

    def check_image(key: str) -> str | None:
        offset, size = places[key]
        with (folder / 'data.mdb').open('rb') as file:  # not the memory map: its pages count as our memory
            file.seek(offset)
            value = file.read(size)
        expected = manifest.get(key)
        if expected and hashlib.sha256(value).hexdigest() != expected['sha256']:
            return f'{key} is damaged: its checksum is another one'
        try:
            with Image.open(io.BytesIO(value), formats=PILLOW_FORMATS) as img:
                shape = (img.height, img.width, len(img.getbands()))
                if not expected:
                    img.load()
        except Exception as error:  # decoders raise nearly anything
            return f'{key} is no image, or damaged ({error})'
        if shape != shapes[key] or (expected and shape != tuple(expected['shape'])):
            return f'{key} has shape {shape}, not that of meta_info.txt or the manifest'
        return None

    keys = sorted(shapes.keys() & places.keys())
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        checked = tqdm(pool.map(check_image, keys), f'Verify {folder.name}', len(keys), unit='image')
        problems += [problem for problem in checked if problem]
    if problems:
        raise ValueError(f'{folder} is damaged. Delete it and make it again.\n{shorten(problems)}')
    return len(keys)


def _read_meta_info(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes (height, width, channels) by key."""
    path = folder / 'meta_info.txt'
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f'{folder} is no LMDB of BasicSR: {path} does not exist.') from None
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is damaged ({error}).') from None
    shapes = {}
    for i, line in enumerate(lines, 1):
        match = META_INFO_LINE.fullmatch(line)
        if not match:
            raise ValueError(f'{path}, line {i}: expected "name.png (height,width,channels) level"; got {line!r}.')
        shapes[match['key']] = tuple(map(int, match.groups()[1:]))
    return shapes

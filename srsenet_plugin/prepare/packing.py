"""Packs HR images and their LR images into LMDBs, the training data that the option files name."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from srsenet_plugin.data.colour import rgb_to_rounded_y
from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.data.manifest import read_manifest
from srsenet_plugin.prepare.image_run import ImageRun
from srsenet_plugin.prepare.lmdb_check import check_lmdb
from srsenet_plugin.prepare.lmdb_writer import EncodedImage, LmdbWriter, encode
from srsenet_plugin.prepare.source_images import (
    BadImageError,
    Opener,
    crop_to_multiple,
    key_of,
    open_source,
    read_image,
    read_size,
)
from srsenet_plugin.prepare.staging import place_beside, staging_folder
from srsenet_plugin.prepare.targets import Prepared, Source, all_exist, check_place

LONGEST_NAME = 255
"""Bytes in the name of a file or folder, on nearly all file systems."""


@dataclass(frozen=True)
class Packing:
    """The images to store for each HR image.

    Attributes:
        scales: Scales of the LR images, each 2 or more.
        downsizes: Sizes at which each HR image is taken, as the paper's authors augment their data:
            1 as it is, 0.5 shrunk to half. Sizes with less than a patch are left out.
        colour: ``rgb``; or ``y`` for the Y channel alone, as MATLAB's rgb2ycbcr makes it of uint8 images.
        encoding: ``ppm``, uncompressed, of which the dataset reads crops; or ``png``, smaller and slower.
        gt_size: Size of the patches to train with. Images that are smaller at all sizes are refused.
    """

    scales: Sequence[int] = (2, 4, 8)
    downsizes: Sequence[float] = (1,)
    colour: str = 'rgb'
    encoding: str = 'ppm'
    gt_size: int = 96

    def __post_init__(self) -> None:
        object.__setattr__(self, 'scales', sorted(set(self.scales)))
        object.__setattr__(self, 'downsizes', sorted(set(self.downsizes), reverse=True))

    @property
    def multiple(self) -> int:
        """HR images are cropped to a multiple of all scales, so that one HR LMDB serves each of them."""
        return math.lcm(*self.scales)

    def recipe(self, scale: int) -> dict[str, Any]:
        """How the images of one LMDB are made; scale 1 is HR."""
        recipe = asdict(self) | {'scale': scale, 'crop_multiple': self.multiple}
        # It decides on what is stored only if there are several sizes.
        without = {'scales'} if len(self.downsizes) > 1 else {'scales', 'gt_size'}
        return {name: value for name, value in recipe.items() if name not in without}

    def sizes(self, height: int, width: int) -> dict[float, tuple[int, int]]:
        """By downsize, height and width of the HR images that are made of one; those with less than a patch are not."""
        sizes = {}
        for downsize in self.downsizes:
            rows, columns = (math.ceil(side * downsize) // self.multiple * self.multiple for side in (height, width))
            if min(rows, columns) >= self.gt_size:
                sizes[downsize] = (rows, columns)
        return sizes

    def apply(self, img: NDArray[np.uint8]) -> Iterator[tuple[str, list[EncodedImage]]]:
        """For each downsize the end of the key, the HR image and its LR images.

        Keys are ``0001``, ``0001/0p7`` and ``0001/0p5``. BasicSR's end at the first dot of a file's name; the slash
        keeps them apart from those of any file.
        """
        if self.colour == 'y':
            img = rgb_to_rounded_y(img)
        for downsize in self.sizes(*img.shape[:2]):
            hr = crop_to_multiple(img if downsize == 1 else imresize(img, downsize), self.multiple)
            imgs = [hr, *(imresize(hr, 1 / scale) for scale in self.scales)]
            key_end = '' if downsize == 1 else f'/{downsize!r}'.replace('.', 'p')
            yield key_end, [encode(img, self.encoding) for img in imgs]


def lmdb_folders(out: Path, name: str, scales: Sequence[int]) -> list[Path]:
    """The LMDBs of HR and of LR images that :func:`pack_images` makes."""
    return [out / f'{name}_HR.lmdb', *(out / f'{name}_LR_bicubic_X{scale}.lmdb' for scale in sorted(set(scales)))]


def pack_images(
    source: Source | None,
    out: Path,
    name: str,
    packing: Packing,
    workers: int | None = None,
    skip_bad: bool = False,
) -> Prepared:
    """Packs HR images into ``{name}_HR.lmdb`` and, for each scale, LR ones into ``{name}_LR_bicubic_X{scale}.lmdb``.

    They appear in ``out`` together, when all are complete and have been read back. If they are there already, they are
    left as they are, and compared with the source and with ``packing``.

    Args:
        source: Where the HR images are, see :func:`~srsenet_plugin.prepare.source_images.open_source`. None if they are
            gone, and the LMDBs are there.
        out: Folder that the LMDBs are made in.
        name: Start of the LMDBs' names, such as ``DIV2K_train``.
        packing: What to store.
        workers: Threads. Default: one for each processor.
        skip_bad: Leave out images that cannot be used.

    Raises:
        ValueError: The source has no images, or some cannot be used; or ``name`` is no name of a file.
        FileExistsError: LMDBs of these names exist, but not all, or they were made in another way or of other images.
        OSError: The disk is full, or does not let itself be written.
    """
    targets = lmdb_folders(out, name, packing.scales)
    staging = place_beside(out / name)
    _check_names(name, (staging, *targets))
    recipes = [packing.recipe(scale) for scale in (1, *packing.scales)]
    if source is None:
        for target, recipe in zip(targets, recipes):
            _check_recipe(target, recipe)
        return Prepared(left_alone=targets)
    check_place(source, staging, targets)
    with open_source(source) as images:
        record = _record(images)
        left_out = None
        if staging.exists() or not all(target.exists() for target in targets):
            with staging_folder(staging) as part:
                if not all_exist(targets):
                    folders = [part / target.name for target in targets]
                    run = ImageRun(images, workers, skip_bad)
                    _pack(run, folders, [recipe | {'source': record} for recipe in recipes], packing)
                    for folder in folders:
                        check_lmdb(folder, workers)
                    left_out = run.left_out
    if left_out is not None:
        return Prepared(targets, (), left_out)
    for target, recipe in zip(targets, recipes):
        _check_recipe(target, recipe)
        _check_record(target, read_manifest(target)['recipe'].get('source'), source, record)
    return Prepared(left_alone=targets)


def _pack(run: ImageRun, folders: Sequence[Path], recipes: Sequence[Mapping[str, Any]], packing: Packing) -> None:
    def count_pixels(opener: Opener) -> int:
        height, width = read_size(opener)
        sizes = packing.sizes(height, width).values()
        if not sizes:
            raise BadImageError(f'is {width}x{height}, less than a patch of {packing.gt_size} when cropped')
        return sum(rows * columns for rows, columns in sizes)

    pixels = sum(run.check(count_pixels, 'Check images'))
    if packing.encoding == 'ppm':
        values = pixels * (1 if packing.colour == 'y' else 3) * (1 + sum(1 / scale**2 for scale in packing.scales))
        free = shutil.disk_usage(folders[0].parent).free
        if values > free:
            raise OSError(f'{values / 1e9:.2f} GB are needed in {folders[0].parent}; {free / 1e9:.2f} GB are free.')
    with ExitStack() as stack:
        writers = [stack.enter_context(LmdbWriter(*target)) for target in zip(folders, recipes)]
        for name, rows in run.convert(lambda opener: list(packing.apply(read_image(opener))), 'Pack'):
            for key_end, row in rows:
                for writer, image in zip(writers, row):
                    writer.put(key_of(name) + key_end, image)


def _check_names(name: str, folders: Sequence[Path]) -> None:
    if not name.isprintable() or name in ('', '.', '..') or any(separator in name for separator in '/\\'):
        raise ValueError(f'{name!r} is no start of a file name: it may not be empty, and has no slashes or line ends.')
    longest = max(len(os.fsencode(folder.name)) for folder in folders)
    if longest > LONGEST_NAME:
        raise ValueError(
            f'The name {name[:20]}... is too long: names of {longest} bytes would be made of it, and file systems take '
            f'{LONGEST_NAME}.'
        )


def _record(images: Mapping[str, Opener]) -> dict[str, Any]:
    """Number of the images, and a digest of their names and contents."""
    digest = hashlib.sha256()
    for name, opener in tqdm(images.items(), 'Read the source', unit='image', leave=False):
        try:
            crc = f'{opener.crc():08x}'
        except OSError:  # the image will be found to be bad
            crc = 'unreadable'
        digest.update(f'{PurePosixPath(name).name}\n{crc}\n'.encode('utf-8', 'surrogateescape'))
    return {'images': len(images), 'sha256': digest.hexdigest()}


def _check_record(target: Path, found: Any, source: Source, record: Mapping[str, Any]) -> None:
    if found is not None and found != record:  # versions before did not record it
        number = found.get('images') if isinstance(found, dict) else None
        raise FileExistsError(
            f'{target} exists already and was made of other images than {source} holds: of {number}; now there are '
            f'{record["images"]}, or some have changed. Delete it, or make the data elsewhere.'
        )


def _check_recipe(target: Path, recipe: Mapping[str, Any]) -> None:
    found = read_manifest(target)['recipe']
    # An HR LMDB may have been made for more scales.
    found['crop_multiple'] = math.gcd(found.get('crop_multiple', 0), recipe['crop_multiple'])
    for name, value in recipe.items():
        if found.get(name) != value:
            raise FileExistsError(
                f'{target} exists already and was made in another way: {name} is {found.get(name)}, not {value}. '
                'Delete it, or make the data elsewhere.'
            )

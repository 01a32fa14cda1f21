"""Makes the training and benchmark data that the option files name, from HR images."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.data.manifest import read_manifest
from srsenet_plugin.prepare.image_run import ImageRun
from srsenet_plugin.prepare.lmdb_check import check_lmdb
from srsenet_plugin.prepare.lmdb_writer import EncodedImage, LmdbWriter, encode
from srsenet_plugin.prepare.source_images import BadImageError, Opener, key_of, open_source, read_image, read_size
from srsenet_plugin.prepare.staging import staging_folder

Source = str | os.PathLike[str]


@dataclass(frozen=True)
class Packing:
    """What is stored of each HR image.

    Attributes:
        scales (Sequence[int]): Scales of the LR images, each 2 or more.
        downsizes (Sequence[float]): Sizes at which each HR image is taken, as the paper's authors augment their data:
            1 as it is, 0.5 shrunk to half. Sizes with less than a patch are left out.
        colour (str): ``rgb``; or ``y`` for the Y channel alone, as MATLAB's rgb2ycbcr makes it of uint8 images.
        encoding (str): ``ppm``, uncompressed, of which the dataset reads crops; or ``png``, smaller and slower.
        gt_size (int): Size of the patches to train with. Images that are smaller at all sizes are refused.
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
            img = _rgb_to_y(img)
        for downsize in self.sizes(*img.shape[:2]):
            hr = _crop(img if downsize == 1 else imresize(img, downsize), self.multiple)
            imgs = [hr, *(imresize(hr, 1 / scale) for scale in self.scales)]
            key_end = '' if downsize == 1 else f'/{downsize!r}'.replace('.', 'p')
            yield key_end, [encode(img, self.encoding) for img in imgs]


def lmdb_folders(out: Path, name: str, scales: Sequence[int]) -> list[Path]:
    """The LMDBs of HR and of LR images that :func:`pack_images` makes."""
    return [out / f'{name}_HR.lmdb', *(out / f'{name}_LR_bicubic_X{scale}.lmdb' for scale in sorted(set(scales)))]


def pack_images(
    source: Source,
    out: Path,
    name: str,
    packing: Packing,
    workers: int | None = None,
    skip_bad: bool = False,
) -> dict[str, str]:
    """Packs HR images into ``{name}_HR.lmdb`` and, for each scale, LR ones into ``{name}_LR_bicubic_X{scale}.lmdb``.

    They appear in ``out`` together, when all are complete and have been read back. If they are there already, they are
    left as they are.

    Args:
        source (str | PathLike): Where the HR images are, see :func:`~srsenet_plugin.prepare.source_images.open_source`.
        out (Path): Folder that the LMDBs are made in.
        name (str): Start of the LMDBs' names, such as ``DIV2K_train``.
        packing (Packing): What to store.
        workers (int, optional): Threads. Default: one for each processor.
        skip_bad (bool): Leave out images that cannot be used. Default: False.

    Returns:
        dict[str, str]: The images that were left out, by name, and why.

    Raises:
        ValueError: The source has no images, or some cannot be used.
        FileExistsError: LMDBs of these names exist, but not all, or they were made in another way.
        OSError: The disk is full, or does not let itself be written.
    """
    targets = lmdb_folders(out, name, packing.scales)
    recipes = [packing.recipe(scale) for scale in (1, *packing.scales)]
    left_out: dict[str, str] = {}
    staging = out / f'{name}.tmp'
    if staging.exists() or not all(target.exists() for target in targets):
        with staging_folder(staging) as part:
            if not _all_exist(targets):
                folders = [part / target.name for target in targets]
                with open_source(source) as images:
                    run = ImageRun(images, workers, skip_bad)
                    _pack(run, folders, recipes, packing)
                for folder in folders:
                    check_lmdb(folder, workers)
                left_out = run.left_out
    for target, recipe in zip(targets, recipes):
        _check_recipe(target, recipe)
    return left_out


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


def make_benchmark(
    source: Source,
    out: Path,
    scales: Sequence[int],
    workers: int | None = None,
    skip_bad: bool = False,
    stem_end: str = '',
    count: int | None = None,
) -> dict[str, str]:
    """Makes BasicSR's folders of PNGs for testing: ``GTmod{scale}`` and ``LRbicx{scale}``, for each scale its own crop.

    Scales whose folders are there already are left as they are; the others appear together, when they are complete.

    Args:
        source (str | PathLike): Where the HR images are, see :func:`~srsenet_plugin.prepare.source_images.open_source`.
        out (Path): Folder that the folders are made in.
        scales (Sequence[int]): Scales, each 2 or more.
        workers (int, optional): Threads. Default: one for each processor.
        skip_bad (bool): Leave out images that cannot be used. Default: False.
        stem_end (str): Take only images whose names end like this before the suffix. Default: all.
        count (int, optional): Images that the benchmark has.

    Returns:
        dict[str, str]: The images that were left out, by name, and why.

    Raises:
        ValueError: The source has no images, or not ``count`` of them, or some cannot be used.
        FileExistsError: One folder of a pair exists and the other does not.
        OSError: The disk is full, or does not let itself be written.
    """
    staging = out / 'benchmark.tmp'
    if not staging.exists() and all(folder.exists() for folder in benchmark_folders(out, scales)):
        return {}
    with staging_folder(staging) as part, open_source(source, stem_end) as images:
        if count is not None and len(images) != count:
            raise ValueError(
                f'{source} holds {len(images)} images, but {out.name} has {count}. '
                'For a part of it, name another --out.'
            )
        missing = [scale for scale in scales if not _all_exist(benchmark_folders(out, [scale]))]
        for folder in benchmark_folders(part, missing):
            folder.mkdir()

        def check(opener: Opener) -> None:
            if min(read_size(opener)) < max(scales):
                raise BadImageError(f'is smaller than {max(scales)}x{max(scales)} pixels')

        def make_pairs(opener: Opener) -> list[EncodedImage]:
            gts = [_crop(read_image(opener), scale) for scale in missing]
            pairs = [(gt, imresize(gt, 1 / scale)) for gt, scale in zip(gts, missing)]
            return [encode(img, 'png') for pair in pairs for img in pair]

        run = ImageRun(images, workers, skip_bad)
        run.check(check, 'Check images')
        for name, pngs in run.convert(make_pairs, f'Make {out.name}'):
            for folder, png in zip(benchmark_folders(part, missing), pngs):
                (folder / f'{key_of(name)}.png').write_bytes(png.value)
    return run.left_out


def benchmark_folders(out: Path, scales: Sequence[int]) -> list[Path]:
    """The folders of GT and LR images that :func:`make_benchmark` makes."""
    return [out / f'{kind}{scale}' for scale in scales for kind in ('GTmod', 'LRbicx')]


def _all_exist(targets: Sequence[Path]) -> bool:
    existing = [target for target in targets if target.exists()]
    if existing and len(existing) < len(targets):
        missing = [str(target) for target in targets if target not in existing]
        raise FileExistsError(
            f'{", ".join(map(str, existing))} exists already, but not {", ".join(missing)}. '
            'They belong together: delete or move what exists, then run this again.'
        )
    return bool(existing)


def _check_recipe(target: Path, recipe: Mapping[str, Any]) -> None:
    found = read_manifest(target)['recipe']
    # An HR LMDB may have been made for more scales.
    found['crop_multiple'] = math.gcd(found.get('crop_multiple', 0), recipe['crop_multiple'])
    for name, value in recipe.items():
        if found.get(name) != value:
            raise FileExistsError(
                f'{target} exists already and was made in another way: {name} is {found.get(name)}, not {value}. '
                'Delete it, or name another --out.'
            )


def _crop(img: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    height, width = (side // multiple * multiple for side in img.shape[:2])
    return img[:height, :width]


def _rgb_to_y(img: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Y of ITU-R BT.601, 16..235, as MATLAB's rgb2ycbcr rounds it for uint8 images: half up."""
    red, green, blue = (img, img, img) if img.ndim == 2 else np.moveaxis(img, 2, 0)
    thousandths = 65481 * red.astype(np.int32) + 128553 * green.astype(np.int32) + 24966 * blue.astype(np.int32)
    return ((thousandths + 127500) // 255000 + 16).astype(np.uint8)

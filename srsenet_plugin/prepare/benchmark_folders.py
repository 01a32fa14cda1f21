"""Makes folders of GT and LR images, the test data that the option files name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.prepare.benchmarks import NUM_IMAGES
from srsenet_plugin.prepare.canonical import describe_variant
from srsenet_plugin.prepare.image_run import ImageRun
from srsenet_plugin.prepare.lmdb_writer import EncodedImage, encode
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


def benchmark_folders(out: Path, scales: Sequence[int]) -> list[Path]:
    """The folders of GT and LR images that :func:`make_benchmark` makes."""
    return [out / f'{kind}{scale}' for scale in scales for kind in ('GTmod', 'LRbicx')]


def make_benchmark(
    source: Source,
    out: Path,
    scales: Sequence[int],
    workers: int | None = None,
    skip_bad: bool = False,
    stem_end: str = '',
    benchmark: str | None = None,
) -> Prepared:
    """Makes BasicSR's folders of PNGs for testing: ``GTmod{scale}`` and ``LRbicx{scale}``, for each scale its own crop.

    Scales whose folders are there already are left as they are, and compared with the source; the others appear
    together, when they are complete.

    Args:
        source: Where the HR images are, see :func:`~srsenet_plugin.prepare.source_images.open_source`.
        out: Folder that the folders are made in.
        scales: Scales, each 2 or more.
        workers: Threads. Default: one for each processor.
        skip_bad: Leave out images that cannot be used.
        stem_end: Take only images whose names end like this before the suffix. Default: all.
        benchmark: BasicSR's name of the benchmark whose images they should be, such as ``Set5``.

    Raises:
        ValueError: The source has no images, or not as many as the benchmark, or some cannot be used.
        FileExistsError: One folder of a pair exists and the other does not, or both were made of other images.
        OSError: The disk is full, or does not let itself be written.
    """
    scales = sorted(set(scales))
    staging = place_beside(out / 'benchmark')
    check_place(source, staging, benchmark_folders(out, scales))

    def check(opener: Opener) -> None:
        if min(read_size(opener)) < max(scales):
            raise BadImageError(f'is smaller than {max(scales)}x{max(scales)} pixels')

    with open_source(source, stem_end) as images, ExitStack() as stack:
        count = NUM_IMAGES.get(benchmark or '', len(images))
        if len(images) != count:
            raise ValueError(
                f'{source} holds {len(images)} images, but {out.name} has {count}. '
                'Make a part of it in a folder of another name.'
            )
        run = ImageRun(images, workers, skip_bad)
        if staging.exists() or not all(folder.exists() for folder in benchmark_folders(out, scales)):
            part = stack.enter_context(staging_folder(staging))
        missing = [scale for scale in scales if not all_exist(benchmark_folders(out, [scale]))]
        existing = [scale for scale in scales if scale not in missing]
        run.check(check, 'Check images')
        variants = _find_variants(run, benchmark)
        if existing:
            _compare_with_source(run, source, {scale: out / f'GTmod{scale}' for scale in existing})
        if missing:
            _make_pairs(run, part, missing, out.name)
    return Prepared(benchmark_folders(out, missing), benchmark_folders(out, existing), run.left_out, variants)


def _find_variants(run: ImageRun, benchmark: str | None) -> dict[str, str]:
    if benchmark is None:
        return {}
    described = run.convert(lambda opener: describe_variant(benchmark, read_image(opener)), f'Look for {benchmark}')
    return {name: variant for name, variant in described if variant}


def _make_pairs(run: ImageRun, out: Path, scales: Sequence[int], name: str) -> None:
    folders = benchmark_folders(out, scales)
    for folder in folders:
        folder.mkdir()

    def make_pairs(opener: Opener) -> list[EncodedImage]:
        img = read_image(opener)
        gts = [crop_to_multiple(img, scale) for scale in scales]
        pairs = [(gt, imresize(gt, 1 / scale)) for gt, scale in zip(gts, scales)]
        return [encode(img, 'png') for pair in pairs for img in pair]

    for image, pngs in run.convert(make_pairs, f'Make {name}'):
        for folder, png in zip(folders, pngs):
            (folder / f'{key_of(image)}.png').write_bytes(png.value)


def _compare_with_source(run: ImageRun, source: Source, gt_folders: Mapping[int, Path]) -> None:
    """Checks that GT images are those that would be made of the source."""
    stale = 'Delete the folders and make them again, or make the data elsewhere.'
    keys = set()
    for image, img in run.convert(read_image, 'Compare with the source'):
        keys.add(key_of(image))
        for scale, folder in gt_folders.items():
            gt = folder / f'{key_of(image)}.png'
            if not _holds(gt, crop_to_multiple(img, scale)):
                raise FileExistsError(f'{gt} is not what {image} gives: one of them is missing or has changed. {stale}')
    for folder in gt_folders.values():
        extra = sorted(path.name for path in folder.glob('*.png') if path.stem not in keys)
        if extra:
            raise FileExistsError(f'{folder} holds {extra[0]}, and {source} no image of that name. {stale}')


def _holds(path: Path, img: NDArray[np.uint8]) -> bool:
    try:
        with Image.open(path) as stored:
            return np.array_equal(np.asarray(stored), img)
    except (OSError, SyntaxError, ValueError):
        return False

"""Prints how fast data is made and read, side by side with BasicSR in one run: medians of interleaved repetitions, as
ratios."""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import skimage.data
import torch
from basicsr.data import build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from basicsr.utils.matlab_functions import imresize as basicsr_imresize
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

from srsenet_plugin.data import imresize
from srsenet_plugin.data.prepare import pack_folder

REPETITIONS = 15
SCALES = (2, 4, 8)
BATCHES = 4  # of 16 samples, in each repetition of the loader's measurement


def main() -> None:
    console = Console()
    console.print(measure_imresize())
    with tempfile.TemporaryDirectory() as folder:
        console.print(measure_loader(Path(folder)))


def measure_imresize() -> Table:
    img = div2k_like_image()
    table = Table(
        'LR image', 'BasicSR', 'srsenet_plugin', 'ratio', title=f'imresize of {img.shape[1]}x{img.shape[0]} RGB, uint8'
    )
    for scale in SCALES:
        theirs, ours = interleaved_medians(
            partial(basicsr_on_uint8, img, 1 / scale),
            partial(imresize, img, 1 / scale),
        )
        table.add_row(f'x{scale}', f'{theirs * 1e3:.1f} ms', f'{ours * 1e3:.1f} ms', f'{theirs / ours:.1f}')
    return table


def measure_loader(folder: Path) -> Table:
    """Batches of 16 crops of 96x96 Y in one process: PairedImageDataset on sub-images in PNG, ours on whole images."""
    (folder / 'hr').mkdir()
    cv2.imwrite(str(folder / 'hr/0001.png'), div2k_like_image())
    with contextlib.redirect_stdout(io.StringIO()):
        whole = pack_folder(folder / 'hr', folder, 'whole', SCALES)
        sub_images = pack_sub_images(folder)

    table = Table('Y, 96x96', 'BasicSR', 'srsenet_plugin', 'ratio', title='samples per second of one process')
    for scale in SCALES:
        loaders = [
            loader('PairedImageDataset', sub_images[0], sub_images[scale], scale),
            loader('PairedLmdbDataset', whole[0], whole[1 + SCALES.index(scale)], scale),
        ]
        theirs, ours = (
            16 * BATCHES / seconds for seconds in interleaved_medians(*(partial(list, one) for one in loaders))
        )
        table.add_row(f'x{scale}', f'{theirs:.0f}', f'{ours:.0f}', f'{ours / theirs:.1f}')
    return table


def pack_sub_images(folder: Path) -> dict[int, Path]:
    """BasicSR's way for DIV2K: 480x480 HR sub-images every 240 pixels and the LR ones of each scale, PNGs in LMDBs."""
    img = div2k_like_image()
    packed = {}
    for scale in (0, *SCALES):
        source = folder / f'sub{scale}'
        source.mkdir()
        step = scale or 1
        lr = imresize(img, 1 / scale) if scale else img
        for top in range(0, 1356 - 480 + 1, 240):
            for left in range(0, 2040 - 480 + 1, 240):
                sub_image = lr[top // step : (top + 480) // step, left // step : (left + 480) // step]
                # compression level of BasicSR's extract_subimages.py
                cv2.imwrite(str(source / f'{top}_{left}.png'), sub_image, [cv2.IMWRITE_PNG_COMPRESSION, 3])
        names = sorted(path.name for path in source.iterdir())
        packed[scale] = folder / f'sub{scale}.lmdb'
        make_lmdb_from_imgs(str(source), str(packed[scale]), names, [Path(name).stem for name in names])
    return packed


def loader(dataset_type: str, gt: Path, lq: Path, scale: int) -> DataLoader:
    dataset = build_dataset(
        {
            'name': dataset_type,
            'type': dataset_type,
            'dataroot_gt': str(gt),
            'dataroot_lq': str(lq),
            'io_backend': {'type': 'lmdb'},
            'phase': 'train',
            'scale': scale,
            'color': 'y',
            'gt_size': 96,
            'use_hflip': True,
            'use_rot': True,
        }
    )
    torch.manual_seed(0)
    sampler = EnlargedSampler(dataset, 1, 0, ratio=16 * BATCHES / len(dataset))
    return DataLoader(dataset, batch_size=16, sampler=sampler)


def basicsr_on_uint8(img: NDArray, scale: float) -> NDArray:
    """BasicSR's imresize of an image as it is read; rounding to uint8 comes on top."""
    return basicsr_imresize(img / 255.0, scale)


def div2k_like_image() -> NDArray:
    """A photograph tiled to the size of most of DIV2K, (1356, 2040, 3)."""
    photo = skimage.data.coffee()
    tiles = [-(-side // size) for side, size in zip((1356, 2040), photo.shape)]
    return np.ascontiguousarray(np.tile(photo, (*tiles, 1))[:1356, :2040])


def interleaved_medians(*functions: Callable[[], object]) -> list[float]:
    """Median seconds of each function, called in turn, after one call of each that does not count."""
    seconds: list[list[float]] = [[] for _ in functions]
    for repetition in range(REPETITIONS + 1):
        for function, own in zip(functions, seconds):
            start = time.perf_counter()
            function()
            if repetition:
                own.append(time.perf_counter() - start)
    return [statistics.median(own) for own in seconds]


if __name__ == '__main__':
    main()

"""Prints how fast data is made and read, side by side with BasicSR in one run: medians of interleaved repetitions, as
ratios. It takes some minutes; arguments name the parts to measure: imresize, packing, loader."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
import psutil
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
from srsenet_plugin.machine.timing import interleaved_medians
from srsenet_plugin.prepare.packing import Packing, lmdb_folders, pack_images

REPETITIONS = 15
SCALES = (2, 4, 8)
IMAGES = 24
PACKINGS = 3
BATCHES = 4  # of 16 samples, in each repetition of the loader's measurement
WORKERS, BATCHES_OF_WORKERS = 4, 200  # as in options/; only where there is a GPU to load for


def main() -> None:
    parts = sys.argv[1:] or ['imresize', 'packing', 'loader']
    console = Console()
    if 'imresize' in parts:
        console.print(measure_imresize())
    for part, measure in (('packing', measure_packing), ('loader', measure_loader)):
        if part in parts:
            with tempfile.TemporaryDirectory() as folder:
                console.print(measure(Path(folder)))


def measure_imresize() -> Table:
    img = div2k_like_image()
    table = Table(
        'LR image', 'BasicSR', 'srsenet_plugin', 'ratio', title=f'imresize of {img.shape[1]}x{img.shape[0]} RGB, uint8'
    )
    for scale in SCALES:
        ways = {'theirs': partial(basicsr_on_uint8, img, 1 / scale), 'ours': partial(imresize, img, 1 / scale)}
        theirs, ours = interleaved_medians(ways, REPETITIONS, f'imresize x{scale}').values()
        table.add_row(f'x{scale}', f'{theirs * 1e3:.1f} ms', f'{ours * 1e3:.1f} ms', f'{theirs / ours:.1f}')
    return table


def measure_packing(folder: Path) -> Table:
    """From HR images to LMDBs to train from at all scales, in processes of their own, after their imports."""
    source = folder / 'hr'
    write_div2k_like_images(source, IMAGES)
    table = Table(
        *('', 'BasicSR', 'srsenet_plugin', 'ratio'), title=f'LMDBs at x2, x4, x8 of {IMAGES} PNGs of 2040x1356'
    )
    rows: list[tuple[list[float], list[float]]] = [([], []), ([], [])]
    for _ in range(PACKINGS):
        for pack, own in zip((pack_as_basicsr, pack_ours), rows):
            out = folder / 'out'
            own_seconds, own_peak = own
            seconds, peak = in_a_process(pack, source, out)
            own_seconds.append(seconds)
            own_peak.append(peak)
            shutil.rmtree(out)
    (theirs, their_peak), (ours, our_peak) = ([statistics.median(values) for values in own] for own in rows)
    table.add_row('whole', f'{theirs:.1f} s', f'{ours:.1f} s', f'{theirs / ours:.1f}')
    table.add_row(
        'an image', f'{theirs / IMAGES * 1e3:.0f} ms', f'{ours / IMAGES * 1e3:.0f} ms', f'{theirs / ours:.1f}'
    )
    table.add_row('peak memory', f'{their_peak:.0f} MB', f'{our_peak:.0f} MB', f'{their_peak / our_peak:.1f}')
    return table


def in_a_process(pack: Callable[[Path, Path], object], source: Path, out: Path) -> tuple[float, float]:
    """Seconds that the call takes, and the most memory in MB that its process and its children hold together."""
    context = multiprocessing.get_context('spawn')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=timed, args=(sender, pack, source, out))
    process.start()
    root = psutil.Process(process.pid)
    peak = 0
    while process.is_alive():
        with contextlib.suppress(psutil.Error):
            processes = [root, *root.children(recursive=True)]
            peak = max(peak, sum(one.memory_full_info().pss for one in processes))
        process.join(0.05)
    return receiver.recv(), peak / 1e6


def timed(sender: Connection, pack: Callable[[Path, Path], object], source: Path, out: Path) -> None:
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        start = time.perf_counter()
        pack(source, out)
        sender.send(time.perf_counter() - start)


def pack_ours(source: Path, out: Path) -> None:
    pack_images(source, out, 'ours', Packing(SCALES))


def pack_as_basicsr(source: Path, out: Path) -> None:
    """BasicSR's way for DIV2K: LR images, then sub-images of them all, then LMDBs; PNGs each time.

    The steps and numbers are those of extract_subimages.py and create_lmdb.py in its repository; a process for each
    processor does the work on images.
    """
    for scale in SCALES:
        (out / f'lr{scale}').mkdir(parents=True)
    folders = {1: source, **{scale: out / f'lr{scale}' for scale in SCALES}}
    with multiprocessing.Pool() as pool:
        pool.map(partial(write_lr_images, out), sorted(source.iterdir()))
        for scale, folder in folders.items():
            sub_images = out / f'sub{scale}'
            sub_images.mkdir()
            pool.map(partial(write_sub_images, sub_images, scale), sorted(folder.iterdir()))
    for scale in folders:
        names = sorted(os.listdir(out / f'sub{scale}'))
        keys = [Path(name).stem for name in names]
        make_lmdb_from_imgs(str(out / f'sub{scale}'), str(out / f'sub{scale}.lmdb'), names, keys)


def write_lr_images(out: Path, path: Path) -> None:
    img = np.asarray(cv2.imread(str(path)))
    img = img[: img.shape[0] // 8 * 8, : img.shape[1] // 8 * 8]
    for scale in SCALES:
        lr = basicsr_on_uint8(img, 1 / scale)
        cv2.imwrite(str(out / f'lr{scale}' / path.name), np.clip(lr * 255, 0, 255).round().astype(np.uint8))


def write_sub_images(out: Path, scale: int, path: Path) -> None:
    """Sub-images of 480x480 HR pixels every 240 pixels, and at the far edges."""
    size, step = 480 // scale, 240 // scale
    img = np.asarray(cv2.imread(str(path)))
    img = img[: 1352 // scale, : 2040 // scale]
    tops, lefts = (sorted({*range(0, side - size + 1, step), side - size}) for side in img.shape[:2])
    for i, (top, left) in enumerate(itertools.product(tops, lefts)):
        sub_image = img[top : top + size, left : left + size]
        cv2.imwrite(str(out / f'{path.stem}_s{i:03}.png'), sub_image, [cv2.IMWRITE_PNG_COMPRESSION, 3])


def measure_loader(folder: Path) -> Table:
    """Batches of 16 crops of 96x96 Y in one process: PairedImageDataset on sub-images in PNG, ours on whole images."""
    write_div2k_like_images(folder / 'hr', 1)
    for pack in (pack_ours, pack_as_basicsr):
        in_a_process(pack, folder / 'hr', folder)
    whole = lmdb_folders(folder, 'ours', SCALES)
    table = Table('Y, 96x96', 'BasicSR', 'srsenet_plugin', 'ratio', title='samples per second of one process')
    for scale, lr in zip(SCALES, whole[1:]):
        ways: dict[str, Callable[[], object]] = {
            'theirs': partial(
                list, loader('PairedImageDataset', folder / 'sub1.lmdb', folder / f'sub{scale}.lmdb', scale)
            ),
            'ours': partial(list, loader('PairedLmdbDataset', whole[0], lr, scale)),
        }
        seconds = interleaved_medians(ways, REPETITIONS, f'samples x{scale}')
        theirs, ours = (16 * BATCHES / own for own in seconds.values())
        table.add_row(f'x{scale}', f'{theirs:.0f}', f'{ours:.0f}', f'{ours / theirs:.1f}')
    if torch.cuda.is_available():
        roots = {
            'PairedImageDataset': (folder / 'sub1.lmdb', folder / 'sub4.lmdb'),
            'PairedLmdbDataset': (whole[0], whole[2]),
        }
        ways = {
            name: partial(onto_the_gpu, loader(name, *own, 4, BATCHES_OF_WORKERS, WORKERS))
            for name, own in roots.items()
        }
        seconds = interleaved_medians(ways, 3, 'samples onto the GPU')
        theirs, ours = (16 * BATCHES_OF_WORKERS / own for own in seconds.values())
        name = f'x4, {WORKERS} processes, onto the GPU'
        table.add_row(name, f'{theirs:.0f}', f'{ours:.0f}', f'{ours / theirs:.1f}')
    return table


def onto_the_gpu(batches: DataLoader) -> None:
    for batch in batches:
        for name in ('lq', 'gt'):
            batch[name].cuda(non_blocking=True)
    torch.cuda.synchronize()


def loader(dataset_type: str, gt: Path, lq: Path, scale: int, batches: int = BATCHES, workers: int = 0) -> DataLoader:
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
    sampler = EnlargedSampler(dataset, 1, 0, ratio=16 * batches / len(dataset))
    as_in_training = {'num_workers': workers, 'persistent_workers': True, 'pin_memory': True} if workers else {}
    return DataLoader(dataset, batch_size=16, sampler=sampler, **as_in_training)  # type: ignore[arg-type]


def basicsr_on_uint8(img: NDArray, scale: float) -> NDArray:
    """BasicSR's imresize of an image as it is read; rounding to uint8 comes on top."""
    return basicsr_imresize(img / 255.0, scale)


def div2k_like_image(photo: NDArray | None = None) -> NDArray:
    """A photograph tiled to the size of most of DIV2K, (1356, 2040, 3)."""
    photo = skimage.data.coffee() if photo is None else photo
    tiles = [-(-side // size) for side, size in zip((1356, 2040), photo.shape)]
    return np.ascontiguousarray(np.tile(photo, (*tiles, 1))[:1356, :2040])


def write_div2k_like_images(folder: Path, count: int) -> None:
    folder.mkdir()
    photos = [skimage.data.coffee(), skimage.data.astronaut(), skimage.data.chelsea(), skimage.data.rocket()]
    for i in range(count):
        img = np.roll(div2k_like_image(photos[i % len(photos)]), (37 * i, 91 * i), (0, 1))
        cv2.imwrite(str(folder / f'{i + 1:04}.png'), cv2.cvtColor(img, cv2.COLOR_RGB2BGR))


if __name__ == '__main__':
    main()

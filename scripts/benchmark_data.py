"""Prints how fast data is made, side by side with BasicSR in one run: medians of interleaved repetitions, as ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import skimage.data
from basicsr.utils.matlab_functions import imresize as basicsr_imresize
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from srsenet_plugin.data import imresize

REPETITIONS = 15
SCALES = (2, 4, 8)


def main() -> None:
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
    Console().print(table)


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

"""Counts the values in which shrunk images differ from those that MATLAB made: BasicSR's imresize, and the plugin's.

python scripts/check_imresize.py Set5/HR Set5/LR_bicubic/X4 4

The folders hold the same images, shrunk ones as NAME.png or NAMEx4.png; then the scale.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from basicsr.utils.matlab_functions import imresize as imresize_of_basicsr
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from srsenet_plugin.data import imresize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('hr', type=Path)
    parser.add_argument('lr', type=Path)
    parser.add_argument('scale', type=int)
    args = parser.parse_args()
    differing, largest, values = np.zeros(2, int), np.zeros(2, int), 0
    for path in sorted(args.lr.glob('*.png')):
        hr_path = args.hr / f'{path.stem.removesuffix(f"x{args.scale}")}.png'
        if not hr_path.exists():
            raise SystemExit(f'There is no {hr_path} for {path}.')
        matlabs = read(path).astype(int)
        hr = cropped(read(hr_path), args.scale)
        made = (round_to_8_bits(imresize_of_basicsr(hr / 255, 1 / args.scale) * 255), imresize(hr, 1 / args.scale))
        errors = [np.abs(lr.astype(int) - matlabs) for lr in made]
        differing += [np.count_nonzero(error) for error in errors]
        largest = np.maximum(largest, [error.max() for error in errors])
        values += matlabs.size
    if not values:
        raise SystemExit(f'{args.lr} holds no PNG.')
    table = Table('', 'differing values', 'largest difference', title=f'x{args.scale}, of {values:,} values')
    for name, count, error in zip(("BasicSR's imresize", "srsenet_plugin's"), differing, largest):
        table.add_row(name, f'{count:,}', str(error))
    Console().print(table)


def read(path: Path) -> NDArray[np.uint8]:
    img = cv2.imread(str(path))
    if img is None:
        raise SystemExit(f'{path} cannot be read.')
    return img


def cropped(img: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    height, width = (side // multiple * multiple for side in img.shape[:2])
    return img[:height, :width]


def round_to_8_bits(img: NDArray[np.float64]) -> NDArray[np.uint8]:
    return img.round().clip(0, 255).astype(np.uint8)


if __name__ == '__main__':
    main()

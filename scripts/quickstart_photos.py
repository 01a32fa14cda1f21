"""Writes photographs that scikit-image ships as PNGs: quickstart_photos.py OUT makes OUT/train and OUT/val."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import skimage

PHOTOS = {
    'train': [
        'brick.png',
        'camera.png',
        'coins.png',
        'grass.png',
        'gravel.png',
        'hubble_deep_field.jpg',
        'ihc.png',
        'motorcycle_left.png',
        'motorcycle_right.png',
        'page.png',
        'rocket.jpg',
        'text.png',
    ],
    'val': ['astronaut.png', 'chelsea.png', 'coffee.png'],
}


def main(out: Path) -> None:
    source = Path(skimage.__file__).parent / 'data'
    for phase, names in PHOTOS.items():
        folder = out / phase
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            img = cv2.imread(str(source / name))
            if img is None:
                sys.exit(f'{source} has no {name}. This mends it: pip install --force-reinstall scikit-image')
            cv2.imwrite(str(folder / Path(name).with_suffix('.png')), img)
        print(f'{folder}: {len(names)} photographs')


if __name__ == '__main__':
    main(Path(sys.argv[1]))

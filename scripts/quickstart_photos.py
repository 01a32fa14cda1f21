"""Writes photographs that scikit-image ships to datasets/quickstart/photos/{train,val}, as PNGs."""

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
OUT = Path('datasets/quickstart/photos')


def main() -> None:
    source = Path(skimage.__file__).parent / 'data'
    for phase, names in PHOTOS.items():
        folder = OUT / phase
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            img = cv2.imread(str(source / name))
            if img is None:
                sys.exit(f'scikit-image {skimage.__version__} ships no photograph {name}; install scikit-image 0.20 or newer.')
            cv2.imwrite(str(folder / Path(name).with_suffix('.png').name), img)
        print(f'{folder}: {len(names)} photographs')


if __name__ == '__main__':
    main()

"""Writes photographs that scikit-image ships as PNGs: quickstart_photos.py OUT makes OUT/train and OUT/val."""

from __future__ import annotations

import sys
from pathlib import Path

import skimage
from PIL import Image

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
            if not (source / name).is_file():
                sys.exit(f'{source} has no {name}. This mends it: pip install --force-reinstall scikit-image')
            # Without the colour profile, which one of them has and libpng complains of.
            Image.open(source / name).convert('RGB').save(folder / f'{Path(name).stem}.png', icc_profile=None)
        print(f'{folder}: {len(names)} photographs')


if __name__ == '__main__':
    main(Path(sys.argv[1]))

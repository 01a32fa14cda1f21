"""Draws a JPEG upscaled by bicubic, by the weights for clean images, and by those for JPEG.

python scripts/draw_jpeg.py docs/jpeg_x4.webp

The photograph is scikit-image's chelsea, saved as a telephone does: as JPEG, with CbCr of half the resolution.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.data.whole_files import whole_file
from srsenet_plugin.inference.upscaler import Upscaler

SCALE = 4
QUALITIES = (75, 90)
PLACE = (150, 90, 240, 160)  # left, top, right, bottom in the JPEG
TITLE_HEIGHT = 18


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', type=Path)
    photo = Image.open(Path(skimage.__file__).parent / 'data/chelsea.png').convert('RGB')
    names = (f'srsenet_x{SCALE}', f'srsenet_x{SCALE}_jpeg')
    ways: dict[str, Callable[[NDArray], NDArray]] = {
        'bicubic': bicubic,
        **{name: Upscaler(SCALE, name) for name in names},
    }
    width, height = SCALE * (PLACE[2] - PLACE[0]), SCALE * (PLACE[3] - PLACE[1]) + TITLE_HEIGHT
    sheet = Image.new('RGB', (len(ways) * width, len(QUALITIES) * height), 'white')
    for row, quality in enumerate(QUALITIES):
        saved = io.BytesIO()
        photo.save(saved, 'JPEG', quality=quality, subsampling='4:2:0')
        jpeg = np.asarray(Image.open(saved))
        for column, (name, upscale) in enumerate(ways.items()):
            left, top = column * width, row * height
            sr = upscale(jpeg)[SCALE * PLACE[1] : SCALE * PLACE[3], SCALE * PLACE[0] : SCALE * PLACE[2]]
            sheet.paste(Image.fromarray(sr), (left, top + TITLE_HEIGHT))
            ImageDraw.Draw(sheet).text((left + 4, top + 3), f'JPEG of quality {quality}, {name}', 'black')
    with whole_file(parser.parse_args().out) as part:
        sheet.save(part, 'WEBP', quality=97)


def bicubic(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return imresize(image, SCALE)


if __name__ == '__main__':
    main()

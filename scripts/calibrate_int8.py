"""Measures the ranges of the features of the package's weights, over which --precision int8 spreads its 8 bits.

python scripts/calibrate_int8.py BSD200              all weights
python scripts/calibrate_int8.py BSD200 srsenet_x4   these alone, after they have changed

BSD200 is the folder of the 200 training images of BSD300. Sixteen of them are taken.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srsenet_plugin.data.colour import rgb_to_ycbcr
from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.weights import pretrained
from srsenet_plugin.weights.ranges import calibrate, store_ranges

IMAGES = (
    *('100075', '113009', '134052', '15088', '163062', '181091', '196015', '22090'),
    *('239096', '254054', '292066', '33066', '372047', '45077', '65074', '90076'),
)
JPEG_QUALITY = 50  # of LR images for weights for JPEG, which saw all qualities


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('names', nargs='*', default=pretrained.names('srsenet'))
    args = parser.parse_args()
    for name in args.names:
        net = pretrained.load_network(name)
        images = [lr_image(args.folder / f'{image}.png', net.upscale, name.endswith('_jpeg')) for image in IMAGES]
        store_ranges(name, calibrate(net, images))
        print(name)


def lr_image(path: Path, scale: int, as_jpeg: bool) -> Tensor:
    """Y of an image, shrunk, (1, 1, H, W)."""
    bgr: NDArray[np.uint8] | None = cv2.imread(str(path))
    if bgr is None:
        raise SystemExit(f'{path} is no image.')
    height, width = (side - side % scale for side in bgr.shape[:2])
    lr = imresize(bgr[:height, :width], 1 / scale)
    if as_jpeg:
        jpeg = cv2.imencode('.jpg', lr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        lr = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR))
    rgb = torch.from_numpy(np.ascontiguousarray(lr[..., ::-1].transpose(2, 0, 1))).float() / 255
    return rgb_to_ycbcr(rgb)[None, :1]


if __name__ == '__main__':
    main()

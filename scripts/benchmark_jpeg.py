"""Prints PSNR on Y where LR images were saved as JPEG: of bicubic, of the package's weights, and of those for JPEG.

python scripts/benchmark_jpeg.py                          x2 and x4, some minutes
python scripts/benchmark_jpeg.py --scale 4 --weights experiments/train_SrSENet_x4_jpeg_T91BSD400/models/net_g_latest.pth

The images are those of Set5, Set14 and B100 that `srsenet prepare benchmark` has made in datasets/. CbCr have half of
the resolution, as in most JPEGs (4:2:0). Results are rounded to 8 bits.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from srsenet_plugin.compare import quality
from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.inference.stripwise import StripwiseSrSENet
from srsenet_plugin.weights import pretrained

BENCHMARKS = ('Set5', 'Set14', 'B100')
QUALITIES = (40, 60, 75, 90)
ENCODINGS = {'JPEG': ('.jpg', cv2.IMWRITE_JPEG_QUALITY), 'WebP': ('.webp', cv2.IMWRITE_WEBP_QUALITY)}
Upscale = Callable[[NDArray[np.uint8]], NDArray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--scale', type=int, nargs='+', default=[2, 4])
    parser.add_argument('--weights', help="others than srsenet_x{scale}_jpeg: a file, or a name of the package's")
    parser.add_argument('--qualities', type=int, nargs='+', default=QUALITIES, help='default: %(default)s')
    parser.add_argument('--webp', action='store_true', help='save as lossy WebP instead')
    parser.add_argument('--benchmarks', type=Path, default=Path('datasets'), metavar='FOLDER')
    args = parser.parse_args()
    saved_as = 'WebP' if args.webp else 'JPEG'
    for scale in args.scale:
        try:
            ways = upscalers(scale, args.weights)
            found = [item for item in quality.find_benchmarks(args.benchmarks, scale) if item.name in BENCHMARKS]
        except (ValueError, OSError) as error:
            raise SystemExit(f'error: {error}') from None
        table = Table('benchmark', f'{saved_as} quality', *ways, title=f'x{scale}: PSNR (dB)')
        for benchmark in found:
            for jpeg_quality in (*args.qualities, None):
                psnrs = measure(benchmark, jpeg_quality, ways, saved_as)
                row = (
                    benchmark.name,
                    str(jpeg_quality or f'no {saved_as}'),
                    *(f'{psnr:.2f}' for psnr in psnrs.values()),
                )
                table.add_row(*row, end_section=jpeg_quality is None)
        Console(width=100).print(table)


def upscalers(scale: int, jpeg_weights: str | None) -> dict[str, Upscale]:
    """The ways to make BGR or Y, in [0, 255], of a BGR image, by name."""
    plain, for_jpeg = f'srsenet_x{scale}', jpeg_weights or f'srsenet_x{scale}_jpeg'
    file = pretrained.find_file(jpeg_weights) if jpeg_weights else pretrained.weights_file(for_jpeg)
    nets = {plain: pretrained.load_pretrained(scale), Path(for_jpeg).stem: pretrained.load_network(file)}
    for net in nets.values():
        if net.upscale != scale:
            raise ValueError(f'{jpeg_weights} enlarges x{net.upscale}, not x{scale}.')

    def to_y(net: StripwiseSrSENet, lr: NDArray[np.uint8]) -> NDArray:
        return quality.upscale(net, 1, lr, scale)[0]

    return {
        'bicubic': lambda lr: imresize(lr, scale),
        **{name: partial(to_y, StripwiseSrSENet(net)) for name, net in nets.items()},
    }


def measure(
    benchmark: quality.Benchmark, jpeg_quality: int | None, ways: Mapping[str, Upscale], saved_as: str = 'JPEG'
) -> dict[str, float]:
    """Mean PSNR of each way to upscale LR images that were saved with losses, or as they are."""
    psnrs: dict[str, list[float]] = {name: [] for name in ways}
    suffix, option = ENCODINGS[saved_as]
    label = f'{benchmark.name} x{benchmark.scale}, {jpeg_quality or f"no {saved_as}"}'
    for gt_path, lr_path in tqdm(benchmark.pairs.values(), label, unit='image', leave=False):
        gt, lr = quality.read_bgr(gt_path), quality.read_bgr(lr_path)
        if jpeg_quality:
            encoded = cv2.imencode(suffix, lr, [option, jpeg_quality])[1]
            lr = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
        for name, upscale in ways.items():
            psnrs[name].append(quality.score(upscale(lr), gt, benchmark.scale)[0])
    return {name: float(np.mean(values)) for name, values in psnrs.items()}


if __name__ == '__main__':
    main()

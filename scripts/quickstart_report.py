"""Compares the quickstart's result with bicubic: a table, and a picture side by side."""

from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib
import numpy as np
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import bgr2ycbcr, ycbcr2rgb
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from srsenet_plugin.data import imresize

SCALE = 4
DATA = Path('datasets/quickstart')
RESULTS = Path('results/test_SrSENet_x4_quickstart')
SHOWN, CROP = 'astronaut', (152, 56, 112, 72)  # the photograph of the picture and its crop: x, y, width, height


def main() -> None:
    table = Table('photograph', 'bicubic', 'SrSENet', title=f'PSNR (dB) / SSIM on Y, x{SCALE}')
    scores = []
    for path in sorted((DATA / f'GTmod{SCALE}').iterdir()):
        lr, bicubic, sr, gt = read_ycbcr(path.stem)
        scores.append([metrics(bicubic, gt), metrics(sr, gt)])
        table.add_row(path.stem, *map(format_metrics, scores[-1]))
        if path.stem == SHOWN:
            draw({'LR': lr, 'Bicubic': bicubic, 'SrSENet': sr, 'GT': gt}, RESULTS / 'comparison.png')
    mean = np.mean(scores, 0)
    table.add_section()
    table.add_row('mean', *map(format_metrics, mean))
    console = Console()
    console.print(table)
    console.print(f'SrSENet is better than bicubic by {mean[1, 0] - mean[0, 0]:.2f} dB.')
    console.print(f'The picture: {RESULTS / "comparison.png"}')


def read_ycbcr(name: str) -> list[NDArray]:
    """LR, bicubic, SrSENet and GT as 8-bit YCbCr values, (H, W, 3) float32; SrSENet's CbCr are bicubic."""
    lr, gt = (
        255 * bgr2ycbcr(np.float32(cv2.imread(str(DATA / folder / f'{name}.png'))) / 255)
        for folder in (f'LRbicx{SCALE}', f'GTmod{SCALE}')
    )
    bicubic = imresize(lr, SCALE)
    sr = bicubic.copy()
    sr[..., 0] = cv2.imread(
        str(RESULTS / 'visualization/quickstart' / f'{name}_{RESULTS.name}.png'), cv2.IMREAD_GRAYSCALE
    )
    return [img.clip(0, 255).round() for img in (lr, bicubic, sr, gt)]


def metrics(img: NDArray, gt: NDArray) -> tuple[float, float]:
    """PSNR and SSIM on Y with the toolbox's functions, as its validation computes them."""
    return (
        calculate_psnr(img[..., 0], gt[..., 0], crop_border=SCALE),
        calculate_ssim(img[..., 0], gt[..., 0], crop_border=SCALE),
    )


def format_metrics(values: tuple[float, float] | NDArray) -> str:
    return f'{values[0]:.2f} / {values[1]:.4f}'


def draw(images: dict[str, NDArray], out: Path) -> None:
    """Saves a picture: the photograph with its crop marked, and the crop in each of the YCbCr images."""
    matplotlib.use('Agg')
    x, y, width, height = CROP
    figure, (whole, *crops) = plt.subplots(
        1, 1 + len(images), figsize=(15, 2.7), width_ratios=[1] + len(images) * [width / height], layout='compressed'
    )
    rgb = {title: ycbcr2rgb(img.astype(np.float32) / 255).clip(0, 1) for title, img in images.items()}
    whole.imshow(rgb['GT'])
    whole.add_patch(Rectangle((x, y), width, height, fill=False, color='red', linewidth=1.5))
    whole.set_title(SHOWN)
    for axes, (title, img) in zip(crops, rgb.items()):
        step = SCALE if title == 'LR' else 1
        axes.imshow(img[y // step : (y + height) // step, x // step : (x + width) // step], interpolation='nearest')
        psnr = '' if title in ('LR', 'GT') else f', {metrics(images[title], images["GT"])[0]:.2f} dB'
        axes.set_title(title + psnr)
    for axes in (whole, *crops):
        axes.set_axis_off()
    figure.savefig(out, dpi=100)


if __name__ == '__main__':
    main()

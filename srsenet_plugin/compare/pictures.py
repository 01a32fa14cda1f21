"""The comparison as pictures: quality against time, and enlarged crops side by side as in the paper's Fig. 4."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import sqrt
from operator import itemgetter
from pathlib import Path

import cv2
import numpy as np
from basicsr.metrics.metric_util import to_y_channel
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from srsenet_plugin.compare.quality import Benchmark, Scores, read_bgr
from srsenet_plugin.compare.significance import Difference, with_reference
from srsenet_plugin.compare.table import Row, by_image
from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.data.whole_files import whole_file

MAX_PANELS = 3  # benchmarks in a picture
DOWN = {'arrowstyle': '->'}  # to names below the picture

# Both together are a crop's side: enough HR pixels at x2, and enough LR pixels at x8.
CROP_HR_PIXELS, CROP_LR_PIXELS = 32, 16


def draw_psnr_against_time(path: Path, rows: Sequence[Row], benchmarks: Sequence[str], scale: int) -> bool:
    """Draws a panel for each of the first benchmarks, with a bubble for each network; its area grows with parameters.

    Bars are 95 % intervals of the difference from the reference. The axis fits the networks: bicubic interpolation, if
    it lies far below, is named at the edge.

    Returns:
        False if no network has both a time and a score, so that there is nothing to draw.
    """
    panels = []
    for name in benchmarks[:MAX_PANELS]:
        points = [
            (row.method, row.latency * 1e3, row.scores[name][0], row.complexity.params)
            for row in rows
            if row.latency is not None and row.complexity and name in row.scores
        ]
        if points:
            panels.append((name, points))
    if not panels:
        return False
    figure = Figure(figsize=(5 * len(panels), 4.5), layout='constrained')
    differences = with_reference(by_image(rows), benchmarks)
    for axes, (name, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        to_reference = {found.second: found for found in differences if found.benchmark == name}
        bars = {method: _bar(psnr, to_reference.get(method)) for method, _, psnr, _ in points}
        networks = [point for point in points if point[3]] or points
        levels = [psnr for _, _, psnr, _ in networks]
        margin = max(0.2 * (max(levels) - min(levels)), 0.05)
        bottom = min(levels) - margin
        axes.set_ylim(bottom, max(psnr for _, _, psnr, _ in points) + margin)
        # Names stand above and below by turns, so that those of networks equally fast and good do not overlap.
        for place, (method, milliseconds, psnr, params) in enumerate(sorted(points, key=itemgetter(1))):
            area = 20 + params / 1e3
            if psnr < bottom:
                text = f'{method}\n{psnr:.2f} dB'
                axes.annotate(
                    text,
                    (milliseconds, bottom),
                    xytext=(0, 22),
                    textcoords='offset points',
                    ha='center',
                    arrowprops=DOWN,
                )
                continue
            axes.vlines(milliseconds, *bars[method], alpha=0.6)
            axes.scatter(milliseconds, psnr, s=area, alpha=0.6)
            up, align = (1, 'bottom') if place % 2 else (-1, 'top')
            offset = (0, up * (sqrt(area) / 2 + 2))
            axes.annotate(
                method,
                (milliseconds, psnr),
                xytext=offset,
                textcoords='offset points',
                ha='center',
                va=align,
                path_effects=[withStroke(linewidth=3, foreground='white')],
            )
        times = [milliseconds for _, milliseconds, _, _ in points]
        axes.set_xscale('log')
        axes.set_xlim(min(times) / 2, max(times) * 2)
        axes.set_xlabel('ms for 1280x720')
        axes.set_ylabel('PSNR on Y (dB)')
        axes.set_title(f'{name} x{scale}')
        axes.grid(alpha=0.3)
    _save(figure, path)
    return True


def _bar(psnr: float, to_reference: Difference | None) -> tuple[float, float]:
    """The reference's PSNR less both ends of the interval; the PSNR alone for the reference."""
    if to_reference is None or to_reference.low is None or to_reference.high is None:
        return psnr, psnr
    reference = psnr + to_reference.mean
    return reference - to_reference.high, reference - to_reference.low


def draw_crops(
    path: Path, benchmarks: Sequence[Benchmark], results: Mapping[str, Mapping[str, tuple[Scores, Mapping[str, Path]]]]
) -> bool:
    """Draws the crop where bicubic interpolation fails most, of an image of each of the first benchmarks.

    A row shows the LR image, each method, and the HR image.

    Args:
        path: PNG to write.
        benchmarks: Benchmarks.
        results: Scores and files by method and benchmark.

    Returns:
        False if there are no results, so that there is nothing to draw.
    """
    chosen = []
    for benchmark in benchmarks:
        scored = {key for of_method in results.values() for key in of_method.get(benchmark.name, ({}, {}))[0]}
        if scored:
            chosen.append((benchmark, scored))
    if not chosen:
        return False
    columns = 2 + len(results)
    figure = Figure(figsize=(2.2 * columns, 2.6 * len(chosen[:MAX_PANELS])), layout='constrained')
    all_axes = figure.subplots(min(len(chosen), MAX_PANELS), columns, squeeze=False)
    for axes, (benchmark, scored) in zip(all_axes, chosen):
        key, crop = _hardest_crop(benchmark, scored)
        gt_path, lr_path = benchmark.pairs[key]
        lr_crop = tuple(slice(side.start // benchmark.scale, side.stop // benchmark.scale) for side in crop)
        _show(axes[0], read_bgr(lr_path)[lr_crop], f'{benchmark.name} {key}\nLR')
        _show(axes[-1], read_bgr(gt_path)[crop], 'HR')
        for cell, (method, of_method) in zip(axes[1:-1], results.items()):
            if benchmark.name in of_method:
                scores, files = of_method[benchmark.name]
                psnr, ssim = scores[key]
                _show(cell, read_bgr(files[key])[crop], f'{method}\n{psnr:.2f} / {ssim:.4f}')
            else:
                cell.set_axis_off()
    _save(figure, path)
    return True


def _hardest_crop(benchmark: Benchmark, keys: Collection[str]) -> tuple[str, tuple[slice, slice]]:
    """Of some images, the one and the square of it in which the bicubic image of the LR differs most from the GT."""
    side = CROP_HR_PIXELS + CROP_LR_PIXELS * benchmark.scale
    found = {}
    for key, (gt_path, lr_path) in benchmark.pairs.items():
        if key in keys:
            found[key] = hardest_square(read_bgr(gt_path), read_bgr(lr_path), benchmark.scale, side)
    key = max(found, key=lambda key: found[key][0])
    return key, found[key][1]


def hardest_square(
    gt: NDArray[np.uint8], lr: NDArray[np.uint8], scale: int, side: int
) -> tuple[float, tuple[slice, slice]]:
    """The square of an image in which the bicubic image of the LR differs most from the GT.

    Args:
        gt: GT image in BGR.
        lr: LR image in BGR.
        scale: Scale.
        side: Height and width in HR pixels, or more than the image has.

    Returns:
        The mean squared error of Y there; its rows and columns, which begin at whole LR pixels.
    """
    height, width = gt.shape[:2]
    size = min(side, height, width)
    error = (to_y_channel(imresize(lr, scale)) - to_y_channel(gt)).astype(np.float64)[..., 0] ** 2
    means = cv2.boxFilter(error, -1, (size, size), anchor=(0, 0))[: height - size + 1, : width - size + 1]
    top, left = (int(start) // scale * scale for start in np.unravel_index(means.argmax(), means.shape))
    return float(means.max()), (slice(top, min(top + side, height)), slice(left, min(left + side, width)))


def _show(axes: object, bgr: NDArray[np.uint8], caption: str) -> None:
    axes.imshow(bgr[..., ::-1], interpolation='nearest')  # type: ignore[attr-defined]
    axes.set_xlabel(caption)  # type: ignore[attr-defined]
    axes.set_xticks([])  # type: ignore[attr-defined]
    axes.set_yticks([])  # type: ignore[attr-defined]


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with whole_file(path) as part:
        figure.savefig(part, dpi=110)

"""The figures and images of a comparison for its page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from srsenet_plugin.compare import board, pictures
from srsenet_plugin.compare.quality import Benchmark, Scores, read_bgr
from srsenet_plugin.compare.table import Row, published

EFFORT = 1  # of WebP, 0 to 6: OpenCV's needs ten times as long for 4 % less


def table_of(
    scale: int,
    protocol: str,
    rows: Sequence[Row],
    benchmarks: Sequence[Benchmark],
    results: Mapping[str, Mapping[str, tuple[Scores, Mapping[str, Path]]]],
    side: int,
    paper: bool,
) -> board.Table:
    """The table of one scale, for a page.

    Args:
        scale: Scale.
        protocol: Protocol of the comparison.
        rows: What was measured.
        benchmarks: Benchmarks.
        results: Scores and files by method and benchmark.
        side: Pixels of the square to show of each image, where bicubic interpolation fails most; 0 shows all.
        paper: Show Table I's figures.
    """
    table = board.Table(scale, protocol)
    for row in rows:
        table1 = published(scale).get(row.method, {}) if paper else {}
        table.rows.append(asdict(row) | {'label': row.method, 'table1': table1})
    for benchmark in benchmarks:
        digests = [row.digests for row in rows if benchmark.name in row.images]
        if not digests:
            continue
        of_images = {kind: digests[0][f'{benchmark.name} {kind}'] for kind in ('HR', 'LR')}
        table.benchmarks[benchmark.name] = {'name': benchmark.name, **of_images}
        for image, (gt_path, lr_path) in benchmark.pairs.items():
            files = {board.HR: gt_path}
            for method, of_method in results.items():
                scores, images = of_method.get(benchmark.name, ({}, {}))
                if image in scores:
                    files[method] = images[image]
            if len(files) > 1:
                box = _box(gt_path, lr_path, scale, side)
                table.shots.append(board.Shot(benchmark.name, image, box, partial(_load, files, box)))
    return table


def _box(gt_path: Path, lr_path: Path, scale: int, side: int) -> tuple[int, int, int, int]:
    gt = read_bgr(gt_path)
    if not side:
        height, width = gt.shape[:2]
        return 0, 0, height, width
    _, (rows, columns) = pictures.hardest_square(gt, read_bgr(lr_path), scale, side)
    return rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start


def _load(files: Mapping[str, Path], box: tuple[int, int, int, int]) -> board.Pictures:
    top, left, height, width = box
    found = {}
    for label, path in files.items():
        square = read_bgr(path)[top : top + height, left : left + width, ::-1]
        webp = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(square)).save(webp, 'webp', lossless=True, quality=0, method=EFFORT)
        found[label] = base64.b64encode(webp.getvalue()).decode()
    return found

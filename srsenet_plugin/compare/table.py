"""The comparison as a table: on the terminal, in Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from srsenet_plugin.compare.cost import Complexity, SquareCost
from srsenet_plugin.compare.significance import Difference, Figures
from srsenet_plugin.data.whole_files import whole_file


@dataclass
class Row:
    """What is known of one method at one scale.

    Attributes:
        method: Its name.
        complexity: None for finished images.
        latency: Seconds for an output of 1280x720.
        memory: Bytes at the peak, for the same.
        scores: Mean PSNR (dB) and SSIM by benchmark.
        rgb_scores: The same on RGB, where a network for RGB is compared.
        weights: Whose its weights are: ``published`` by its authors, ``the package's``, or ``given``; or ``none
            needed``, or ``finished images``; empty if there are none.
        protocol: How it was evaluated: one of :data:`protocols.PROTOCOLS`.
        images: PSNR and SSIM of each image, by benchmark and name.
        square: What an RGB image of a square of LR pixels costs, if that was asked for.
        machine: Where time and memory were measured; empty if they were not.
        digests: Of ``weights`` (of finished images: the files), ``code``, and the images of each benchmark
            (``Set5 HR``, ``Set5 LR``), whose values count and not their files.
        notes: Why scores are empty although weights were given, and which images they leave out.
        problems: What could not be measured, and why.
    """

    method: str
    complexity: Complexity | None = None
    latency: float | None = None
    memory: float | None = None
    scores: dict[str, tuple[float, float]] = field(default_factory=dict)
    rgb_scores: dict[str, tuple[float, float]] = field(default_factory=dict)
    weights: str = ''
    protocol: str = 'uint8'
    images: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    square: SquareCost | None = None
    machine: str = ''
    digests: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@cache
def published(scale: int) -> dict[str, dict[str, tuple[float, float]]]:
    """PSNR and SSIM of Table I by method and benchmark."""
    figures: dict[str, dict[str, tuple[float, float]]] = {}
    for line in table1():
        if int(line['scale']) == scale:
            figures.setdefault(line['method'], {})[line['benchmark']] = (float(line['psnr']), float(line['ssim']))
    return figures


def table1() -> list[dict[str, str]]:
    """The lines of table1.csv, which names its source: method, scale, layers, benchmark, psnr and ssim."""
    text = resources.files(__package__).joinpath('table1.csv').read_text(encoding='utf-8')
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith('#')))


COSTS = ('params (k)', 'layers', 'MACs (G)', 'activations (M)')
MEASURES = ('time (ms)', 'memory (MB)')
SQUARE = ('MACs (G)', 'activations (M)', 'time (ms)')


def cells(
    rows: Sequence[Row], benchmarks: Sequence[str], scale: int, paper: bool, protocols: bool = False
) -> list[list[str]]:
    """The table as text, its header first.

    Args:
        rows: What was measured.
        benchmarks: Benchmarks, in order.
        scale: Scale.
        paper: Add Table I's figures below those measured, and the differences; and its other methods, in its order.
        protocols: Add a column of protocols.

    Returns:
        Rows of equal length. What is not known is empty; nothing timed, no columns for it.
    """
    timed = any(row.latency is not None or row.memory is not None for row in rows)
    sides = sorted({row.square.side for row in rows if row.square})
    measures = [*(MEASURES if timed else ()), *(f'{side}x{side} RGB: {name}' for side in sides for name in SQUARE)]
    columns = ['weights', *(['protocol'] if protocols else []), *COSTS, *measures]
    on_rgb = [name for name in benchmarks if any(name in row.rgb_scores for row in rows)]
    heads = (*(f'{name} PSNR / SSIM' for name in benchmarks), *(f'{name} on RGB' for name in on_rgb))
    table = [[f'x{scale}', *columns, *heads]]
    theirs = published(scale) if paper and benchmarks else {}
    of_method = {row.method: row for row in rows}
    for method in dict.fromkeys([*theirs, *of_method]):
        row, figures = of_method.get(method), theirs.get(method)
        if row and (row.complexity or row.scores or row.problems):
            protocol = [row.protocol if row.scores else ''] if protocols else []
            costs = [*_counts(row), *(_measures(row) if timed else []), *(_square(row) if sides else [])]
            scores = [_score(row.scores.get(name)) for name in benchmarks]
            scores += [_score(row.rgb_scores.get(name)) for name in on_rgb]
            table.append([method, row.weights, *protocol, *costs, *scores])
        empty = [''] * len(columns)
        if figures:
            scores = [_score(figures.get(name), 2, 3) for name in benchmarks] + [''] * len(on_rgb)
            table.append([f'{method}, Table I', *empty, *scores])
        if row and figures:
            differences = [_difference(row.scores.get(name), figures.get(name)) for name in benchmarks]
            if any(differences):
                table.append([f'{method}, difference', *empty, *differences, *([''] * len(on_rgb))])
    return table


def _counts(row: Row) -> list[str]:
    if not row.complexity:
        return [''] * len(COSTS)
    params, layers, macs, activations = asdict(row.complexity).values()
    return [f'{params / 1e3:.1f}', str(layers), _billions(macs), _millions(activations)]


def _measures(row: Row) -> list[str]:
    return [_milliseconds(row.latency), '' if row.memory is None else f'{row.memory / 1e6:.0f}']


def _square(row: Row) -> list[str]:
    if not row.square:
        return [''] * len(SQUARE)
    return [_billions(row.square.macs), _millions(row.square.activations), _milliseconds(row.square.latency)]


def _billions(count: int) -> str:
    return f'{count / 1e9:.1f}'


def _millions(count: int) -> str:
    return f'{count / 1e6:.1f}'


def _milliseconds(seconds: float | None) -> str:
    return '' if seconds is None else f'{seconds * 1e3:.0f}'


def _score(score: tuple[float, float] | None, psnr_digits: int = 2, ssim_digits: int = 4) -> str:
    return '' if score is None else f'{score[0]:.{psnr_digits}f} / {score[1]:.{ssim_digits}f}'


def _difference(ours: tuple[float, float] | None, theirs: tuple[float, float] | None) -> str:
    if ours is None or theirs is None:
        return ''
    psnr, ssim = (round(a - b, digits) + 0.0 for a, b, digits in zip(ours, theirs, (2, 3)))  # + 0.0: no -0.00
    return f'{psnr:+.2f} / {ssim:+.3f}'


def print_table(table: Sequence[Sequence[str]], title: str) -> None:
    """Prints it, folded to a terminal's width, or as wide as it is to a file."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)
    drawn = Table(title=title, title_justify='left')
    for i, head in enumerate(table[0]):
        drawn.add_column(head, justify='right' if i else 'left', no_wrap=i == 0)
    for row in table[1:]:
        drawn.add_row(*row, style='dim' if row[0].endswith((', Table I', ', difference')) else None)
    console.print(drawn)


def markdown(table: Sequence[Sequence[str]]) -> str:
    """The table as Markdown."""
    lines = [table[0], ['---'] * len(table[0]), *table[1:]]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def as_csv(rows: Mapping[int, Sequence[Row]]) -> str:
    """A line for each scale, method and benchmark, unrounded; benchmark and scores are empty where there are none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    costs = ['params', 'layers', 'macs', 'activations', 'latency_s', 'memory_bytes']
    costs += ['square_side', 'square_macs', 'square_activations', 'square_latency_s', 'machine']
    scored = ['benchmark', 'psnr', 'ssim', 'rgb_psnr', 'rgb_ssim', 'table1_psnr', 'table1_ssim']
    writer.writerow(['scale', 'method', 'weights', 'protocol', *costs, *scored, 'problems'])
    for scale, of_scale in rows.items():
        for row in of_scale:
            counts = list(asdict(row.complexity).values()) if row.complexity else [None] * 4
            scores: Mapping[str, tuple[float | None, float | None]] = row.scores or {'': (None, None)}
            for name, score in scores.items():
                theirs = published(scale).get(row.method, {}).get(name, (None, None))
                writer.writerow(
                    [
                        scale,
                        row.method,
                        row.weights,
                        row.protocol,
                        *counts,
                        row.latency,
                        row.memory,
                        *(asdict(row.square).values() if row.square else [None] * 4),
                        row.machine,
                        name,
                        *score,
                        *row.rgb_scores.get(name, (None, None)),
                        *theirs,
                        '; '.join(row.problems),
                    ]
                )
    return text.getvalue()


def images_csv(rows: Mapping[int, Sequence[Row]]) -> str:
    """A line for each scale, method, benchmark and image, unrounded."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['scale', 'method', 'protocol', 'benchmark', 'image', 'psnr', 'ssim'])
    for scale, of_scale in rows.items():
        for row in of_scale:
            for benchmark, scores in row.images.items():
                for image, score in scores.items():
                    writer.writerow([scale, row.method, row.protocol, benchmark, image, *score])
    return text.getvalue()


def as_json(rows: Mapping[int, Sequence[Row]], differences: Mapping[int, Sequence[Difference]]) -> str:
    """The same, nested: scale, method, values; and each row's differences from the others, by benchmark and method."""
    nested: dict[int, dict[str, dict[str, Any]]] = {}
    for scale, of_scale in rows.items():
        nested[scale] = {
            row.method: asdict(row) | {'table1': published(scale).get(row.method, {}), 'differences': {}}
            for row in of_scale
        }
        for found in differences[scale]:
            own = nested[scale][found.first]['differences'].setdefault(found.benchmark, {})
            own[found.second] = {'images': found.images, 'mean': found.mean, 'low': found.low, 'high': found.high}
    return json.dumps(nested, indent=2)


def by_image(rows: Sequence[Row]) -> Figures:
    """What :mod:`srsenet_plugin.compare.significance` compares."""
    return {row.method: row.images for row in rows}


def write_text(path: Path, text: str) -> None:
    """Writes a file, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding='utf-8')

"""The user's view of a training: a progress bar, ``train_log.csv`` and ``curves.png``."""

from __future__ import annotations

import csv
import gc
import logging
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from basicsr.utils import get_root_logger
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from srsenet_plugin.data.whole_files import whole_file

HEADER = ['iter', 'name', 'value']


class TrainingLog:
    """Writes ``train_log.csv``, a value a line, and draws ``curves.png`` of it; on a terminal there is a progress bar.

    Args:
        folder: The experiment's folder.
        total_iter: Iterations of the whole training.
    """

    def __init__(self, folder: Path, total_iter: int) -> None:
        self._csv = folder / 'train_log.csv'
        self._picture = folder / 'curves.png'
        self._terminal = ExitStack()
        self._bar = tqdm(total=total_iter, unit='it', dynamic_ncols=True, disable=not sys.stderr.isatty())
        if not self._bar.disable:
            self._terminal.enter_context(logging_redirect_tqdm([logging.getLogger('basicsr')]))

    def resume(self, iteration: int, without: Sequence[str]) -> None:
        """Goes on after an iteration: drops later values, and its values of some datasets."""
        self._bar.update(iteration)
        redone = [(str(iteration), dataset) for dataset in without]
        rows = [
            row
            for row in self._rows()
            if int(row[0]) <= iteration and (row[0], row[1].rpartition('/')[0]) not in redone
        ]
        with whole_file(self._csv) as part, part.open('w', newline='', encoding='utf-8') as file:
            csv.writer(file).writerows([HEADER, *rows])

    def step(self) -> None:
        """Counts an iteration."""
        self._bar.update()

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """Writes values of an iteration."""
        new = not self._csv.exists()
        with _unless_the_disk_is_full(), self._csv.open('a', newline='', encoding='utf-8') as file:
            csv.writer(file).writerows([*([HEADER] if new else []), *((iteration, *item) for item in values.items())])
        if not self._bar.disable:
            self._bar.set_postfix({name: f'{value:.4g}' for name, value in values.items() if name.startswith('l_')})

    def draw(self) -> None:
        """Draws a panel for each loss and each metric, with a curve for each dataset."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        panels: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
        for iteration, name, value in self._rows():
            dataset, _, metric = name.rpartition('/')
            if (dataset or metric.startswith('l_')) and math.isfinite(float(value)):
                panels[metric][dataset].append((int(iteration), float(value)))
        if not panels:
            return
        gc.collect()  # the figure before: it refers to itself, and holds megabytes until Python looks
        figure = Figure(figsize=(5 * len(panels), 4), layout='constrained')
        FigureCanvasAgg(figure)
        for axes, (metric, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
            for dataset, points in curves.items():
                axes.plot(*zip(*points), label=dataset or None)
            axes.set_xlabel('iteration')
            axes.set_ylabel({'psnr': 'PSNR (dB)', 'ssim': 'SSIM'}.get(metric, metric))
            axes.grid(alpha=0.3)
            if all(curves):
                axes.legend()
        with _unless_the_disk_is_full(), whole_file(self._picture) as part:
            figure.savefig(part, dpi=100)

    def close(self) -> None:
        """Ends the progress bar."""
        self._bar.close()
        self._terminal.close()

    def _rows(self) -> list[list[str]]:
        try:
            with self._csv.open(newline='', encoding='utf-8') as file:
                rows = list(csv.reader(file))[1:]
        except FileNotFoundError:
            return []
        return [row for row in rows if len(row) == len(HEADER)]  # the last line of a run that was killed may be cut off


@contextmanager
def _unless_the_disk_is_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        get_root_logger().warning(f'The training log could not be written ({error}). Training goes on.')

"""Compares methods at several scales, and writes tables and pictures."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import basicsr
import torch
from torch import nn
from tqdm import tqdm

from srsenet_plugin.compare import cost, pictures, quality, table
from srsenet_plugin.compare.networks import Network, find_network, import_projects, name_of
from srsenet_plugin.compare.quality import Benchmark, Scores
from srsenet_plugin.compare.table import Row
from srsenet_plugin.machine.devices import find_device
from srsenet_plugin.weights import pretrained

Results = dict[str, dict[str, tuple[Scores, Mapping[str, Path]]]]
"""Scores and files of the images, by method and benchmark."""


@dataclass(frozen=True)
class Comparison:
    """What to compare.

    Attributes:
        archs: Names of registered architectures, or option files.
        scales: Scales.
        benchmarks: Folder of what ``srsenet prepare benchmark`` has made, or None for no scores.
        weights: Files of weights by name; ``{scale}`` in them stands for the scale.
        results: Folders of finished images by name; the same.
        out: Folder for tables, pictures and upscaled images. What is in it already is not computed again.
        timing: Measure time and memory.
        paper: Show Table I's figures too.
        device: ``auto``, or a device of torch's.
        protocol: How networks are evaluated: one of :data:`quality.PROTOCOLS`.
        projects: Modules to import, such as ``my_project.archs``, because they register architectures.
    """

    archs: Sequence[str]
    scales: Sequence[int]
    benchmarks: Path | None
    weights: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    out: Path = Path('results/compare')
    timing: bool = True
    paper: bool = False
    device: str = 'auto'
    protocol: str = 'uint8'
    projects: Sequence[str] = ()


def compare(comparison: Comparison) -> dict[int, list[Row]]:
    """Compares, prints a table for each scale, and writes tables and pictures.

    Returns:
        What was measured, by scale. What could not be is in the ``problems`` of its row.

    Raises:
        ValueError: There is nothing to compare, no benchmark, or no such device; a name is there twice, or is given
            weights and not compared; a project cannot be imported.
        OSError: A file cannot be written.
    """
    archs = [name_of(spec) for spec in comparison.archs]
    names = [*archs, *comparison.results]
    if not names:
        raise ValueError('there is nothing to compare: name architectures or folders of finished images.')
    if len(set(names)) < len(names):
        raise ValueError(f'a name can be compared only once: {", ".join(names)}.')
    unknown = comparison.weights.keys() - set(archs)
    if unknown:
        raise ValueError(f'there are weights of {", ".join(sorted(unknown))}, but no such architecture is compared.')
    device = find_device(comparison.device, ('cuda', 'cpu'))  # where time and memory are measured
    import_projects(comparison.projects)
    benchmarks = {
        scale: quality.find_benchmarks(comparison.benchmarks, scale) if comparison.benchmarks else []
        for scale in comparison.scales
    }
    logging.getLogger('basicsr').setLevel(logging.WARNING)  # it announces each network
    comparison.out.mkdir(parents=True, exist_ok=True)
    rows: dict[int, list[Row]] = {}
    for scale in comparison.scales:
        rows[scale], results = _compare_scale(comparison, scale, benchmarks[scale], device)
        _write(comparison, scale, rows[scale], results, benchmarks[scale])
    table.write_text(comparison.out / 'compare.csv', table.as_csv(rows))
    table.write_text(comparison.out / 'compare.json', table.as_json(rows))
    return rows


def _compare_scale(
    comparison: Comparison, scale: int, benchmarks: Sequence[Benchmark], device: torch.device
) -> tuple[list[Row], Results]:
    rows: list[Row] = []
    results: Results = {}
    nets: dict[str, tuple[nn.Module, int]] = {}
    for spec in tqdm(comparison.archs, f'networks x{scale}', unit='network'):
        row = Row(name_of(spec), protocol=comparison.protocol)
        rows.append(row)
        try:
            network = find_network(spec, scale, _weights_file(comparison, row.method, scale))
            net = network.build()
            folder = comparison.out / f'x{scale}' / row.method
            row.complexity = _complexity(network, net, scale, folder)
            if comparison.timing:
                row.memory = cost.peak_memory(network.options, network.channels, scale, device, comparison.projects)
                nets[row.method] = net, network.channels
            if network.no_weights:
                row.notes.append(network.no_weights)
            elif network.weights is not None or not row.complexity.params:
                results[row.method] = _evaluate(network, net.to(device), benchmarks, folder, comparison.protocol)
        except Exception as error:  # architectures are anybody's code
            row.problems.append(f'{type(error).__name__}: {error}'.partition('\n')[0].removeprefix('ValueError: '))
    for name, folder_name in comparison.results.items():
        row = Row(name, protocol=comparison.protocol)
        rows.append(row)
        try:
            results[name] = _read_results(folder_name.replace('{scale}', str(scale)), benchmarks, comparison.protocol)
        except (ValueError, OSError) as error:
            row.problems.append(str(error))
    for row in rows:
        for benchmark in benchmarks:
            scores, _ = results.get(row.method, {}).get(benchmark.name, (None, None))
            if scores:
                row.scores[benchmark.name] = quality.means(scores)
            if scores is not None and scores.keys() != benchmark.pairs.keys():
                row.notes.append(_left_out(benchmark, scores))
    times, problems = cost.latencies(nets, scale, device) if nets else ({}, {})
    for row in rows:
        row.latency = times.get(row.method)
        if row.method in problems:
            row.problems.append(f'time: {problems[row.method]}')
    return rows, results


def _left_out(benchmark: Benchmark, scores: Scores) -> str:
    side = quality.smallest_side(benchmark.scale)
    names = ', '.join(name for name in benchmark.pairs if name not in scores)
    return f'{benchmark.name}: the means are without {names}, smaller than the {side}x{side} pixels that a score needs'


def _weights_file(comparison: Comparison, name: str, scale: int) -> Path | None:
    if name in comparison.weights:
        return Path(comparison.weights[name].replace('{scale}', str(scale)))
    shipped = f'srsenet_x{scale}'
    return pretrained.weights_file(shipped) if name == 'SrSENet' and shipped in pretrained.names() else None


def _complexity(network: Network, net: nn.Module, scale: int, folder: Path) -> cost.Complexity:
    key = f'{network.digest()} {_code_version()}'
    stored = folder / 'complexity.json'
    try:
        content = json.loads(stored.read_text(encoding='utf-8'))
        if content.pop('key') == key:
            return cost.Complexity(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not there, or damaged
    found = cost.complexity(net, network.channels, scale)
    folder.mkdir(parents=True, exist_ok=True)
    table.write_text(stored, json.dumps({'key': key} | asdict(found)))
    return found


def _evaluate(
    network: Network, net: nn.Module, benchmarks: Sequence[Benchmark], folder: Path, protocol: str
) -> dict[str, tuple[Scores, Mapping[str, Path]]]:
    found: dict[str, tuple[Scores, Mapping[str, Path]]] = {}
    for benchmark in benchmarks:
        key = f'{network.digest()} {benchmark.digest()} {_code_version()}'
        place = folder / benchmark.name
        label = f'{network.name} {benchmark.name}'
        scores = quality.evaluate_network(net, network.channels, key, benchmark, place, label, protocol)
        found[benchmark.name] = scores, {name: place / f'{name}.png' for name in scores}
    return found


@functools.cache
def _code_version() -> str:
    """Changes with the code that upscales, scores and counts."""
    package = Path(__file__).parents[1]
    files = [
        *sorted(package.glob('archs/*.py')),
        package / 'data/imresize.py',
        Path(quality.__file__),
        Path(cost.__file__),
    ]
    code = hashlib.sha256(b''.join(file.read_bytes() for file in files))
    return f'{basicsr.__version__} {torch.__version__} {code.hexdigest()}'


def _read_results(
    place: str, benchmarks: Sequence[Benchmark], protocol: str
) -> dict[str, tuple[Scores, Mapping[str, Path]]]:
    found: dict[str, tuple[Scores, Mapping[str, Path]]] = {}
    for benchmark in benchmarks:
        folder = Path(place.replace('{benchmark}', benchmark.name))
        if folder.is_dir():
            result = quality.evaluate_images(folder, benchmark, protocol)
            if result:
                found[benchmark.name] = result
        elif '{benchmark}' not in place:
            raise ValueError(f'{folder} is no folder.')
    if not found:
        names = ' or '.join(benchmark.name for benchmark in benchmarks)
        raise ValueError(f'{place} holds no folder {names}, nor visualization with one of them, nor the images of one.')
    return found


def _write(
    comparison: Comparison, scale: int, rows: Sequence[Row], results: Results, benchmarks: Sequence[Benchmark]
) -> None:
    names = [benchmark.name for benchmark in benchmarks]
    cells = table.cells(rows, names, scale, comparison.paper)
    protocol = '' if comparison.protocol == 'uint8' else f', protocol {comparison.protocol}'
    table.print_table(cells, f'x{scale}: costs for 1280x720, PSNR (dB) and SSIM on Y{protocol}')
    table.write_text(comparison.out / f'compare_x{scale}.md', table.markdown(cells))
    bubbles, crops = comparison.out / f'psnr_time_x{scale}.png', comparison.out / f'crops_x{scale}.png'
    if not pictures.draw_psnr_against_time(bubbles, rows, names, scale):
        bubbles.unlink(missing_ok=True)  # an earlier run's
    if not pictures.draw_crops(crops, benchmarks, results):
        crops.unlink(missing_ok=True)

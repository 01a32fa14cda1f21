"""Compares methods at several scales, and writes tables and pictures."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import basicsr
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn
from tqdm import tqdm

from srsenet_plugin.compare import board, cost, digests, pictures, protocols, quality, shots, significance, table
from srsenet_plugin.compare.model_files import ModelFile, read_model
from srsenet_plugin.compare.networks import Network, find_network, import_projects, name_of
from srsenet_plugin.compare.protocols import AUTHORS_PROTOCOLS, PROTOCOLS, RGB, Protocol
from srsenet_plugin.compare.quality import Benchmark, Scores
from srsenet_plugin.compare.table import Row
from srsenet_plugin.machine.devices import describe, find_device
from srsenet_plugin.weights import authors_files, pretrained

Results = dict[str, dict[str, tuple[Scores, Mapping[str, Path]]]]
"""Scores and files of the images, by method and benchmark."""

NOT_FETCHED = "the authors' weights have not been fetched"
"""The note in a row that could have scores."""


@dataclass(frozen=True)
class Comparison:
    """What to compare.

    Attributes:
        archs: Names of registered architectures, or option files. With ``paper``, none stands for those of Table I
            except those whose finished images are there.
        scales: Scales.
        benchmarks: Folder of what ``srsenet prepare benchmark`` has made, or None for no scores.
        models: Files of networks by name, which :func:`model_files.read_model` reads; the same as for ``weights``.
        weights: Files of weights by name; ``{scale}`` in them stands for the scale. Architectures of this plugin have
            the package's weights without, or their authors', if they are fetched.
        results: Folders of finished images by name; the same.
        out: Folder for tables, pictures and upscaled images. What is in it already is not computed again.
        timing: Measure time and memory.
        square: Count and time for an RGB image of so many LR pixels a side too.
        paper: Show Table I's figures too.
        device: ``auto``, or a device of torch's.
        protocol: How networks are evaluated: one of :data:`protocols.PROTOCOLS`, or ``authors`` for that of
            each method's authors.
        projects: Modules to import, such as ``my_project.archs``, because they register architectures.
        html: Write a page with whole images (0), or with squares of so many pixels a side; None for no page.
    """

    archs: Sequence[str]
    scales: Sequence[int]
    benchmarks: Path | None
    weights: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    out: Path = Path('results/compare')
    timing: bool = True
    square: int | None = None
    paper: bool = False
    device: str = 'auto'
    protocol: str = 'uint8'
    projects: Sequence[str] = ()
    html: int | None = None


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
    names = [*archs, *comparison.models, *comparison.results]
    if not archs and comparison.paper:
        archs = [method for scale in comparison.scales for method in _archs_of_table1(scale)]
    if not archs and not names:
        raise ValueError(
            'there is nothing to compare: name architectures, files of networks, or folders of finished images.'
        )
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
    results: dict[int, Results] = {}
    for scale in comparison.scales:
        rows[scale], results[scale] = _compare_scale(comparison, scale, benchmarks[scale], device)
        _write(comparison, scale, rows[scale], results[scale], benchmarks[scale])
    differences = {
        scale: significance.all_pairs(table.by_image(rows[scale]), [benchmark.name for benchmark in benchmarks[scale]])
        for scale in rows
    }
    table.write_text(comparison.out / 'compare.csv', table.as_csv(rows))
    table.write_text(comparison.out / 'compare_images.csv', table.images_csv(rows))
    table.write_text(comparison.out / 'compare.json', table.as_json(rows, differences))
    if comparison.html is not None:
        tables = [
            shots.table_of(
                scale,
                comparison.protocol,
                rows[scale],
                benchmarks[scale],
                results[scale],
                comparison.html,
                comparison.paper,
            )
            for scale in rows
        ]
        board.write(comparison.out / board.PAGE, tables)
    return rows


def _compare_scale(
    comparison: Comparison, scale: int, benchmarks: Sequence[Benchmark], device: torch.device
) -> tuple[list[Row], Results]:
    rows: list[Row] = []
    results: Results = {}
    nets: dict[str, tuple[nn.Module, int]] = {}
    colour_nets: dict[str, tuple[nn.Module, int]] = {}
    takes_rgb = False  # a network among them
    finished = [
        name
        for name, place in comparison.results.items()
        if _has_results(place, scale, benchmarks)
        or not any(_has_results(place, other, benchmarks) for other in comparison.scales)
    ]
    archs = comparison.archs
    if not archs and comparison.paper:
        archs = [arch for arch in _archs_of_table1(scale) if arch not in finished]
    for spec in tqdm(archs, f'networks x{scale}', unit='network', disable=not archs):
        row = Row(name_of(spec), protocol=_protocol(comparison, name_of(spec)))
        rows.append(row)
        try:
            weights_file, weights = find_weights(comparison.weights, spec, scale)
            network = find_network(spec, scale, weights_file)
            net = network.build()
            folder = comparison.out / f'x{scale}' / row.method
            row.complexity = _complexity(network, net, network.channels, scale, folder)
            if comparison.square:
                row.square, colour_nets[row.method] = _square(network, net, scale, folder, comparison.square)
            if network.weights is not None:
                row.digests['weights'] = digests.weights_digest(network.weights)
            if comparison.timing:
                row.memory = cost.peak_memory(network.options, network.channels, scale, device, comparison.projects)
                nets[row.method] = net, network.channels
            if network.no_weights:
                row.notes.append(network.no_weights)
            elif network.weights is not None or not row.complexity.params:
                row.weights = weights or 'none needed'
                results[row.method] = _evaluate(network, net.to(device), benchmarks, folder, PROTOCOLS[row.protocol])
                takes_rgb |= network.channels == 3 and network.weights is not None
            elif benchmarks and _is_own(spec) and authors_files.find(spec, scale):
                row.notes.append(NOT_FETCHED)
        except Exception as error:  # architectures are anybody's code
            row.problems.append(f'{type(error).__name__}: {error}'.partition('\n')[0].removeprefix('ValueError: '))
    for name, file in comparison.models.items():
        row = Row(name, protocol=_protocol(comparison, name))
        rows.append(row)
        try:
            model = read_model(Path(file.replace('{scale}', str(scale))), name)
            if model.scale != scale:
                row.notes.append(f'{model.file} is for x{model.scale}')
                continue
            row.weights = 'given'
            folder = comparison.out / f'x{scale}' / name
            row.digests['weights'] = model.digest()
            if model.runs_in_torch:
                row.complexity = _complexity(model, model.net, model.channels, scale, folder)
                if comparison.square:
                    row.square, colour_nets[name] = _square(model, model.net, scale, folder, comparison.square)
            if comparison.timing and (model.runs_in_torch or device.type == 'cpu'):
                nets[name] = model.net, model.channels
            results[name] = _evaluate(model, model.net.to(device), benchmarks, folder, PROTOCOLS[row.protocol])
            takes_rgb |= model.channels == 3
        except Exception as error:  # architectures are anybody's code
            row.problems.append(f'{type(error).__name__}: {error}'.partition('\n')[0].removeprefix('ValueError: '))
    for name in comparison.results:
        if name not in finished and any(row.method == name for row in rows):
            continue
        row = Row(name, protocol=_protocol(comparison, name))
        rows.append(row)
        if name not in finished:
            row.notes.append('there are no finished images of this scale')
            continue
        try:
            results[name] = _read_results(comparison.results[name], scale, benchmarks, PROTOCOLS[row.protocol])
            row.weights = 'finished images'
            files = {f'{of} {image}': file for of, (_, found) in results[name].items() for image, file in found.items()}
            row.digests['weights'] = digests.images_digest(files)
        except (ValueError, OSError) as error:
            row.problems.append(str(error))
    if takes_rgb:
        _score_on_rgb(rows, results, benchmarks)
    benchmark_digests = {benchmark.name: digests.benchmark_digests(benchmark) for benchmark in benchmarks}
    for row in rows:
        row.digests['code'] = _code_version()
        for benchmark in benchmarks:
            scores, _ = results.get(row.method, {}).get(benchmark.name, (None, None))
            if scores:
                row.images[benchmark.name] = dict(scores)
                row.scores[benchmark.name] = quality.means(scores)
                row.digests |= benchmark_digests[benchmark.name]
            if scores is not None and scores.keys() != benchmark.pairs.keys():
                row.notes.append(_left_out(benchmark, scores, PROTOCOLS[row.protocol]))
    if comparison.timing:
        times, problems = cost.latencies(nets, scale, device)
        for row in rows:
            row.latency = times.get(row.method)
        times, problems_in_colour = cost.latencies(colour_nets, scale, device, comparison.square)
        for row in rows:
            if row.square and row.method in times:
                row.square = dataclasses.replace(row.square, latency=times[row.method])
            if row.latency is not None or row.memory is not None:
                row.machine = describe(device)
            if row.method in (failed := problems | problems_in_colour):
                row.problems.append(f'time: {failed[row.method]}')
    return rows, results


def _score_on_rgb(rows: Sequence[Row], results: Results, benchmarks: Sequence[Benchmark]) -> None:
    """Scores images on RGB besides, where they are in colour."""
    for row in rows:
        for benchmark in benchmarks:
            _, files = results.get(row.method, {}).get(benchmark.name, ({}, {}))
            if files and not quality.hold_y(files.values(), [gt for gt, _ in benchmark.pairs.values()]):
                row.rgb_scores[benchmark.name] = quality.means(quality.score_files(files, benchmark, RGB))


def _left_out(benchmark: Benchmark, scores: Scores, protocol: Protocol) -> str:
    side = protocol.smallest_side(benchmark.scale)
    names = ', '.join(name for name in benchmark.pairs if name not in scores)
    return f'{benchmark.name}: the means are without {names}, smaller than the {side}x{side} pixels that a score needs'


def _archs_of_table1(scale: int) -> list[str]:
    return [method for method in table.published(scale) if method in ARCH_REGISTRY]


def _protocol(comparison: Comparison, method: str) -> str:
    return AUTHORS_PROTOCOLS.get(method, 'uint8') if comparison.protocol == 'authors' else comparison.protocol


def find_weights(given: Mapping[str, str], spec: str, scale: int) -> tuple[Path | None, str]:
    """The file of weights for a network, and whose they are. A network of an option file has those that are given.

    Args:
        given: Files by the name of the network; ``{scale}`` in them stands for the scale.
        spec: Name of a registered architecture, or an option file.
        scale: Scale.
    """
    name = name_of(spec)
    if name in given:
        return Path(given[name].replace('{scale}', str(scale))), 'given'
    if _is_own(spec):
        shipped = f'{spec.lower()}_x{scale}'
        if shipped in pretrained.names():
            return pretrained.weights_file(shipped), "the package's"
        published = authors_files.find(spec, scale)
        if published and published.converted.exists():
            return published.converted, 'published'
    return None, ''


def _is_own(spec: str) -> bool:
    """Whether it is an architecture of this plugin, and not one of another project by the same name."""
    return spec in ARCH_REGISTRY and ARCH_REGISTRY.get(spec).__module__.startswith('srsenet_plugin.')


def _complexity(
    network: Network | ModelFile, net: nn.Module, channels: int, scale: int, folder: Path, side: int | None = None
) -> cost.Complexity:
    key = f'{network.digest()} {_code_version()}'
    stored = folder / (f'complexity_{side}.json' if side else 'complexity.json')
    try:
        content = json.loads(stored.read_text(encoding='utf-8'))
        if content.pop('key') == key:
            return cost.Complexity(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not there, or damaged
    found = cost.complexity(net, channels, scale, side)
    folder.mkdir(parents=True, exist_ok=True)
    table.write_text(stored, json.dumps({'key': key} | asdict(found)))
    return found


def _square(
    network: Network | ModelFile, net: nn.Module, scale: int, folder: Path, side: int
) -> tuple[cost.SquareCost, tuple[nn.Module, int]]:
    """The costs of a square RGB image without the time, and the network for RGB to be timed, with its channels."""
    in_colour = net if network.channels == 3 else cost.InColour(net, scale).eval()
    found = _complexity(network, in_colour, 3, scale, folder, side)
    return cost.SquareCost(side, found.macs, found.activations), (in_colour, 3)


def _evaluate(
    network: Network | ModelFile, net: nn.Module, benchmarks: Sequence[Benchmark], folder: Path, protocol: Protocol
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
        package / 'data/resizers.py',
        Path(quality.__file__),
        Path(protocols.__file__),
        Path(cost.__file__),
    ]
    code = hashlib.sha256(b''.join(file.read_bytes() for file in files))
    return f'{basicsr.__version__} {torch.__version__} {code.hexdigest()}'


def _results_folder(place: str, scale: int, benchmark: Benchmark) -> Path:
    return Path(place.replace('{scale}', str(scale)).replace('{benchmark}', benchmark.name))


def _has_results(place: str, scale: int, benchmarks: Sequence[Benchmark]) -> bool:
    return any(_results_folder(place, scale, benchmark).is_dir() for benchmark in benchmarks)


def _read_results(
    place: str, scale: int, benchmarks: Sequence[Benchmark], protocol: Protocol
) -> dict[str, tuple[Scores, Mapping[str, Path]]]:
    found: dict[str, tuple[Scores, Mapping[str, Path]]] = {}
    place = place.replace('{scale}', str(scale))
    for benchmark in benchmarks:
        folder = _results_folder(place, scale, benchmark)
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
    cells = table.cells(rows, names, scale, comparison.paper, protocols=bool(benchmarks))
    table.print_table(cells, f'x{scale}: costs for 1280x720, PSNR (dB) and SSIM by protocol')
    protocol_of = {row.method: row.protocol for row in rows}
    lines = [
        f'{found}' + '; their protocols differ' * (protocol_of[found.first] != protocol_of[found.second])
        for found in significance.with_reference(table.by_image(rows), names)
    ]
    print(*lines, sep='\n')
    text = table.markdown(cells) + ''.join(f'\n- {line}' for line in lines)
    table.write_text(comparison.out / f'compare_x{scale}.md', text)
    bubbles, crops = comparison.out / f'psnr_time_x{scale}.png', comparison.out / f'crops_x{scale}.png'
    if not pictures.draw_psnr_against_time(bubbles, rows, names, scale):
        bubbles.unlink(missing_ok=True)  # an earlier run's
    if not pictures.draw_crops(crops, benchmarks, results):
        crops.unlink(missing_ok=True)

"""The comparison as one HTML page that works from disk, and the merging of such pages.

A page holds all that it shows as JSON: figures of each image, digests, and the images themselves without loss. So pages
are what is merged. Beyond :data:`MOST_CHARACTERS` the images go to a folder beside the page.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from itertools import chain, count
from pathlib import Path
from typing import Any

from srsenet_plugin.compare import significance
from srsenet_plugin.data.whole_files import whole_file
from srsenet_plugin.version import __version__

PAGE = 'compare.html'
"""Name of the page in a folder of ``srsenet compare``."""

MOST_CHARACTERS = 12_000_000
"""Of images within a page."""

SAME_PSNR = 1e-3
"""Figures of one network from two machines differ by less, in dB."""

Pictures = dict[str, str]
"""Images by label of row, the HR image by :data:`HR`; WebP without loss, in base64."""

HR = ''


@dataclass
class Shot:
    """An image of a benchmark as all methods have made it.

    Attributes:
        benchmark: Its name in the table.
        image: Its name.
        box: What is shown of it: top, left, height and width in HR pixels.
        load: Gives the pictures.
    """

    benchmark: str
    image: str
    box: tuple[int, int, int, int]
    load: Callable[[], Pictures]


@dataclass
class Table:
    """Rows that can be compared: of one scale, protocol, and set of benchmarks.

    Attributes:
        scale: The scale.
        protocol: The protocol.
        benchmarks: Each one's ``name`` and the digests of its ``HR`` and ``LR`` images, by its name in the table.
        rows: What :class:`srsenet_plugin.compare.table.Row` holds, with a ``label`` of its own, and Table I's figures
            as ``table1``.
        shots: The images.
    """

    scale: int
    protocol: str
    benchmarks: dict[str, dict[str, str]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)


def write(path: Path, tables: Sequence[Table], notes: Sequence[str] = ()) -> None:
    """Writes a page; and a folder ``NAME_files`` beside it, if the images are too many for one file.

    Raises:
        OSError: It cannot be written.
    """
    folder = path.with_name(f'{path.stem}_files')
    written: set[str] = set()

    def put_away(pictures: str) -> dict[str, str]:
        name = hashlib.sha256(pictures.encode()).hexdigest()[:16]
        folder.mkdir(exist_ok=True)
        # A script, because a page that is opened from disk may read nothing else.
        _write_text(folder / f'{name}.js', f'board.arrived({json.dumps(name)}, {pictures});\n')
        written.add(name)
        return {'file': name}

    inside: list[tuple[dict[str, Any], str]] = []
    characters = 0
    content: dict[str, Any] = {'version': __version__, 'files': folder.name, 'notes': list(notes), 'tables': []}
    for table in tables:
        shots = []
        for shot in table.shots:
            entry: dict[str, Any] = {'benchmark': shot.benchmark, 'image': shot.image, 'box': shot.box}
            shots.append(entry)
            inside.append((entry, _json(shot.load())))
            characters += len(inside[-1][1])
            if characters > MOST_CHARACTERS:
                for old, pictures in inside:
                    old |= put_away(pictures)
                inside.clear()
        content['tables'].append(
            {
                'scale': table.scale,
                'protocol': table.protocol,
                'benchmarks': table.benchmarks,
                'rows': table.rows,
                'differences': significance.all_pairs(
                    {row['label']: row['images'] for row in table.rows}, table.benchmarks
                ),
                'shots': shots,
            }
        )
    for entry, pictures in inside:
        entry['pictures'] = json.loads(pictures)
    template = resources.files(__package__).joinpath('board.html').read_text(encoding='utf-8')
    _write_text(path, template.replace('{{board}}', _json(content)))
    for file in folder.glob('*.js'):  # an earlier page's
        if re.fullmatch(r'[0-9a-f]{16}', file.stem) and file.stem not in written:
            file.unlink()


def _json(content: object) -> str:
    """JSON within HTML: no tag begins in it, and numbers that JSON does not have are null."""
    return json.dumps(_finite(content), allow_nan=False, separators=(',', ':')).replace('<', '\\u003c')


def _finite(content: object) -> object:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding='utf-8')


def read(path: Path) -> list[Table]:
    """Reads the tables of a page.

    Raises:
        ValueError: It is no such page, or its folder is not beside it.
        OSError: It cannot be read.
    """
    text = path.read_text(encoding='utf-8', errors='replace')
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', text, re.DOTALL)
    try:
        content = json.loads(found[1]) if found else None
        folder = path.with_name(content['files'])  # type: ignore[index]
        return [_table(table, folder) for table in content['tables']]  # type: ignore[index]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f'{path} is no page that srsenet compare --html has written, or it is damaged.') from None


def _table(table: Mapping[str, Any], folder: Path) -> Table:
    shots = []
    for shot in table['shots']:
        load = partial(_read_pictures, folder / f'{shot["file"]}.js') if 'file' in shot else shot['pictures'].copy
        shots.append(Shot(shot['benchmark'], shot['image'], tuple(shot['box']), load))
    for row in table['rows']:
        row['images'] = {
            benchmark: {
                image: (math.inf if score[0] is None else score[0], score[1]) for image, score in scores.items()
            }
            for benchmark, scores in row['images'].items()
        }
    return Table(table['scale'], table['protocol'], table['benchmarks'], table['rows'], shots)


def _read_pictures(path: Path) -> Pictures:
    try:
        return json.loads(path.read_text(encoding='utf-8').partition(', ')[2].removesuffix(');\n'))
    except ValueError:
        raise ValueError(f'{path} is damaged.') from None


def merge_pages(places: Sequence[Path], out: Path) -> list[str]:
    """Merges pages into one.

    Args:
        places: Pages, or folders of ``srsenet compare`` that hold one.
        out: The page to write.

    Returns:
        What is kept apart, and why.

    Raises:
        ValueError: A place holds no page.
        OSError: A page cannot be read or written.
    """
    pages: dict[str, list[Table]] = {}
    for place in places:
        page = place / PAGE if place.is_dir() else place
        if not page.exists():
            raise ValueError(f'{page} is not there. Make it with: srsenet compare --html --out {page.parent} ...')
        name = page.parent.name if page.name == PAGE and page.parent.name else page.stem
        pages[name if name not in pages else str(place)] = read(page)
    tables, notes = merge(pages)
    write(out, tables, notes)
    return notes


def merge(pages: Mapping[str, Sequence[Table]]) -> tuple[list[Table], list[str]]:
    """Merges the tables of pages by name.

    Rows are in one table if scale and protocol are the same, and in one column if the images are. A row that two pages
    have, with the same weights and figures, becomes one unless two machines have timed it.

    Returns:
        Tables, and notes on what is kept apart and why.
    """
    merged: dict[tuple[int, str], Table] = {}
    notes: list[str] = []
    origins: dict[tuple[int, str], str] = {}
    for name, table in ((name, table) for name, tables in pages.items() for table in tables):
        place = table.scale, table.protocol
        for scale, protocol in merged:
            if scale == table.scale and protocol != table.protocol and place not in merged:
                notes.append(
                    f'x{scale}: {protocol} ({origins[scale, protocol]}) and {table.protocol} ({name}) are tables of '
                    'their own: their protocols differ.'
                )
        into = merged.setdefault(place, Table(*place))
        origins.setdefault(place, name)
        columns = {
            column: _add_column(into, column, table.benchmarks[column], name, notes) for column in table.benchmarks
        }
        labels = {row['label']: _add_row(into, row, columns, name, notes) for row in table.rows}
        for shot in table.shots:
            _add_shot(into, shot, columns, labels)
    return list(merged.values()), notes


def _add_column(into: Table, column: str, benchmark: dict[str, str], page: str, notes: list[str]) -> str:
    """Adds a benchmark if it is not there yet, and returns its name in the table."""
    same_name = {other: own for other, own in into.benchmarks.items() if own['name'] == benchmark['name']}
    for other, own in same_name.items():
        if own == benchmark:
            return other
    new = _free(column, into.benchmarks, page)
    for other, own in same_name.items():
        kinds = ' and '.join(kind for kind in ('HR', 'LR') if own[kind] != benchmark[kind])
        notes.append(f'x{into.scale}: {other} and {new} are columns of their own: their {kinds} images differ.')
    into.benchmarks[new] = benchmark
    return new


def _free(name: str, taken: Collection[str], page: str) -> str:
    """The name, or the first one that tells the page too and is not taken."""
    names = chain([name, f'{name} ({page})'], (f'{name} ({page}, {number})' for number in count(2)))
    return next(candidate for candidate in names if candidate not in taken)


def _add_row(into: Table, row: Mapping[str, Any], columns: Mapping[str, str], page: str, notes: list[str]) -> str:
    """Adds a row, or what it has to the one that is there already, and returns its label in the table."""
    renamed = {
        key: {columns[name]: value for name, value in row[key].items() if name in columns}
        for key in ('images', 'scores', 'rgb_scores', 'table1')
        if key in row
    }
    row = {**row, **renamed}
    same_method = [own for own in into.rows if own['method'] == row['method']]
    reasons = []
    for own in same_method:
        reason = _why_apart(own, row)
        if not reason:
            for key, value in row.items():
                if isinstance(value, dict) and isinstance(own.get(key), dict):
                    own[key] = own[key] | value
                elif value not in (None, '', []) and key != 'label':
                    own[key] = value
            return own['label']
        reasons.append((own['label'], reason))
    label = _free(row['label'], [own['label'] for own in into.rows], page)
    into.rows.append({**row, 'label': label})
    notes += [
        f'x{into.scale}: {other} and {label} are rows of their own: their {reason} differ.' for other, reason in reasons
    ]
    return label


def _why_apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Why two rows of one method are not one; empty if they are."""
    if one['digests'].get('weights') != other['digests'].get('weights'):
        return 'weights'
    if one['protocol'] != other['protocol']:
        return 'protocols'
    if one['complexity'] and other['complexity'] and one['complexity'] != other['complexity']:
        return 'networks'
    for benchmark, scores in one['images'].items():
        for image, (psnr, _) in scores.items():
            theirs = other['images'].get(benchmark, {}).get(image, (psnr, 0))[0]
            if not math.isclose(psnr, theirs, rel_tol=0, abs_tol=SAME_PSNR):
                same_code = one['digests'].get('code') == other['digests'].get('code')
                return 'figures' if same_code else 'figures and code'
    if one['machine'] and other['machine'] and one['machine'] != other['machine']:
        return 'machines'
    return ''


def _add_shot(into: Table, shot: Shot, columns: Mapping[str, str], labels: Mapping[str, str]) -> None:
    key = columns[shot.benchmark], shot.image, shot.box

    def load() -> Pictures:
        return {labels.get(label, label): picture for label, picture in shot.load().items()}

    for own in into.shots:
        if (own.benchmark, own.image, own.box) == key:
            own.load = _both(own.load, load)
            return
    into.shots.append(Shot(*key, load))


def _both(first: Callable[[], Pictures], second: Callable[[], Pictures]) -> Callable[[], Pictures]:
    return lambda: first() | second()

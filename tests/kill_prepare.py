"""Kills the preparation of data at many moments, and compares what the next run makes with an undisturbed one's.

python tests/kill_prepare.py SOURCE OUT pack|benchmark REPETITIONS

Importing takes seconds, so it is done once and each run is a fork.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from functools import partial
from pathlib import Path

from killing import dying, forked

from srsenet_plugin.data.whole_files import MARK
from srsenet_plugin.prepare import benchmark_folders, packing
from srsenet_plugin.prepare.lmdb_check import check_lmdb
from srsenet_plugin.prepare.lmdb_writer import LmdbWriter

SCALES = [2, 4]


def make(kind: str, source: Path, out: Path) -> None:
    if kind == 'pack':
        packing.pack_images(source, out, 'x', packing.Packing(SCALES, gt_size=32), workers=2)
    else:
        benchmark_folders.make_benchmark(source, out, SCALES, workers=2)


def check_what_is_there(out: Path, expected: dict[str, bytes]) -> None:
    """Under their final names there are complete LMDBs and folders only."""
    for folder in out.iterdir():
        if folder.suffix != f'.{MARK}':
            assert {name: value for name, value in expected.items() if name.startswith(f'{folder.name}/')} == {
                f'{folder.name}/{name}': value for name, value in content(folder).items()
            }
            if folder.suffix == '.lmdb':
                check_lmdb(folder)


def content(folder: Path) -> dict[str, bytes]:
    """All that is in a folder, empty folders included."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b''
        for path in sorted(folder.rglob('*'))
    }


def main() -> None:
    source, out, kind, repetitions = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    run = partial(make, kind, source, out)
    start = time.perf_counter()
    assert forked(run, os.devnull) == 0
    duration = time.perf_counter() - start
    expected = content(out)

    rng = random.Random(0)
    killed = 0
    places = [
        (owner, name, call)
        for owner, name, calls in (
            (Path, 'rename', 4),
            (Path, 'touch', 1),
            (LmdbWriter, 'put', 8),
            (shutil, 'rmtree', 1),
        )
        for call in range(1, calls + 1)
    ]
    for trial in range(len(places) + repetitions):
        shutil.rmtree(out)
        if trial < len(places):
            status = forked(partial(dying, *places[trial], run, after=True), os.devnull)
        else:
            status = forked(run, os.devnull, kill_after=rng.uniform(0, duration))
        killed += os.WIFSIGNALED(status)
        if out.exists():
            assert forked(partial(check_what_is_there, out, expected), os.devnull) == 0, trial
        assert forked(run, os.devnull) == 0, trial
        assert content(out) == expected, trial
    print(f'killed {killed} of {len(places) + repetitions}')


if __name__ == '__main__':
    main()

"""Kills a training at many moments, goes on with --auto_resume, and compares the end with an undisturbed training's.

python tests/kill_training.py KILLS ARGUMENTS-OF-TRAIN.PY, in a folder with options/ and datasets/

Importing takes seconds, so it is done once and each run is a fork.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from basicsr.train import train_pipeline
from killing import dying, forked

from srsenet_plugin.weights import files

LOG = 'log.txt'


def train(name: str, arguments: list[str]) -> None:
    sys.argv = ['basicsr/train.py', *arguments, f'name={name}']
    train_pipeline(os.getcwd())


def same(one: Any, other: Any) -> bool:
    """Whether two states have the same structure, values and bits."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def main() -> None:
    kills, arguments = int(sys.argv[1]), sys.argv[2:]
    start = time.perf_counter()
    assert forked(lambda: train('undisturbed', arguments), LOG) == 0, Path(LOG).read_text()[-4000:]
    duration = time.perf_counter() - start

    rng = random.Random(0)
    killed = trainings = 0
    while killed < kills:
        trainings += 1
        killed += kill_until_done(f'killed{trainings}', arguments, duration, rng)
        compare(Path('experiments/undisturbed'), Path(f'experiments/killed{trainings}'))
    print(f'killed {killed} times in {trainings} trainings')


def kill_until_done(name: str, arguments: list[str], duration: float, rng: random.Random) -> int:
    def run() -> None:
        train(name, ['--auto_resume', *arguments])

    for killed in itertools.count():
        call = rng.randint(1, 3)
        if killed % 4 == 0:  # while a file is being written
            status = forked(lambda call=call: dying(os, 'fsync', call, run, after=False), LOG)
        elif killed % 4 == 1:  # written, but not under its name
            status = forked(lambda call=call: dying(Path, 'replace', call, run, after=False), LOG)
        else:
            status = forked(run, LOG, kill_after=rng.uniform(0.2, 0.6) * duration)
        if not os.WIFSIGNALED(status):
            assert status == 0, Path(LOG).read_text()[-4000:]
            return killed
        states = sorted(
            Path('experiments', name, 'training_states').glob('[0-9]*.state'), key=lambda path: int(path.stem)
        )
        if not states:
            time.sleep(1.1)  # BasicSR archives an experiment without states under the second's name
        elif killed == 3:  # what a full disk or a crashed file system leaves
            states[-1].write_bytes(states[-1].read_bytes()[:-1000])
    raise AssertionError


def compare(undisturbed: Path, killed: Path) -> None:
    saved = [
        path.relative_to(undisturbed) for path in sorted(undisturbed.glob('*/*')) if path.suffix in ('.pth', '.state')
    ]
    assert saved
    for file in saved:
        assert same(files.load(undisturbed / file), files.load(killed / file)), file
    assert (undisturbed / 'train_log.csv').read_text() == (killed / 'train_log.csv').read_text()


if __name__ == '__main__':
    main()

"""Trains under faults, goes on with --auto_resume where they ended it, and compares the end with an undisturbed one's.

python tests/train_under_faults.py ARGUMENTS-OF-TRAIN.PY, in a folder with options/ and datasets/, as root

Importing takes seconds, so it is done once and each run is a fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kill_training import compare, train
from killing import forked

from srsenet_plugin.models.accelerated_sr_model import AcceleratedSRModel

LOG = 'log.txt'
HERE = Path.cwd()


CLONE_NEWNS = 0x00020000


def mounts_of_its_own() -> None:
    """What the process mounts from now on is for itself and its children."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), 'unshare')
    subprocess.run(['mount', '--make-rprivate', '/'], check=True)


def when_reached(iteration: int, act: Callable[[], Any]) -> None:
    """Acts in the midst of a training."""
    stock = AcceleratedSRModel.optimize_parameters

    def wrapped(self: AcceleratedSRModel, current_iter: int) -> None:
        if current_iter == iteration:
            act()
        stock(self, current_iter)

    AcceleratedSRModel.optimize_parameters = wrapped  # type: ignore[method-assign]


def clock_jumps() -> None:
    """By up to a day, forwards and backwards, at each look."""
    rng, stock = random.Random(0), time.time
    time.time = lambda: stock() + rng.uniform(-86400, 86400)


def data_disappear() -> list[str]:
    """The training data, while they are read."""
    copy = HERE / 'datasets_that_disappear'
    shutil.copytree('datasets/DIV2K', copy)
    when_reached(3, lambda: shutil.rmtree(copy))
    return [
        f'datasets:train:dataroot_gt={copy}/DIV2K_train_HR.lmdb',
        f'datasets:train:dataroot_lq={copy}/DIV2K_train_LR_bicubic_X4.lmdb',
    ]


def make_read_only(folder: str | Path) -> None:
    """For this process and its children, who may be root."""
    mounts_of_its_own()
    subprocess.run(['mount', '--bind', folder, folder], check=True)
    subprocess.run(['mount', '-o', 'remount,bind,ro', folder], check=True)


def home_and_permissions_are_missing() -> None:
    """In a folder with a long path of spaces and other letters; what is installed cannot be written to."""
    os.environ['HOME'] = '/no such folder'
    make_read_only(sysconfig.get_path('purelib'))
    part = ('Ünïcødé 超解像 ' * 9)[:100].strip()
    folder = HERE / part / part
    assert len(str(folder.relative_to(HERE))) >= 200
    folder.mkdir(parents=True)
    for name in ('options', 'datasets', 'basicsr'):
        (folder / name).symlink_to(HERE / name)
    os.chdir(folder)


def folder_is_read_only() -> None:
    make_read_only(HERE)
    os.chdir(HERE)  # which the working folder was not mounted over


def worker_is_killed() -> None:
    def kill() -> None:
        children = subprocess.run(['pgrep', '-P', str(os.getpid())], capture_output=True, text=True).stdout.split()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)

    when_reached(8, kill)


def shared_memory_is_short() -> None:
    mounts_of_its_own()
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=128k', 'none', '/dev/shm'], check=True)


ENDURED: tuple[Callable[[], list[str] | None], ...] = (clock_jumps, data_disappear, home_and_permissions_are_missing)
RESUMED: tuple[Callable[[], None], ...] = (worker_is_killed, shared_memory_is_short)
# Torch says which worker died, or only how its connection ended if it sees that first.
WORKER_DIED = re.compile('DataLoader worker|Connection(Reset|Refused)Error|BrokenPipeError|EOFError')


def main() -> None:
    arguments = sys.argv[1:]
    assert forked(lambda: train('undisturbed', arguments), LOG) == 0, Path(LOG).read_text()[-4000:]

    def under(fault: Callable[[], list[str] | None]) -> int:
        def run() -> None:
            train(fault.__name__, [*arguments, *(fault() or [])])

        return forked(run, str(HERE / LOG))

    for fault in ENDURED:
        assert under(fault) == 0, (fault.__name__, Path(LOG).read_text()[-4000:])
        found = next(HERE.glob(f'**/experiments/{fault.__name__}'))
        compare(Path('experiments/undisturbed'), found)
        print('endured:', fault.__name__)
    for fault in RESUMED:
        assert under(fault) != 0
        assert WORKER_DIED.search(Path(LOG).read_text()), Path(LOG).read_text()[-4000:]
        resume = ['--auto_resume', *arguments]
        assert forked(lambda resume=resume, fault=fault: train(fault.__name__, resume), LOG) == 0
        compare(Path('experiments/undisturbed'), Path('experiments', fault.__name__))
        print('resumed after:', fault.__name__)
    assert under(folder_is_read_only) != 0
    assert 'is not writable, and results go to' in Path(LOG).read_text(), Path(LOG).read_text()[-4000:]
    print('refused:', folder_is_read_only.__name__)


if __name__ == '__main__':
    main()

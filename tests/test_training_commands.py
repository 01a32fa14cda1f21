"""Trainings as commands: killed, stopped, under faults, and of two ranks."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
import torch
from conftest import run
from trainings import SHORT, TRAIN_X4, watched

from srsenet_plugin.weights import files

pytestmark = pytest.mark.slow


def test_killed_trainings_end_as_undisturbed_ones(workspace: Path) -> None:
    """At random moments, while files are written, and with a newest state that is damaged."""
    script = Path(__file__).with_name('kill_training.py')
    printed = run(
        [sys.executable, script, 10, *TRAIN_X4, *SHORT, 'train:total_iter=40', 'train:compile=false'], workspace
    )
    match = re.search(r'killed (\d+) times', printed)
    assert match
    assert int(match[1]) >= 10


@pytest.mark.skipif(sys.platform != 'linux' or os.geteuid() != 0, reason='needs to mount small file systems')
def test_trainings_under_faults_end_as_undisturbed_ones(workspace: Path) -> None:
    """Jumping clock, vanishing data, no home, read-only folders, long paths, a dead worker, short shared memory."""
    folder = workspace / 'faults'
    folder.mkdir()
    for name in ('options', 'datasets', 'basicsr'):
        (folder / name).symlink_to(workspace / name)
    script = Path(__file__).with_name('train_under_faults.py')
    printed = run([sys.executable, script, *TRAIN_X4, *SHORT, 'train:total_iter=12'], folder)
    assert len(re.findall('^endured: ', printed, re.MULTILINE)) == 3
    assert len(re.findall('^resumed after: ', printed, re.MULTILINE)) == 2
    assert len(re.findall('^refused: ', printed, re.MULTILINE)) == 1


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_stop(workspace: Path, number: int) -> None:
    name = f'signal{number}'
    command = ['python', 'basicsr/train.py', *TRAIN_X4, *SHORT, 'train:total_iter=100000', f'name={name}']
    status, printed = watched(command, workspace, name, 'iter:       4,', number)
    assert status == 128 + number, printed[-3000:]
    assert 'Traceback' not in printed
    last = int(printed.split('Stopped after iteration ')[1].split(',')[0])
    assert (workspace / f'experiments/{name}/training_states/{last}.state').exists()


TWO_RANKS = ['torchrun', '--standalone', '--nproc_per_node=2']


# In float32, in which half batches of two ranks add up to the same gradients.
TRAIN_40 = [*TRAIN_X4, '--launcher', 'pytorch', '--auto_resume', *SHORT, 'train:total_iter=40', 'train:amp=off']


@pytest.fixture(scope='module')
def both(workspace: Path) -> Path:
    """An experiment of two ranks, stopped in between."""
    command = [*TWO_RANKS, 'basicsr/train.py', *TRAIN_40, 'name=both']
    status, printed = watched(command, workspace, 'both', 'iter:       4,', signal.SIGTERM)
    assert status != 0
    assert 'Stopped after iteration' in printed
    run(command, workspace)
    return workspace / 'experiments/both'


def test_two_ranks_equal_one_and_stop_together(workspace: Path, both: Path) -> None:
    """Weights, figures and logs of two processes with half of the batch each; also after a stop in between."""
    iterations = ['train:total_iter=40', 'datasets:train:batch_size_per_gpu=4', 'train:amp=off']
    run(['python', 'basicsr/train.py', *TRAIN_X4, *SHORT, *iterations, 'name=alone'], workspace)

    alone = workspace / 'experiments/alone'
    one, other = (files.load(folder / 'models/net_g_latest.pth') for folder in (alone, both))
    for key in ('params', 'params_ema'):
        for name, weight in one[key].items():
            torch.testing.assert_close(other[key][name], weight, rtol=0, atol=2e-5)
    rows = [(folder / 'train_log.csv').read_text().splitlines() for folder in (alone, both)]
    assert [row.rpartition(',')[0] for row in rows[0]] == [row.rpartition(',')[0] for row in rows[1]]
    for row, expected in zip(rows[1][1:], rows[0][1:]):
        assert float(row.rpartition(',')[2]) == pytest.approx(float(expected.rpartition(',')[2]), rel=1e-3)


def test_a_rank_that_dies(workspace: Path, both: Path) -> None:
    """It ends the others within seconds; started again they go on from the checkpoint, as if nothing had been."""
    killer = workspace / 'killer.py'
    killer.write_text(
        'import os, runpy, sys\n'
        'sys.argv = sys.argv[1:]\n'
        'from srsenet_plugin.models.accelerated_sr_model import AcceleratedSRModel as Model\n'
        'stock = Model.optimize_parameters\n'
        'def dying(self, iteration):\n'
        "    if (iteration, os.environ['RANK'], os.environ['TORCHELASTIC_RESTART_COUNT']) == (8, '1', '0'):\n"
        "        print('dies', flush=True)\n"
        '        os.kill(os.getpid(), 9)\n'
        '    stock(self, iteration)\n'
        'Model.optimize_parameters = dying\n'
        "runpy.run_path('basicsr/train.py', run_name='__main__')\n"
    )
    command = [killer, 'basicsr/train.py', *TRAIN_40]
    status, printed = watched([*TWO_RANKS, *command, 'name=died'], workspace, 'died', 'dies')
    assert status == 1, printed[-3000:]

    run([*TWO_RANKS, '--max-restarts=1', *command, 'name=restarted'], workspace)
    restarted = workspace / 'experiments/restarted'
    ends = [files.load(folder / 'models/net_g_latest.pth') for folder in (restarted, both)]
    for key in ('params', 'params_ema'):
        for name, weight in ends[0][key].items():
            assert torch.equal(ends[1][key][name], weight)

"""What users look at during a training."""

from __future__ import annotations

import gc
import io
import math
import re
import sys
from pathlib import Path

import psutil
import pytest
from trainings import batches, build, train


def test_a_terminal_shows_progress(opt: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, 'stderr', stream)
        model = build(opt)
        train(model, batches(3))
        model._log._bar.refresh()
        model._log.close()
        assert bool(re.search(r'3/100 .*it/s?.*l_pix=0\.\d+', stream.getvalue().replace('s/it', 'it/s'))) == shown


def test_curves(opt: dict, tmp_path: Path) -> None:
    model = build(opt)
    train(model, batches(3))
    model._log.add(3, {'Set5/psnr': 30.0, 'Set5/ssim': 0.9, 'B100/psnr': 28.0, 'l_pix': math.nan})
    model._log.draw()
    assert (tmp_path / 'train_log.csv').read_text().splitlines()[:2] == ['iter,name,value', '1,lr,0.001']
    assert (tmp_path / 'curves.png').stat().st_size > 10_000
    assert not (tmp_path / 'curves.part.png').exists()


def test_long_trainings_hold_nothing(opt: dict) -> None:
    """Memory, files and threads, while it trains, logs and saves; scripts/soak.py watches whole commands."""
    opt['logger']['keep_checkpoints'] = 1
    model = build(opt)
    data = batches(5)

    def used(rounds: int) -> tuple[int, int, int]:
        for start in range(1, 5 * rounds, 5):
            train(model, data, start)
            model.save(0, start)
            model._log.add(start, model.get_current_log())
        gc.collect()
        process = psutil.Process()
        memory = process.memory_info()  # without files, whose pages are its own or not by what else runs
        return process.num_fds(), process.num_threads(), memory.rss - memory.shared

    files, threads, memory = used(20)
    files_later, threads_later, memory_later = used(60)
    assert (files, threads) == (files_later, threads_later)
    assert memory_later - memory < 4e6

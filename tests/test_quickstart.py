"""The README's first command, from nothing to a trained network and a picture."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import cv2
import pytest
from conftest import ROOT, link_installed, make_venv, run


@pytest.mark.slow
def test_quickstart(tmp_path: Path) -> None:
    """The README's first command in a fresh copy and a fresh active environment; then once more."""
    copy = tmp_path / 'copy with a space'
    for name in ('srsenet_plugin', 'options', 'scripts'):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, copy)
    dependencies = tmp_path / 'dependencies'
    dependencies.mkdir()
    link_installed(dependencies, without=('srsenet', 'pip'))
    venv = tmp_path / 'venv'
    make_venv(venv, dependencies)
    active = {'VIRTUAL_ENV': str(venv), 'PATH': f'{venv / "bin"}:{os.environ["PATH"]}'}

    start = run(['bash', 'scripts/quickstart.sh'], copy, timeout=1800, **active)
    again = run(['bash', 'scripts/quickstart.sh'], copy, **active)
    for printed in (start, again):
        table = (copy / 'results/quickstart/compare_x4.md').read_text()
        scores = dict(re.findall(r'^\| (\w+) \|.*\| (\d+\.\d+ / 0\.\d+) \|$', table, re.MULTILINE))
        psnrs = {name: float(score.split(' / ')[0]) for name, score in scores.items()}
        assert psnrs['SrSENet'] >= psnrs['Bicubic'] + 0.5, table
        picture = re.search(r'The picture: (\S+)', printed)
        assert picture
        assert cv2.imread(str(copy / picture[1])) is not None
        # The table's mean is that of the toolbox's own validation.
        psnr, ssim = re.findall(r'# psnr: (\d+\.\d+).*\s+# ssim: (\d+\.\d+)', printed)[-1]
        assert scores['SrSENet'] == f'{float(psnr):.2f} / {float(ssim):.4f}'
    assert 'Resuming training' not in start
    assert 'iter:     450' in start
    assert 'Resuming training from epoch: 0, iter: 450' in again
    assert len(list((copy / 'experiments').iterdir())) == 1
    assert 'Installing' in start
    assert 'Installing' not in again

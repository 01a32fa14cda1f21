"""How the scripts fail, and what the soak and the JPEG benchmark print; that the others work is in test_commands.py."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import benchmark_jpeg
import pytest
import torch
from conftest import ROOT, run, save_network, write_photo

from srsenet_plugin.compare import quality
from srsenet_plugin.prepare.benchmark_folders import make_benchmark
from srsenet_plugin.weights import pretrained


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / 'scripts', tmp_path / 'scripts')
    return tmp_path


@pytest.mark.parametrize('script', ['quickstart.sh', 'test.sh', 'setup.sh'])
def test_without_a_fitting_python(copy: Path, script: str) -> None:
    no_environment = {'VIRTUAL_ENV': '', 'CONDA_PREFIX': ''}
    printed = run(['bash', f'scripts/{script}'], copy, status=1, PYTHON='no-such-python', **no_environment)
    assert printed.startswith("error: 'no-such-python' is no Python 3.10 or newer. ")
    assert len(printed.splitlines()) == 1


def test_when_pip_cannot_install(copy: Path) -> None:
    """An active environment whose pip finds no setup.py."""
    printed = run(['bash', 'scripts/quickstart.sh'], copy, status=1, VIRTUAL_ENV=str(copy))
    assert printed.splitlines()[-1].startswith('error: pip could not install srsenet_plugin; ')


def test_rows_that_the_matrix_does_not_have(copy: Path) -> None:
    printed = run(['bash', 'scripts/test_matrix.sh', 'middle'], copy, status=1)
    assert {'3.10-oldest', '3.13-newest'} <= set(printed.removeprefix('error: the rows are: ').split())


@pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without CUDA')
def test_cuda_without_a_device(copy: Path) -> None:
    printed = run(['bash', 'scripts/test_cuda.sh'], copy, status=1)
    assert printed.startswith('error: torch finds no CUDA device here')
    assert len(printed.splitlines()) == 1
    assert not (copy / 'results').exists()


def test_scripts_are_executable() -> None:
    for path in (*ROOT.glob('scripts/*.sh'), ROOT / '.ci/run'):
        assert os.access(path, os.X_OK), path


@pytest.mark.slow
def test_check_imresize(shared_datasets: Path) -> None:
    """The figures of the README: MATLAB's own images, shrunk by BasicSR and here."""
    set5 = shared_datasets / 'Set5'
    script = ROOT / 'scripts/check_imresize.py'
    printed = run([sys.executable, script, set5 / 'HR', set5 / 'LR_bicubic_matlab/X4', 4])
    assert re.findall(r'│ (.*?) +│ ([\d,]+) ', printed) == [("BasicSR's imresize", '10,970'), ("srsenet_plugin's", '0')]
    assert '10,970 | 0 | `scripts/check_imresize.py`' in (ROOT / 'README.md').read_text(encoding='utf-8')
    printed = run([sys.executable, script, set5 / 'HR', set5 / 'LR_bicubic_matlab/X4', 3], status=1)
    assert printed.startswith('There is no ')


def test_benchmark_jpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Less quality is less PSNR, whatever the weights; the images without JPEG are compare's."""
    write_photo('chelsea.png', tmp_path / 'photos/cat.png', (60, 100, 120, 160))
    write_photo('coffee.png', tmp_path / 'photos/coffee.png', (100, 200, 127, 101))
    make_benchmark(tmp_path / 'photos', tmp_path / 'datasets/Set5', [4])
    weights = save_network(tmp_path / 'mine.pth')
    arguments = ['--scale', '4', '--benchmarks', str(tmp_path / 'datasets'), '--weights', str(weights)]
    monkeypatch.setattr(sys, 'argv', ['benchmark_jpeg.py', *arguments])
    benchmark_jpeg.main()
    rows = re.findall(r'│ Set5 +│ (\w+(?: JPEG)?) +│ ([\d.]+) +│ ([\d.]+) +│ ([\d.]+) +│', capsys.readouterr().out)
    assert [name for name, *_ in rows] == ['40', '60', '75', '90', 'no JPEG']
    for psnrs in list(zip(*rows))[1:]:
        assert sorted(map(float, psnrs)) == list(map(float, psnrs))
    (benchmark,) = quality.find_benchmarks(tmp_path / 'datasets', 4)
    for psnr, net in zip(rows[-1][2:], (pretrained.load_pretrained(4), pretrained.load_network(weights))):
        scores = quality.evaluate_network(net, 1, '', benchmark, tmp_path / psnr, '')
        assert float(psnr) == pytest.approx(quality.means(scores)[0], abs=0.006)

    for wrong, message in (('srsenet_x2', 'srsenet_x2 enlarges x2, not x4'), ('gone.pth', 'No such file.*gone')):
        monkeypatch.setattr(sys, 'argv', ['benchmark_jpeg.py', *arguments[:-1], wrong])
        with pytest.raises(SystemExit, match=f'error: .*{message}'):
            benchmark_jpeg.main()


@pytest.mark.slow
def test_soak(tmp_path: Path) -> None:
    """Short, so that all of its commands are run; that they hold nothing is in tests of that name."""
    picture = tmp_path / 'soak.png'
    printed = run([sys.executable, ROOT / 'scripts/soak.py', '--iterations', 8, '--images', 8, '--out', picture])
    rows = re.findall(r'^│ (train|srsenet upscale)[^│]*((?:│ +[-+.\d]+ +)+)│$', printed, re.MULTILINE)
    assert [name for name, _ in rows] == ['train'] * 5 + ['srsenet upscale']
    assert all(values.count('│') == 7 for _, values in rows)
    assert picture.stat().st_size > 10_000

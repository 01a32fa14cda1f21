"""How the scripts fail; that they work is in test_commands.py."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, run


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


def test_scripts_are_executable() -> None:
    for path in (*ROOT.glob('scripts/*.sh'), ROOT / '.ci/run'):
        assert os.access(path, os.X_OK), path

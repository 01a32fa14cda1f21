"""Ways of installing, each in a fresh virtual environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTOS, ROOT, link_installed, make_venv, run
from PIL import Image

pytestmark = pytest.mark.slow

KNOWS_PLUGIN = (
    'from basicsr.archs import build_network; import basicsr, srsenet_plugin; '
    "print(type(build_network(dict(type='SrSENet', num_block=1))).__name__, basicsr.__file__, srsenet_plugin.__file__)"
)


def pip(venv: Path, *arguments: object) -> str:
    return run([sys.executable, '-m', 'pip', '--python', venv, '--no-input', *arguments], venv.parents[2])


def install(venv: Path, *arguments: object) -> str:
    return pip(venv, 'install', '--no-deps', '--no-build-isolation', '--no-index', *arguments)


def python(venv: Path, code: str, **environment: str) -> str:
    # Out of the repository, and without what pytest's own environment would lead to.
    return run([venv, '-c', code], venv.parents[2], PYTHONPATH='', **environment)


@pytest.fixture(scope='module')
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything installed here but the plugin and the toolbox."""
    folder = tmp_path_factory.mktemp('dependencies')
    link_installed(folder, without=('srsenet', 'basicsr'))
    return folder


@pytest.fixture
def venv(dependencies: Path, tmp_path: Path) -> Path:
    """The interpreter of a fresh environment with the dependencies, without the plugin and the toolbox."""
    return make_venv(tmp_path / 'venv', dependencies, '--without-pip')


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's sources, so that building leaves nothing behind in them."""
    folder = tmp_path_factory.mktemp('source')
    ignore = shutil.ignore_patterns('__pycache__')
    shutil.copytree(ROOT / 'srsenet_plugin', folder / 'srsenet_plugin', ignore=ignore)
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope='module')
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('wheel')
    run([sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--no-index', '-w', out, source])
    (path,) = out.glob('*.whl')
    return path


@pytest.fixture(scope='module')
def toolbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minimal clone of BasicSR: the installed package with a setup.py beside it."""
    folder = tmp_path_factory.mktemp('BasicSR')
    spec = find_spec('basicsr')
    assert spec is not None
    assert spec.origin is not None
    shutil.copytree(Path(spec.origin).parent, folder / 'basicsr', ignore=shutil.ignore_patterns('__pycache__'))
    (folder / 'setup.py').write_text(
        'from setuptools import find_packages, setup\n'
        "setup(name='basicsr', version='1.4.2', packages=find_packages())\n"
    )
    return folder


@pytest.mark.parametrize(
    ('how', 'toolbox_how'),
    [('wheel', 'plain'), ('editable', 'plain'), ('folder', 'editable'), ('editable', 'editable')],
)
def test_unmodified_toolbox_knows_the_plugin(
    venv: Path, source: Path, wheel: Path, toolbox: Path, how: str, toolbox_how: str
) -> None:
    install(venv, *(['-e', toolbox] if toolbox_how == 'editable' else [toolbox]))
    install(venv, *{'wheel': [wheel], 'folder': [source], 'editable': ['-e', source]}[how])
    name, basicsr_file, plugin_file = python(venv, KNOWS_PLUGIN).split()[-3:]
    assert name == 'SrSENet'
    assert Path(basicsr_file).is_relative_to(toolbox) == (toolbox_how == 'editable')
    assert Path(plugin_file).is_relative_to(source) == (how == 'editable')

    pip(venv, 'uninstall', '-y', 'srsenet_plugin')
    site_packages = next(venv.parents[1].glob('lib/python3.*/site-packages'))
    assert not [path for path in site_packages.iterdir() if 'srsenet' in path.name]
    assert python(venv, "import sys; print([m for m in sys.modules if 'srsenet' in m])").strip() == '[]'


def test_a_photograph_gets_sharper_in_a_fresh_environment(
    venv: Path, wheel: Path, toolbox: Path, tmp_path: Path
) -> None:
    """By the package's own weights, closer to the photograph than bicubic interpolation comes."""
    from srsenet_plugin.data import imresize

    install(venv, toolbox)
    install(venv, wheel)
    photo = np.asarray(Image.open(PHOTOS / 'chelsea.png'))[40:200, 80:280]
    small = imresize(photo, 1 / 4)
    Image.fromarray(small).save(tmp_path / 'photo.png')
    printed = run([venv.with_name('srsenet'), 'upscale', 'photo.png'], tmp_path, PYTHONPATH='')
    assert printed.splitlines()[-1] == 'photo_x4.png'
    errors = [
        float(np.square(enlarged[4:-4, 4:-4].astype(float) - photo[4:-4, 4:-4]).mean())
        for enlarged in (np.asarray(Image.open(tmp_path / 'photo_x4.png')), imresize(small, 4))
    ]
    assert errors[0] < 0.95 * errors[1]


def test_source_distribution_makes_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    run([sys.executable, 'setup.py', '-q', 'sdist', '-d', tmp_path], source)
    (archive,) = tmp_path.glob('*.tar.gz')
    arguments = ['--no-deps', '--no-build-isolation', '--no-index', '-w', tmp_path / 'wheel']
    run([sys.executable, '-m', 'pip', 'wheel', *arguments, archive])
    listing = 'import sys, zipfile; print(sorted(zipfile.ZipFile(sys.argv[1]).namelist()))'
    (again,) = (tmp_path / 'wheel').glob('*.whl')
    names = run([sys.executable, '-c', listing, wheel])
    assert "'srsenet_plugin.pth'" in names
    assert run([sys.executable, '-c', listing, again]) == names


def test_a_broken_plugin_never_breaks_python(venv: Path, wheel: Path) -> None:
    install(venv, wheel)
    site_packages = next(venv.parents[1].glob('lib/python3.*/site-packages'))
    autoload = site_packages / 'srsenet_plugin/autoload.py'
    hook = "import sys; print(any('BasicSR' in str(finder) for finder in sys.meta_path))"
    assert python(venv, hook).strip() == 'True'
    autoload.write_text('raise SystemError("broken")')
    assert python(venv, hook).strip() == 'False'
    autoload.write_text('not Python')
    assert python(venv, hook).strip() == 'False'
    autoload.unlink()
    assert python(venv, hook).strip() == 'False'
    shutil.rmtree(site_packages / 'srsenet_plugin')
    assert python(venv, hook).strip() == 'False'


def find_python(version: str) -> Path | None:
    """An interpreter of that version, also one that pyenv has but does not put on the PATH."""
    candidates = [shutil.which(f'python{version}')]
    if shutil.which('pyenv'):
        listed = subprocess.run(['pyenv', 'prefix', version], capture_output=True, text=True)
        candidates.append(f'{listed.stdout.strip()}/bin/python{version}')
    for candidate in candidates:
        if candidate and os.path.exists(candidate):
            printed = subprocess.run([candidate, '--version'], capture_output=True, text=True).stdout
            if printed.startswith(f'Python {version}.'):
                return Path(candidate)
    return None


@pytest.mark.parametrize('version', ['3.10', '3.12'])
def test_other_python_versions(version: str, wheel: Path, tmp_path: Path) -> None:
    """Without torch: the wheel installs, the hook is silent, and every file compiles."""
    interpreter = find_python(version)
    if interpreter is None:
        pytest.skip(f'Python {version} is not on this machine')
    run([interpreter, '-m', 'venv', '--without-pip', tmp_path / 'venv'])
    venv = tmp_path / 'venv/bin/python'
    install(venv, wheel)
    hook = "import sys; print(sys.version[:4], any('BasicSR' in str(finder) for finder in sys.meta_path))"
    assert python(venv, hook).split() == [version, 'True']
    run([venv, '-W', 'error', '-m', 'compileall', '-q', '-f', next(tmp_path.glob('venv/lib/*/site-packages'))])

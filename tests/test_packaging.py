"""Ways of installing, each in a fresh virtual environment."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from zipfile import Path as ZipPath

import numpy as np
import pytest
from conftest import PHOTOS, ROOT, link_installed, make_venv, run
from PIL import Image

pytestmark = pytest.mark.slow

KNOWS_PLUGIN = (
    'from basicsr.archs import build_network; import basicsr, srsenet_plugin; '
    "print(type(build_network(dict(type='SrSENet', num_block=1))).__name__, basicsr.__file__, srsenet_plugin.__file__)"
)


def pip(venv: Path, *arguments: object, **environment: str) -> str:
    # Its own where it has one: the pip that comes with Python 3.10 does not run on 3.12.
    own = list(venv.parents[1].glob('lib/python3.*/site-packages/pip'))
    command = [venv, '-m', 'pip'] if own else [sys.executable, '-m', 'pip', '--python', venv]
    return run([*command, '--no-input', *arguments], venv.parents[2], **environment)


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


def test_the_readmes_links_lead_somewhere_in_a_release(source: Path) -> None:
    release = {'GITHUB_REPOSITORY': 'owner/name', 'GITHUB_REF_TYPE': 'tag', 'GITHUB_REF_NAME': 'v1'}
    run([sys.executable, 'setup.py', '-q', 'egg_info'], source, **release)
    metadata = (source / 'srsenet_plugin.egg-info/PKG-INFO').read_text(encoding='utf-8')
    links = re.findall(r'\]\(([^)]+)\)', metadata)
    assert 'https://raw.githubusercontent.com/owner/name/v1/docs/quickstart.png' in links
    assert 'https://github.com/owner/name/blob/v1/docs/compare.md' in links
    assert all(link.startswith('https://') for link in links)


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


def test_one_command_installs_the_toolbox(venv: Path, wheel: Path) -> None:
    install(venv, wheel)
    srsenet = venv.with_name('srsenet')
    message = f'BasicSR is not installed for {venv}. Install it with: srsenet install-basicsr'
    assert run([srsenet, 'compare', '--archs', 'Bicubic'], PYTHONPATH='', status=1) == f'srsenet: {message}\n'
    for _ in range(2):
        said = run([srsenet, 'install-basicsr'], PYTHONPATH='').splitlines()[-1]
        assert said.startswith('BasicSR 1.4.2 is installed: ')
        assert Path(said.rpartition(' ')[2]).is_relative_to(venv.parents[1])
    assert python(venv, KNOWS_PLUGIN).split()[-3] == 'SrSENet'


def test_that_command_leaves_another_toolbox_alone(venv: Path, wheel: Path, toolbox: Path) -> None:
    install(venv, wheel, '-e', toolbox)
    said = run([venv.with_name('srsenet'), 'install-basicsr'], PYTHONPATH='').splitlines()[-1]
    assert said == f'BasicSR 1.4.2 is installed: {toolbox}/basicsr/__init__.py'


def test_requirements_are_what_is_imported(wheel: Path) -> None:
    """Each with the oldest version that the matrix tries; and in the extras, what is imported where it is asked for."""
    (info,) = (entry for entry in ZipPath(wheel).iterdir() if entry.name.endswith('.dist-info'))
    required, extra = set(), set()
    for requirement in metadata.PathDistribution(info).requires or []:  # type: ignore[arg-type]
        name = re.match(r'[\w-]+', requirement)[0]  # type: ignore[index]
        if 'extra ==' in requirement:
            extra.add(name.lower())
        else:
            assert re.fullmatch(r'[\w-]+>=[\d.]+', requirement)
            required.add(name)

    modules = set()
    for path in (ROOT / 'srsenet_plugin').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(str(node.module).partition('.')[0])
    modules -= {'basicsr', 'srsenet_plugin', *sys.stdlib_module_names}
    packages = metadata.packages_distributions()
    # What an extra brings need not be installed here.
    imported = {packages.get(module, [module])[0].lower().replace('_', '-') for module in modules}
    assert imported - extra == required - {'setuptools'}


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
    hook = "import sys; print(any('PluginFinder' in str(finder) for finder in sys.meta_path))"
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


@pytest.mark.parametrize('version', ['3.10', '3.12', '3.13', '3.14'])
def test_other_python_versions(version: str, wheel: Path, tmp_path: Path) -> None:
    """Without torch: the wheel installs, the hook is silent, every file compiles, and BasicSR is built."""
    interpreter = find_python(version)
    if interpreter is None:
        pytest.skip(f'Python {version} is not on this machine')
    run([interpreter, '-m', 'venv', tmp_path / 'venv'])
    venv = tmp_path / 'venv/bin/python'
    install(venv, wheel)
    hook = "import sys; print('%d.%d' % sys.version_info[:2], any('PluginFinder' in str(f) for f in sys.meta_path))"
    assert python(venv, hook).split() == [version, 'True']
    site_packages = next(tmp_path.glob('venv/lib/*/site-packages'))
    run([venv, '-W', 'error', '-m', 'compileall', '-q', '-f', site_packages / 'srsenet_plugin'])

    pip(venv, 'install', '--upgrade', 'setuptools')
    build = site_packages / 'srsenet_plugin/toolbox/basicsr_build'
    arguments = ['--no-cache-dir', '--no-deps', '--use-pep517', '--no-build-isolation', '-r', build / 'requirement.txt']
    pip(venv, 'install', *arguments, PYTHONPATH=str(build))
    assert (site_packages / 'basicsr-1.4.2.dist-info').is_dir()

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import pytest
import skimage

ROOT = Path(__file__).parents[1]
PHOTOS = Path(skimage.__file__).parent / 'data'

os.environ['SRSENET_CACHE'] = os.devnull  # what a developer has fetched changes no test

WITHOUT_PLUGIN = """
import sys, types
from torchvision.transforms.functional import rgb_to_grayscale
module = sys.modules['torchvision.transforms.functional_tensor'] = types.ModuleType('functional_tensor')
module.rgb_to_grayscale = rgb_to_grayscale
"""


def run(
    command: Sequence[object], cwd: Path | None = None, timeout: float = 600, status: int = 0, **environment: str
) -> str:
    """Runs a command, checks its exit status and returns what it printed."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert result.returncode == status, result.stdout[-8000:]
    return result.stdout


def run_python(code: str, *arguments: object, cwd: Path | None = None, **environment: str) -> str:
    return run([sys.executable, '-c', code, *arguments], cwd, **environment)


def write_photo(name: str, path: Path, box: tuple[int, int, int, int] | None = None) -> None:
    """Writes one of scikit-image's photographs, or the box (top, left, height, width) of it, as a PNG."""
    img = cv2.imread(str(PHOTOS / name))
    if box is not None:
        top, left, height, width = box
        img = img[top : top + height, left : left + width]
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), img)


def save_network(path: Path, seed: int = 0, **options: int) -> Path:
    """A small untrained network whose residual is not nothing, as BasicSR saves it."""
    import torch

    from srsenet_plugin import SrSENet

    torch.manual_seed(seed)
    network_g = {'type': 'SrSENet', 'num_feat': 8, 'num_block': 1, 'reduction': 2, 'upscale': 4, **options}
    net = SrSENet(**{name: value for name, value in network_g.items() if name != 'type'})
    net.conv_last.weight.data.normal_(0, 0.02)
    net.body[0].se.fc1.weight.data *= 30  # gates that make much of the means
    net.body[0].conv2.weight.data *= 10
    torch.save({'params': net.state_dict(), 'network_g': network_g}, path)
    return path


def computes_in_fp16() -> bool:
    """Whether torch does so on the processor, which old ones do not."""
    import torch

    try:
        torch.nn.functional.conv2d(torch.ones(1, 1, 3, 3).half(), torch.ones(1, 1, 3, 3).half())
    except RuntimeError:
        return False
    return True


def link_installed(folder: Path, without: tuple[str, ...]) -> None:
    """Fills a folder with links to all that is installed here, but for some: installing torch anew takes minutes."""
    for entry in Path(sysconfig.get_path('purelib')).iterdir():
        if not entry.name.startswith(('__editable__', *without)) and entry.suffix != '.pth':
            (folder / entry.name).symlink_to(entry)


def make_venv(folder: Path, dependencies: Path, *arguments: str) -> Path:
    """Makes a virtual environment that sees a folder of packages, and returns its interpreter."""
    run([sys.executable, '-m', 'venv', *arguments, folder])
    site_packages = next(folder.glob('lib/python3.*/site-packages'))
    (site_packages / '_dependencies.pth').write_text(f'{dependencies}\n')
    return folder / 'bin/python'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files of many slow tests first, and the slowest of all before them, so that the workers end together."""
    slow = Counter(item.path for item in items if item.get_closest_marker('slow'))
    items.sort(key=lambda item: (item.path.name != 'test_quickstart.py', -slow[item.path]))


@pytest.fixture(autouse=True)
def signals_restored() -> Iterator[None]:
    """A model that trains takes over the signals that stop it."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def opt(tmp_path: Path) -> dict[str, Any]:
    """Options of a tiny training in a folder of its own."""
    from trainings import tiny_options

    return tiny_options(tmp_path)


@pytest.fixture(scope='session')
def shared_datasets() -> Path:
    """The folder of benchmark images that some tests need and that is no part of the project."""
    folder = os.environ.get('SRSENET_SHARED_DATASETS')
    if not folder or not Path(folder).is_dir():
        pytest.skip('SRSENET_SHARED_DATASETS names no folder of benchmark images')
    return Path(folder)


@pytest.fixture(scope='session')
def benchmarks(shared_datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with those images prepared in ``datasets``."""
    from srsenet_plugin.weights import pretrained

    folder = tmp_path_factory.mktemp('benchmarks')
    (folder / 'basicsr').symlink_to((ROOT / 'basicsr').resolve())
    for name in ('Set5', 'Set14', 'B100'):  # Urban100 takes minutes
        arguments = ['--source', shared_datasets / name, '--out', f'datasets/{name}', '--scales', *pretrained.scales()]
        run(['srsenet', 'prepare', 'benchmark', *arguments], folder)
    return folder


@pytest.fixture(scope='session')
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder as a user has it: options, the link to the toolbox, and the datasets that the options name.

    The datasets are small ones, made from real photographs by the commands that the option files state.
    """
    folder = tmp_path_factory.mktemp('workspace')
    shutil.copytree(ROOT / 'options', folder / 'options')
    shutil.copytree(ROOT / 'scripts', folder / 'scripts')
    spec = find_spec('basicsr')
    assert spec
    assert spec.submodule_search_locations
    (folder / 'basicsr').symlink_to(Path(spec.submodule_search_locations[0]).resolve())

    source = folder / 'DIV2K_train_HR'
    write_photo('motorcycle_left.png', source / '0001.png', (100, 200, 200, 304))
    write_photo('rocket.jpg', source / '0002.png', (0, 100, 240, 200))
    write_photo('astronaut.png', source / '0003.png', (0, 100, 208, 208))
    write_photo('camera.png', source / '0004.png', (50, 100, 200, 200))
    scales = ['--scales', '2', '4', '8']
    run(['srsenet', 'prepare', 'div2k', '--source', source, '--out', 'datasets/DIV2K', *scales], folder)
    for name in ('Set5', 'Set14', 'B100', 'Urban100', 'Manga109'):
        write_photo('chelsea.png', folder / name / 'chelsea.png', (60, 100, 120, 160))
        write_photo('coffee.png', folder / name / 'coffee.png', (100, 200, 127, 101))
        # Imported here: only the command above is a subprocess, because each costs seconds.
        from srsenet_plugin.prepare.benchmark_folders import make_benchmark

        make_benchmark(folder / name, folder / 'datasets' / name, [2, 4, 8])
    return folder

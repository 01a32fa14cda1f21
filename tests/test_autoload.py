"""The import hook as the installed environment has it; ways of installing are in test_packaging.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import ROOT, WITHOUT_PLUGIN, run, run_python, write_photo

import srsenet_plugin

pytestmark = pytest.mark.slow

# What stock BasicSR needs on today's torchvision, for tests that keep the plugin out.

# An environment without BasicSR.
WITHOUT_BASICSR = """
import sys
from importlib.machinery import PathFinder
finds = PathFinder.find_spec
PathFinder.find_spec = lambda name, *args: None if name == 'basicsr' else finds(name, *args)
"""


def test_start_of_python_installs_the_hook_and_imports_nothing() -> None:
    """As benchmark_autoload.py measures it: without what else the environment's .pth files import."""
    printed = run([sys.executable, ROOT / 'scripts/benchmark_autoload.py'])
    assert printed.splitlines()[-1] == 'modules imported: srsenet_plugin.autoload'

    printed = run_python(
        "import sys; print('torch' in sys.modules, 'srsenet_plugin' in sys.modules, "
        "[finder.__name__ for finder in sys.meta_path if finder.__module__ == 'srsenet_plugin.autoload'])"
    )
    assert printed.strip() == "False False ['PluginFinder']"


@pytest.mark.parametrize('code', ['import srsenet_plugin', "from srsenet_plugin import cli; cli.main(['--help'])"])
def test_what_needs_no_network_imports_nothing_else(code: str) -> None:
    """-S: without what the environment's .pth files import."""
    report = """
import atexit, sys
ours = {'__main__', 'srsenet_plugin', *sys.stdlib_module_names}
atexit.register(lambda: print(sorted({name.partition('.')[0] for name in sys.modules} - ours)))
"""
    printed = run([sys.executable, '-S', '-c', report + code], PYTHONPATH=str(ROOT))
    assert printed.splitlines()[-1] == '[]'


def test_every_public_name_is_found() -> None:
    for name in srsenet_plugin.__all__:
        assert getattr(srsenet_plugin, name) is not None
        assert name in dir(srsenet_plugin)
    with pytest.raises(AttributeError, match='no attribute'):
        srsenet_plugin.SrSENt  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    'imports',
    [
        'import srsenet_plugin; from mmengine.registry import MODELS',
        'from mmengine.registry import MODELS; import srsenet_plugin',
        "from mmengine.utils import import_modules_from_strings; import_modules_from_strings(['srsenet_plugin'])",
    ],
)
def test_mmengine_knows_the_plugin_in_any_order_of_imports(imports: str) -> None:
    printed = run_python(
        f"""
{imports}
from mmengine.registry import MODELS
print(type(MODELS.build(dict(type='SrSENet', num_block=1))).__name__, 'CharbonnierPenaltyLoss' in MODELS)
"""
    )
    assert printed.split() == ['SrSENet', 'True']


def test_without_the_toolbox_its_import_says_how_to_install_it() -> None:
    code = (
        WITHOUT_BASICSR
        + """
from importlib.util import find_spec
print(find_spec('basicsr'))
try:
    from basicsr.archs import build_network
except ModuleNotFoundError as error:
    print(error.name, error)
from srsenet_plugin.cli import main
sys.exit(main(['compare', '--scale', '4', '--archs', 'SrSENet']))
"""
    )
    printed = run([sys.executable, '-c', code], status=1)
    message = f'BasicSR is not installed for {sys.executable}. Install it with: srsenet install-basicsr'
    assert printed.splitlines() == ['None', f'basicsr {message}', f'srsenet: {message}']


def test_photographs_and_data_need_no_toolbox(tmp_path: Path) -> None:
    write_photo('chelsea.png', tmp_path / 'photos/chelsea.png', (60, 100, 120, 160))
    printed = run_python(
        WITHOUT_BASICSR
        + """
import srsenet_plugin.data.imresize
print([name for name in ('basicsr', 'mmengine') if name in sys.modules])
from srsenet_plugin.cli import main
print([
    main(words)
    for words in (
        ['upscale', 'photos/chelsea.png', '-o', 'big.png', '-s', '2'],
        ['prepare', 'folder', '--source', 'photos', '--out', 'data', '--name', 'few', '--scales', '2'],
        ['prepare', 'benchmark', '--source', 'photos', '--out', 'data', '--scales', '2'],
        ['prepare', 'verify', 'data/few_HR.lmdb'],
        ['export', '--format', 'torchscript'],
    )
], 'basicsr' in sys.modules)
""",
        cwd=tmp_path,
    )
    assert printed.splitlines()[0] == '[]'
    assert printed.splitlines()[-1] == '[0, 0, 0, 0, 0] False'


def test_a_photograph_needs_few_packages(tmp_path: Path) -> None:
    """Each that is slow to import delays the first photograph."""
    write_photo('chelsea.png', tmp_path / 'chelsea.png', (60, 100, 120, 160))
    code = """
import sys
from srsenet_plugin.cli import main
main(['upscale', 'chelsea.png', '-o', 'big.png'])
print([name for name in ('basicsr', 'mmengine', 'scipy', 'tifffile', 'torchvision', 'onnx') if name in sys.modules])
"""
    assert run_python(code, cwd=tmp_path).splitlines()[-1] == '[]'


@pytest.mark.parametrize(
    'imports',
    [
        'import basicsr',
        'import srsenet_plugin, basicsr',
        'import srsenet_plugin.models.accelerated_sr_model',
        'from basicsr.utils.registry import ARCH_REGISTRY',
        'import srsenet_plugin.data.paired_lmdb_dataset',
        'import srsenet_plugin; srsenet_plugin.register(); srsenet_plugin.register()',
    ],
)
def test_registered_once_in_any_order_of_imports(imports: str) -> None:
    printed = run_python(
        f"""
{imports}
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY
from basicsr.archs import build_network
import basicsr.train, srsenet_plugin
print(type(build_network(dict(type='SrSENet', num_block=1))) is srsenet_plugin.SrSENet)
print('CharbonnierPenaltyLoss' in LOSS_REGISTRY, 'PairedLmdbDataset' in DATASET_REGISTRY)
print(hasattr(basicsr.train.parse_options, '__wrapped__'))
"""
    )
    assert printed.split() == ['True'] * 4


def test_switched_off() -> None:
    printed = run_python(
        WITHOUT_PLUGIN
        + """
from basicsr.utils.registry import ARCH_REGISTRY
print('SrSENet' in ARCH_REGISTRY, any('PluginFinder' in str(finder) for finder in sys.meta_path))
import srsenet_plugin
print('SrSENet' in ARCH_REGISTRY)
""",
        SRSENET_PLUGIN_AUTOLOAD='0',
    )
    assert printed.split() == ['False', 'False', 'True']


@pytest.mark.parametrize(
    ('missing', 'warning', 'registered'),
    [
        ('srsenet_plugin.toolbox.register', 'basicsr is imported without srsenet_plugin, which failed with Mod', False),
        ('srsenet_plugin.losses', 'srsenet_plugin works in part only; these failed: register_losses (Mod', True),
    ],
)
def test_a_plugin_that_fails_leaves_the_toolbox_usable(missing: str, warning: str, registered: bool) -> None:
    """The plugin or a part of it is missing: BasicSR is imported with a warning that says so, and the rest works."""
    printed = run_python(
        WITHOUT_PLUGIN
        + f"sys.modules['{missing}'] = None; import basicsr; from basicsr.utils.registry import ARCH_REGISTRY;"
        + "print('basicsr', basicsr.__version__, 'SrSENet' in ARCH_REGISTRY)"
    )
    assert f'UserWarning: {warning}uleNotFoundError: import of ' in printed
    assert '`srsenet doctor`' in printed
    assert printed.splitlines()[-1].startswith('basicsr 1.')
    assert printed.split()[-1] == str(registered)


def test_the_toolbox_keeps_its_loader() -> None:
    """inspect, pkgutil and importlib.resources work on basicsr as without the hook."""
    printed = run_python(
        """
import basicsr, importlib, importlib.resources, inspect, pkgutil
modules = [module.name for module in pkgutil.iter_modules(basicsr.__path__)]
print(type(basicsr.__spec__.loader).__name__, 'train' in modules)
print(importlib.resources.files('basicsr').joinpath('train.py').is_file(), 'from .archs' in inspect.getsource(basicsr))
"""
    )
    assert printed.split() == ['SourceFileLoader', 'True', 'True', 'True']


def test_spawned_loader_workers_know_the_plugin(tmp_path: Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text(
        """
from torch.utils.data import DataLoader, Dataset

class Names(Dataset):
    def __len__(self):
        return 1
    def __getitem__(self, index):
        from basicsr.utils.registry import ARCH_REGISTRY
        return 'SrSENet' in ARCH_REGISTRY

if __name__ == '__main__':
    print(next(iter(DataLoader(Names(), num_workers=1, multiprocessing_context='spawn'))))
"""
    )
    assert run([sys.executable, script]).strip().endswith('tensor([True])')


def test_doctor() -> None:
    printed = run(['srsenet', 'doctor'], COLUMNS='200')
    for word in ('torch', 'basicsr', 'Autoload: on', 'functional_tensor', 'safe_option_files'):
        assert word in printed
    assert 'switched off' in run(['srsenet', 'doctor'], SRSENET_PLUGIN_AUTOLOAD='0')

"""The import hook as the installed environment has it; ways of installing are in test_packaging.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import ROOT, run, run_python

pytestmark = pytest.mark.slow

# What stock BasicSR needs on today's torchvision, for tests that keep the plugin out.
WITHOUT_PLUGIN = """
import sys, types
from torchvision.transforms.functional import rgb_to_grayscale
module = sys.modules['torchvision.transforms.functional_tensor'] = types.ModuleType('functional_tensor')
module.rgb_to_grayscale = rgb_to_grayscale
"""


def test_start_of_python_installs_the_hook_and_imports_nothing() -> None:
    """As benchmark_autoload.py measures it: without what else the environment's .pth files import."""
    printed = run([sys.executable, ROOT / 'scripts/benchmark_autoload.py'])
    assert printed.splitlines()[-1] == 'modules imported: srsenet_plugin.autoload'

    printed = run_python(
        "import sys; print('torch' in sys.modules, 'srsenet_plugin' in sys.modules, "
        "[finder.__name__ for finder in sys.meta_path if 'BasicSR' in str(finder)])"
    )
    assert printed.strip() == "False False ['BasicSRFinder']"


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
print('SrSENet' in ARCH_REGISTRY, any('BasicSRFinder' in str(finder) for finder in sys.meta_path))
import srsenet_plugin
print('SrSENet' in ARCH_REGISTRY)
""",
        SRSENET_PLUGIN_AUTOLOAD='0',
    )
    assert printed.split() == ['False', 'False', 'True']


def test_a_plugin_that_fails_leaves_the_toolbox_usable(tmp_path: Path) -> None:
    """A dependency of the plugin alone is broken: BasicSR is imported with a warning that says so."""
    broken = tmp_path / 'mmengine'
    broken.mkdir()
    (broken / '__init__.py').write_text("raise ImportError('broken installation')")
    printed = run_python(
        WITHOUT_PLUGIN + "import basicsr; print('basicsr', basicsr.__version__)", PYTHONPATH=str(tmp_path)
    )
    assert 'basicsr is imported without srsenet_plugin, which failed with ImportError: broken installation' in printed
    assert '`srsenet doctor`' in printed
    assert printed.splitlines()[-1].startswith('basicsr 1.')


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

"""Projects built on BasicSR, in stand-ins of the shapes that HAT, DAT and NAFNet have.

`bash scripts/test_projects.sh FOLDER...` runs the projects themselves.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without CUDA'),
]

OPTIONS = {
    'name': 'own',
    'model_type': 'OwnModel',
    'scale': 2,
    'num_gpu': 'auto',
    'datasets': {
        'train': {
            'name': 'train',
            'type': 'PairedImageDataset',
            'dataroot_gt': 'datasets/gt',
            'dataroot_lq': 'datasets/lq',
            'io_backend': {'type': 'lmdb'},
            'gt_size': 128,
            'use_hflip': True,
            'use_rot': True,
            'use_shuffle': True,
            'num_worker_per_gpu': 4,
            'batch_size_per_gpu': 16,
            'prefetch_mode': 'cuda',
            'pin_memory': True,
        },
        'val': {'name': 'val', 'type': 'PairedImageDataset', 'dataroot_gt': 'a', 'dataroot_lq': 'b'},
    },
    'network_g': {'type': 'OwnNet', 'width': 8},
    'path': {'pretrain_network_g': 'trained.pth', 'strict_load_g': True, 'resume_state': None},
    'train': {
        'optim_g': {'type': 'Adam', 'lr': 1e-4},
        'scheduler': {'type': 'MultiStepLR', 'milestones': [1000], 'gamma': 0.5},
        'total_iter': 5000,
        'pixel_opt': {'type': 'L1Loss'},
    },
    'val': {'val_freq': 1000, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}},
    'logger': {'print_freq': 100, 'save_checkpoint_freq': 1000},
}

NET = """
import torch
from basicsr.utils.registry import ARCH_REGISTRY

@ARCH_REGISTRY.register()
class OwnNet(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, width, 3, padding=1), torch.nn.Conv2d(width, 12, 1))

    def forward(self, x):
        return torch.nn.functional.pixel_shuffle(self.body(x), 2)

@ARCH_REGISTRY.register()
class SRCNN(OwnNet):
    pass
"""

# As Real-ESRGAN's models do, whatever num_gpu says.
MODEL = """
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.matlab_functions import rgb2ycbcr
from basicsr.utils.registry import MODEL_REGISTRY

@MODEL_REGISTRY.register()
class OwnModel(SRModel):
    def feed_data(self, data):
        super().feed_data(data)
        self.queue = torch.zeros(2).cuda()
        self.blur = torch.nn.Identity().cuda()
"""

OWN_COPY_MODEL = MODEL.replace('from basicsr.utils.matlab_functions import rgb2ycbcr\n', '')

TRAIN = """
import os.path
import own.archs.own_arch
import own.models.own_model
from basicsr.train import train_pipeline

if __name__ == '__main__':
    train_pipeline(os.path.abspath(os.path.join(__file__, os.path.pardir, os.path.pardir)))
"""


def write_files(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def tiny_options(folder: Path) -> None:
    run([sys.executable, ROOT / 'scripts/tiny_options.py', folder])


@pytest.fixture(scope='module')
def installed_basicsr() -> Path:
    spec = importlib.util.find_spec('basicsr')
    assert spec
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def test_a_project_on_top_of_basicsr(tmp_path: Path) -> None:
    """The script's table, for a package with a train.py of its own, as HAT and Real-ESRGAN have."""
    project = tmp_path / 'Own'
    write_files(
        project,
        {
            'options/train/train_own.yml': yaml.safe_dump(OPTIONS),
            'own/__init__.py': '',
            'own/archs/own_arch.py': NET,
            'own/models/own_model.py': MODEL,
            'own/train.py': TRAIN,
        },
    )
    before = sorted(project.rglob('*'))
    printed = run(['bash', ROOT / 'scripts/test_projects.sh', project], LOGS=str(tmp_path / 'logs'))
    row = next(line for line in printed.splitlines() if line.startswith('| Own '))
    _, _, _, without, with_plugin, _ = (cell.strip() for cell in row.split('|'))
    assert 'fails' in without
    assert with_plugin == 'import, train, validation, resume'
    assert sorted(project.rglob('*')) == before


@pytest.fixture(scope='module')
def own_copy(tmp_path_factory: pytest.TempPathFactory, installed_basicsr: Path) -> Path:
    """A project with a ``basicsr/`` of its own, as DAT has: never installed, files missing, a registry of 1.3."""
    project = tmp_path_factory.mktemp('copies') / 'OwnNet'
    copy = project / 'basicsr'
    shutil.copytree(installed_basicsr, copy, ignore=shutil.ignore_patterns('__pycache__'))
    (copy / 'version.py').unlink()
    for path in (*copy.glob('data/*_dataset.py'), *copy.glob('models/*_model.py'), *copy.glob('archs/*_arch.py')):
        if path.stem not in ('paired_image_dataset', 'base_model', 'sr_model', 'vgg_arch'):
            path.unlink()
    shutil.rmtree(copy / 'ops')
    for path in (copy / 'data/degradations.py', copy / 'metrics/fid.py', copy / 'metrics/niqe.py'):
        path.unlink()
    for name, pattern, new in (
        ('__init__.py', r'from \.ops import \*\n', ''),
        ('metrics/__init__.py', r'from \.niqe import .*\n', ''),
        ('metrics/__init__.py', r", 'calculate_niqe'", ''),
        ('utils/registry.py', r', suffix=None\)', ')'),
        ('utils/registry.py', r'(?<=func_or_class), suffix\)|(?<=obj), suffix\)', ')'),
        ('utils/registry.py', r'        if isinstance\(suffix, str\):\n.*\n', ''),
    ):
        path = copy / name
        text, count = re.subn(pattern, new, path.read_text())
        assert count, (name, pattern)
        path.write_text(text)
    write_files(
        project, {'VERSION': '1.3.4\n', 'basicsr/archs/own_arch.py': NET, 'basicsr/models/own_model.py': OWN_COPY_MODEL}
    )
    write_files(project, {'options/train_own.yml': yaml.safe_dump(OPTIONS)})
    tiny_options(project)
    return project


def test_a_clone_that_was_never_installed(own_copy: Path) -> None:
    """It trains, validates and resumes, with its own class in the place of the plugin's; what it lacks is left out."""
    paths = {'PYTHONPATH': str(own_copy)}
    printed = run([sys.executable, '-c', 'import basicsr'], own_copy, 600, 1, SRSENET_PLUGIN_AUTOLOAD='0', **paths)
    assert "No module named 'basicsr.version'" in printed

    printed = run([sys.executable, 'basicsr/train.py', '-opt', 'tiny.yml', '--auto_resume'], own_copy, **paths)
    assert 'psnr: ' in printed
    assert 'works in part only' not in printed
    (own_copy / 'experiments/tiny/training_states/4.state').unlink()
    printed = run([sys.executable, 'basicsr/train.py', '-opt', 'tiny.yml', '--auto_resume'], own_copy, **paths)
    assert (
        'Resuming training from epoch: 0, iter: 2' in printed or 'Resuming training from epoch: 1, iter: 2' in printed
    )

    code = """
import basicsr, basicsr.archs
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
from srsenet_plugin.toolbox import patches
print(basicsr.__file__, basicsr.__version__, ARCH_REGISTRY.get('SRCNN').__module__, 'SrSENet' in ARCH_REGISTRY,
      'AcceleratedSRModel' in MODEL_REGISTRY)
print({report.patch.name: report.state for report in patches.apply()})
"""
    printed = run([sys.executable, '-c', code], own_copy, **paths)
    facts, states = printed.splitlines()[-2:]
    assert facts.split() == [
        str(own_copy / 'basicsr/__init__.py'), '1.3.4', 'basicsr.archs.own_arch', 'True', 'True',
    ]  # fmt: skip
    assert "'version_of_a_clone': 'active'" in states
    assert "'ops_without_extension': 'left out'" in states
    assert "'whole_jpeg_qualities': 'left out'" in states
    assert 'failed' not in states


def test_the_copy_that_is_not_imported_is_named(own_copy: Path) -> None:
    """Without PYTHONPATH a project's script imports the installed BasicSR, which does not have its network."""
    printed = run([sys.executable, 'basicsr/train.py', '-opt', 'tiny.yml'], own_copy, 600, 1)
    assert f'not its own in {own_copy / "basicsr"}' in printed
    assert f'PYTHONPATH={own_copy}' in printed
    assert 'network_g: there is no network OwnNet' in printed
    assert f'{own_copy / "basicsr/archs/own_arch.py"} has it' in printed
    assert 'Traceback' not in printed


# The shape of BasicSR 1.2, as NAFNet and Restormer carry it: no __init__.py, no registries, and a train.py that always
# resumes from the last state.
OLD_COPY = {
    'basicsr/data/__init__.py': '',
    'basicsr/models/__init__.py': '',
    'basicsr/models/base_model.py': """
class BaseModel:
    def model_to_device(self, net):
        return net
""",
    'basicsr/utils/__init__.py': '',
    'basicsr/utils/dist_util.py': """
import torch
import torch.distributed as dist

def _init_dist_pytorch(backend, **kwargs):
    torch.cuda.set_device(0 % torch.cuda.device_count())
    dist.init_process_group(backend=backend, **kwargs)
""",
    'basicsr/utils/options.py': """
import yaml

def ordered_yaml():
    return yaml.FullLoader, yaml.Dumper

def parse(path, is_train=True):
    with open(path) as file:
        return yaml.load(file, Loader=ordered_yaml()[0])
""",
    'basicsr/train.py': """
import os
import sys
import torch
from basicsr.utils.options import parse

def main():
    opt = parse(sys.argv[1])
    net = torch.nn.Linear(2, 2)
    iteration = 0
    if os.path.exists('last.state'):
        device = torch.cuda.current_device()
        state = torch.load('last.state', map_location=lambda storage, loc: storage.cuda(device))
        net.load_state_dict(state['net'])
        iteration = state['iter']
        print('Resuming training from iter', iteration)
    for iteration in range(iteration + 1, iteration + opt['iterations'] + 1):
        net(torch.rand(1, 2).cuda()).sum().backward()
    torch.save({'net': net.state_dict(), 'iter': iteration}, 'last.state')
    print('trained until', iteration)

if __name__ == '__main__':
    main()
""",
}


def test_an_old_copy_without_init_file(tmp_path: Path) -> None:
    """It is what Python imports in spite of the installed BasicSR, and it trains and resumes."""
    write_files(tmp_path, {**OLD_COPY, 'tiny.yml': 'iterations: 4\nnum_gpu: 0\n'})
    command = [sys.executable, 'basicsr/train.py', 'tiny.yml']
    paths = {'PYTHONPATH': str(tmp_path)}
    printed = run(command, tmp_path, 600, 1, SRSENET_PLUGIN_AUTOLOAD='0', **paths)
    assert 'Error' in printed  # the installed BasicSR, or .cuda()

    assert 'trained until 4' in run(command, tmp_path, **paths)
    printed = run(command, tmp_path, **paths)
    assert 'Resuming training from iter 4' in printed
    assert 'trained until 8' in printed
    assert 'works in part only' not in printed
    assert 'failed' not in printed

    hostile = tmp_path / 'hostile.yml'
    hostile.write_text('!!python/object/apply:os.mkdir [canary]')
    run([*command[:2], hostile], tmp_path, 600, 1, **paths)
    assert not (tmp_path / 'canary').exists()

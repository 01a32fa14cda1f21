"""Each shim of compat.py: what BasicSR does without it, and with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import WITHOUT_PLUGIN, run, run_python

from srsenet_plugin.toolbox import compat

# Runs BasicSR's train.py as a script without the plugin.
STOCK_TRAIN = f"""{WITHOUT_PLUGIN}
import runpy
runpy.run_path('basicsr/train.py', run_name='__main__')
"""

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without CUDA')


@pytest.fixture(scope='module')
def stock_options(workspace: Path) -> Path:
    """An option file with nothing of the plugin in it: MSRResNet, L1Loss, SRModel."""
    opt = yaml.safe_load((workspace / 'options/train_SrSENet_x4.yml').read_text())
    opt['name'] = 'stock'
    opt['network_g'] = {
        'type': 'MSRResNet',
        'num_feat': 8,
        'num_block': 1,
        'upscale': 4,
        'num_in_ch': 1,
        'num_out_ch': 1,
    }
    opt['train']['pixel_opt'] = {'type': 'L1Loss'}
    opt['train']['total_iter'] = 4
    opt['datasets']['train'].update(
        batch_size_per_gpu=2, num_worker_per_gpu=0, persistent_workers=False, dataset_enlarge_ratio=1
    )
    opt['logger'].update(save_checkpoint_freq=2, print_freq=1, use_tb_logger=False)
    path = workspace / 'options/stock.yml'
    path.write_text(yaml.safe_dump(opt))
    return path


def test_every_shim_reports_why() -> None:
    import basicsr  # noqa: F401

    reports = {report.shim: report for report in compat.apply()}
    assert set(reports) == {
        'functional_tensor',
        'safe_option_files',
        'slurm_without_shell',
        'states_on_the_cpu',
        'distributed_without_cuda',
    }
    assert all(report.reason for report in reports.values())
    assert reports['distributed_without_cuda'].active == (not torch.cuda.is_available())


@pytest.mark.slow
def test_functional_tensor() -> None:
    missing = run_python(
        "import importlib.util as u; print(u.find_spec('torchvision.transforms.functional_tensor') is None)"
    )
    if missing.strip() == 'True':
        printed = run([sys.executable, '-c', 'import basicsr'], status=1, SRSENET_PLUGIN_AUTOLOAD='0')
        assert "No module named 'torchvision.transforms.functional_tensor'" in printed
    printed = run_python(
        'import basicsr, torch, torchvision.transforms.functional as new;'
        'from torchvision.transforms import functional_tensor as old;'
        'img = torch.rand(3, 4, 5); print(torch.equal(old.rgb_to_grayscale(img), new.rgb_to_grayscale(img)))'
    )
    assert printed.strip() == 'True'


def test_shims_leave_alone_what_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CUDA, a torchvision that has the module, and a toolbox with a safe loader, nothing is changed."""
    import basicsr.models.base_model
    from basicsr.utils import dist_util, options

    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    before = (
        options.parse_options,
        options.ordered_yaml,
        dist_util._init_dist_pytorch,
        basicsr.models.base_model.BaseModel.model_to_device,
    )
    shims = (
        compat.functional_tensor,  # the module is there since the first import
        compat.safe_option_files,  # likewise the safe loader
        compat.slurm_without_shell,  # and the call without a shell
        compat.distributed_without_cuda,
    )
    assert [shim()[0] for shim in shims] == [False] * 4
    assert before == (
        options.parse_options,
        options.ordered_yaml,
        dist_util._init_dist_pytorch,
        basicsr.models.base_model.BaseModel.model_to_device,
    )


def test_states_are_loaded_onto_the_cpu_with_cuda_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever script calls: a GPU is no place for random states."""
    import basicsr.train
    from basicsr.utils import options

    torch.save({'iter': 3, 'random': torch.get_rng_state()}, tmp_path / '3.state')
    opt = {'auto_resume': False, 'path': {'resume_state': str(tmp_path / '3.state')}}
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 0)
    monkeypatch.setattr(options, 'parse_options', lambda: opt)
    assert compat.states_on_the_cpu()[0]
    script = {'options': options, 'load_resume_state': basicsr.train.load_resume_state}
    exec('def main():\n    opt = options.parse_options()\n    return load_resume_state(opt)', script)
    state = script['main']()
    assert state['iter'] == 3
    assert state['random'].device.type == 'cpu'
    torch.set_rng_state(state['random'])


def test_functional_tensor_is_left_to_a_toolbox_that_does_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """BasicSR with its import corrected, as a clone of it may have it."""
    import basicsr

    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/degradations.py').write_text('from torchvision.transforms.functional import rgb_to_grayscale')
    monkeypatch.setattr(basicsr, '__path__', [str(tmp_path)])
    monkeypatch.delitem(sys.modules, 'torchvision.transforms.functional_tensor', raising=False)
    active, reason = compat.functional_tensor()
    assert not active
    assert 'torchvision.transforms.functional_tensor' in reason


@pytest.mark.parametrize(
    'hostile',
    [
        '!!python/object/apply:os.mkdir [{canary}]',
        '!!python/object/new:os.mkdir [{canary}]',
        '!!python/name:os.system',
        '!!python/module:os',
    ],
)
def test_option_files_run_no_code(tmp_path: Path, hostile: str) -> None:
    from basicsr.utils import options

    canary = tmp_path / 'canary'
    text = f'name: {hostile.format(canary=canary)}'
    with pytest.raises(yaml.constructor.ConstructorError):
        yaml.load(text, Loader=options.ordered_yaml()[0])
    assert not canary.exists()


@pytest.mark.slow
def test_option_files_run_code_in_the_stock_toolbox(tmp_path: Path) -> None:
    printed = run_python(
        WITHOUT_PLUGIN
        + """
import os, yaml
from basicsr.utils.options import ordered_yaml
yaml.load('!!python/object/apply:os.mkdir [%s]' % sys.argv[1], Loader=ordered_yaml()[0])
print(os.path.isdir(sys.argv[1]))
""",
        tmp_path / 'canary',
        SRSENET_PLUGIN_AUTOLOAD='0',
    )
    assert printed.strip() == 'True', 'BasicSR has become safe; the shim is not needed any more'


def test_plain_option_files_read_as_before() -> None:
    from basicsr.utils import options

    text = """
name: x
lr: !!float 2e-4
scale: 4
list: [1, 0.5, ~, true]
base: &base {a: 1, b: 2}
merged: {<<: *base, b: 3}
"""
    opt = yaml.load(text, Loader=options.ordered_yaml()[0])
    assert type(opt).__name__ == 'OrderedDict'
    assert opt['lr'] == 2e-4
    assert opt['list'] == [1, 0.5, None, True]
    assert dict(opt['merged']) == {'a': 1, 'b': 3}
    assert list(opt) == ['name', 'lr', 'scale', 'list', 'base', 'merged']


@without_cuda
@pytest.mark.slow
def test_auto_resume_without_cuda(workspace: Path, stock_options: Path) -> None:
    command = ['basicsr/train.py', '-opt', stock_options, '--auto_resume']
    printed = run([sys.executable, *command], workspace)
    assert 'Resuming training' not in printed

    states = workspace / 'experiments/stock/training_states'
    (states / '4.state').unlink()
    printed = run([sys.executable, '-c', STOCK_TRAIN, *command[1:]], workspace, status=1, SRSENET_PLUGIN_AUTOLOAD='0')
    assert 'cuda' in printed.splitlines()[-1].lower() or 'nvidia' in printed.splitlines()[-1].lower()

    printed = run([sys.executable, *command], workspace)
    assert 'Resuming training from epoch: 0, iter: 2.' in printed
    assert (states / '4.state').exists()

    # Other projects call the toolbox's train.py from a script of their own.
    (states / '4.state').unlink()
    (workspace / 'own_train.py').write_text(
        'import os\n'
        'from basicsr.train import train_pipeline\n'
        'train_pipeline(os.path.dirname(os.path.abspath(__file__)))\n'
    )
    printed = run([sys.executable, 'own_train.py', *command[1:]], workspace)
    assert 'Resuming training from epoch: 0, iter: 2.' in printed


@without_cuda
@pytest.mark.slow
def test_torchrun_without_cuda(workspace: Path, stock_options: Path) -> None:
    torchrun = ['torchrun', '--standalone', '--nproc_per_node=2']
    arguments = ['-opt', stock_options, '--launcher', 'pytorch', '--force_yml', 'name=stock_torchrun']
    (workspace / 'stock_train.py').write_text(STOCK_TRAIN)
    printed = run([*torchrun, 'stock_train.py', *arguments], workspace, status=1, SRSENET_PLUGIN_AUTOLOAD='0')
    assert 'ZeroDivisionError' in printed

    printed = run([*torchrun, 'basicsr/train.py', *arguments], workspace)
    assert 'World size (gpu number): 2' in printed
    assert (workspace / 'experiments/stock_torchrun/models/net_g_latest.pth').exists()


@without_cuda
@pytest.mark.slow
def test_slurm_launcher_without_cuda(workspace: Path, stock_options: Path) -> None:
    """Two tasks as srun starts them, with a stand-in for the command that tells the first host's name."""
    tools = workspace / 'tools'
    tools.mkdir()
    (tools / 'scontrol').write_text('#!/bin/sh\necho 127.0.0.1\n')
    (tools / 'scontrol').chmod(0o755)
    (workspace / 'srun.sh').write_text('set -e\nSLURM_PROCID=1 "$@" & other=$!\nSLURM_PROCID=0 "$@"\nwait $other\n')
    arguments = ['-opt', stock_options, '--launcher', 'slurm', '--force_yml', 'name=stock_slurm']
    printed = run(
        ['bash', 'srun.sh', sys.executable, 'basicsr/train.py', *arguments, 'dist_params:port=29677'],
        workspace,
        PATH=f'{tools}:{Path(sys.executable).parent}:/usr/bin:/bin',
        SLURM_NTASKS='2',
        SLURM_NODELIST='localhost; touch canary; $(touch canary)',
    )
    assert not (workspace / 'canary').exists()
    assert 'World size (gpu number): 2' in printed
    assert (workspace / 'experiments/stock_slurm/models/net_g_latest.pth').exists()

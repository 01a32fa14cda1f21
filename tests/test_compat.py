"""Each shim of compat.py: what BasicSR does without it, and with it."""

from __future__ import annotations

import importlib.util
import math
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch
import yaml
from conftest import WITHOUT_PLUGIN, run, run_python

from srsenet_plugin.toolbox import compat, patches

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


def is_active(name: str) -> bool:
    import basicsr  # noqa: F401

    return {report.patch.name: report.state for report in patches.apply()}[name] == 'active'


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
    import basicsr.data.degradations
    import basicsr.data.prefetch_dataloader
    import basicsr.models.base_model
    import basicsr.models.video_base_model
    import basicsr.utils.img_process_util
    import basicsr.utils.matlab_functions
    from basicsr.utils import dist_util, options

    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)

    def state() -> tuple[object, ...]:
        return (
            options.parse_options,
            options.ordered_yaml,
            dist_util._init_dist_pytorch,
            basicsr.models.base_model.BaseModel.model_to_device,
            basicsr.models.base_model.BaseModel.get_optimizer,
            basicsr.data.prefetch_dataloader.CUDAPrefetcher,
            basicsr.data.degradations.add_jpg_compression,
            basicsr.models.video_base_model.torch,
            basicsr.utils.img_process_util.filter2D,
            basicsr.utils.matlab_functions.rgb2ycbcr,
        )

    before = state()
    shims = (
        compat.functional_tensor,  # the module is there since the first import
        compat.version_of_a_clone,
        compat.scipy_filters,
        compat.colours_in_matlab_functions,  # likewise these functions
        compat.safe_option_files,  # and the safe loader
        compat.filters_in_any_layout,
        compat.slurm_without_shell,  # and the call without a shell
        compat.distributed_without_cuda,
        compat.cuda_calls_without_cuda,
        compat.prefetch_without_cuda,
        compat.video_validation_without_cuda,
    )
    assert not any(shim()[0] for shim in shims)
    assert state() == before


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


def test_distutils_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python without distutils and setuptools, as far as BasicSR asks it."""
    for name in ('distutils', 'distutils.version'):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        del sys.modules[name]
    find_spec = importlib.util.find_spec
    with monkeypatch.context() as patched:
        patched.setattr(importlib.util, 'find_spec', lambda name: None if name == 'distutils' else find_spec(name))
        assert compat.distutils_version()[0]
    version = sys.modules['distutils.version'].LooseVersion
    assert version('0.29.1+cpu') >= version('0.9.0')
    assert not version('0.8.2') >= version('0.9.0')


def test_scipy_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SciPy that has dropped the module."""
    import scipy.ndimage

    name = 'scipy.ndimage.filters'
    for mapping, key in ((sys.modules, name), (vars(scipy.ndimage), 'filters')):
        monkeypatch.setitem(mapping, key, types.ModuleType(name))
        del mapping[key]
    find_spec = importlib.util.find_spec
    with monkeypatch.context() as patched:
        patched.setattr(importlib.util, 'find_spec', lambda asked: None if asked == name else find_spec(asked))
        assert compat.scipy_filters()[0]
    from scipy.ndimage import filters
    from scipy.ndimage.filters import convolve

    assert convolve is scipy.ndimage.convolve
    assert filters.gaussian_filter is scipy.ndimage.gaussian_filter


def test_colours_in_matlab_functions() -> None:
    """From where HAT imports rgb2ycbcr, with MATLAB's weights."""
    from basicsr.utils import color_util
    from basicsr.utils.matlab_functions import bgr2ycbcr, rgb2ycbcr, ycbcr2bgr, ycbcr2rgb

    rgb = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert rgb2ycbcr(rgb, y_only=True).tolist() == [[round(16 + weight) for weight in (65.481, 128.553, 24.966)]]
    assert (bgr2ycbcr, ycbcr2bgr, ycbcr2rgb) == (color_util.bgr2ycbcr, color_util.ycbcr2bgr, color_util.ycbcr2rgb)
    assert is_active('colours_in_matlab_functions'), 'BasicSR has them there again; the shim is not needed any more'


def test_losses_in_one_module() -> None:
    """From where SwinFIR imports the names of reductions."""
    from basicsr.losses import basic_loss, gan_loss
    from basicsr.losses.losses import GANLoss, L1Loss, _reduction_modes

    assert (L1Loss, GANLoss, _reduction_modes) == (basic_loss.L1Loss, gan_loss.GANLoss, ['none', 'mean', 'sum'])
    with pytest.raises(ImportError, match='WassersteinLoss'):
        from basicsr.losses.losses import WassersteinLoss  # noqa: F401
    assert is_active('losses_in_one_module'), 'BasicSR has the module again; the shim is not needed any more'


def test_filters_in_any_layout() -> None:
    """Real-ESRGAN's order of operations: JPEG artefacts, resizing, a kernel for each image."""
    from basicsr.utils import DiffJPEG
    from basicsr.utils.img_process_util import filter2D

    torch.manual_seed(0)
    img = DiffJPEG(differentiable=False)(torch.rand(2, 3, 32, 32), quality=torch.tensor([50.0, 90.0]))
    img = torch.nn.functional.interpolate(img, size=(24, 24), mode='bilinear')
    kernels = torch.rand(2, 5, 5)
    if is_active('filters_in_any_layout'):
        with pytest.raises(RuntimeError, match='view size is not compatible'):
            filter2D.__wrapped__(img, kernels)
    padded = torch.nn.functional.pad(img, (2, 2, 2, 2), mode='reflect')
    expected = (padded.unfold(2, 5, 1).unfold(3, 5, 1) * kernels[:, None, None, None]).sum((-1, -2))
    torch.testing.assert_close(filter2D(img, kernels), expected)


def test_betas_as_floats() -> None:
    from basicsr.models.base_model import BaseModel

    model = BaseModel({'num_gpu': 0, 'is_train': True, 'dist': False})
    parameters = [torch.zeros(1, requires_grad=True)]
    if is_active('betas_as_floats'):
        with pytest.raises(ValueError, match='betas'):
            BaseModel.get_optimizer.__wrapped__(model, 'Adam', parameters, 0.1, betas=(0, 0.9))
    optimizer = model.get_optimizer('Adam', parameters, 0.1, betas=(0**0.8, 0.9))
    assert optimizer.param_groups[0]['betas'] == (0.0, 0.9)
    assert model.get_optimizer('Adam', parameters, 0.1).param_groups[0]['betas'] == (0.9, 0.999)


def test_whole_jpeg_qualities() -> None:
    from basicsr.data import degradations

    img = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    if is_active('whole_jpeg_qualities'):
        with pytest.raises((cv2.error, TypeError)):
            degradations.add_jpg_compression.__wrapped__(img, 90.5)
    assert degradations.random_add_jpg_compression(img).shape == img.shape
    _, jpeg = cv2.imencode('.jpg', img * 255, [cv2.IMWRITE_JPEG_QUALITY, 30])
    expected = cv2.imdecode(jpeg, 1).astype(np.float32) / 255
    np.testing.assert_array_equal(degradations.add_jpg_compression(img, np.float64(30.7)), expected)


def test_matrix_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SciPy whose sqrtm returns the root alone. Between two normal distributions FID has a closed form."""
    from basicsr.metrics import fid
    from scipy import linalg

    stock = linalg.sqrtm
    monkeypatch.setattr(fid, 'linalg', linalg)
    monkeypatch.setattr(linalg, 'sqrtm', lambda matrix: stock(matrix))
    with pytest.raises(TypeError, match='disp'):
        fid.calculate_fid(np.zeros(2), np.eye(2), np.ones(2), np.eye(2))
    assert compat.matrix_roots()[0]
    # |m1 - m2|^2 + sum over the axes of (s1 - s2)^2
    distance = fid.calculate_fid(np.zeros(2), np.diag([1.0, 4.0]), np.ones(2), np.diag([9.0, 16.0]))
    assert distance == pytest.approx(2 + (1 - 3) ** 2 + (2 - 4) ** 2)


def test_ops_without_extension() -> None:
    """StyleGAN2's generator and a step of its discriminator, with the gradient penalty's second derivatives."""
    from basicsr.archs import build_network
    from basicsr.losses.gan_loss import r1_penalty
    from basicsr.ops.fused_act import fused_leaky_relu
    from basicsr.ops.upfirdn2d import upfirdn2d

    torch.manual_seed(0)
    generator = build_network({'type': 'StyleGAN2Generator', 'out_size': 16, 'num_style_feat': 8, 'num_mlp': 1})
    discriminator = build_network({'type': 'StyleGAN2Discriminator', 'out_size': 16})
    with torch.no_grad():
        img, _ = generator([torch.rand(2, 8)])
    img.requires_grad = True
    r1_penalty(discriminator(img), img).backward()
    assert all(torch.isfinite(p.grad).all() for p in discriminator.parameters() if p.grad is not None)

    features, bias = torch.tensor([[[[1.0]], [[-3.0]]]]), torch.tensor([1.0, 1.0])
    assert fused_leaky_relu(features, bias).flatten().tolist() == pytest.approx([2 * 2**0.5, -0.4 * 2**0.5])
    assert fused_leaky_relu(features.flatten(1), bias).shape == (1, 2)
    assert upfirdn2d(torch.ones(1, 1, 2, 2), torch.ones(2, 2), up=2, pad=(1, 0)).flatten().tolist() == [1.0] * 16


@without_cuda
def test_cuda_calls_without_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BasicSR's Real-ESRGAN degrades its images on the device of the options, the CPU."""
    from basicsr.models import build_model
    from basicsr.utils import options

    opt = {
        'name': 'x',
        'model_type': 'RealESRNetModel',
        'num_gpu': 'auto',
        'scale': 2,
        'datasets': {},
        'network_g': {'type': 'SRVGGNetCompact', 'num_conv': 1, 'num_feat': 4, 'upscale': 2},
        'path': {'pretrain_network_g': None},
    }
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(opt))
    monkeypatch.setattr(sys, 'argv', ['test.py', '-opt', str(tmp_path / 'opt.yml')])
    parsed, _ = options.parse_options(str(tmp_path), is_train=False)
    model = build_model(parsed | {'dist': False})
    assert model.usm_sharpener(torch.rand(1, 3, 64, 64)).device.type == 'cpu'
    assert torch.zeros(1).cuda().device.type == 'cpu'


@without_cuda
def test_prefetch_without_cuda() -> None:
    from basicsr.data.prefetch_dataloader import CUDAPrefetcher

    prefetcher = CUDAPrefetcher([{'lq': 1}, {'lq': 2}], {'num_gpu': 0})
    for _ in range(2):
        assert [prefetcher.next(), prefetcher.next(), prefetcher.next()] == [{'lq': 1}, {'lq': 2}, None]
        prefetcher.reset()


@without_cuda
def test_video_validation_without_cuda() -> None:
    from basicsr.models.video_base_model import VideoBaseModel

    class Frames:
        opt: ClassVar = {'name': 'frames'}
        data_info: ClassVar = {'folder': ['a', 'a']}

        def __len__(self) -> int:
            return 2

        def __getitem__(self, i: int) -> dict[str, Any]:
            img = torch.full((3, 8, 8), 0.5)
            return {'lq': img + 0.1, 'gt': img, 'folder': 'a', 'idx': f'{i}/2', 'lq_path': f'a/{i}.png'}

    class Model(VideoBaseModel):
        def __init__(self) -> None:
            metrics = {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}
            self.opt = {'dist': False, 'is_train': False, 'val': {'metrics': metrics}}

        def feed_data(self, data: dict[str, Any]) -> None:
            self.lq, self.gt = data['lq'], data['gt']

        def test(self) -> None:
            self.output = self.lq

        def get_current_visuals(self) -> dict[str, Any]:
            return {'result': self.output, 'gt': self.gt}

    model = Model()
    model.dist_validation(types.SimpleNamespace(dataset=Frames()), 0, None, save_img=False)
    mse = (round(0.6 * 255) - round(0.5 * 255)) ** 2
    assert model.metric_results['a'].flatten().tolist() == pytest.approx([10 * math.log10(255**2 / mse)] * 2)

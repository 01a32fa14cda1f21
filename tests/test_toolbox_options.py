"""Each of BasicSR's own options, unusual ones too: trainings and tests come to the same as with SRModel."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr import test, train
from basicsr.archs import build_network
from conftest import write_photo

from srsenet_plugin.prepare.benchmark_folders import make_benchmark
from srsenet_plugin.prepare.packing import Packing, lmdb_folders, pack_images
from srsenet_plugin.weights import files

SRSENET = {'type': 'SrSENet', 'num_feat': 8, 'num_block': 1, 'reduction': 4, 'upscale': 4}
Options = dict[str, Any]
Change = Callable[[Options, Path], None]


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs as LMDBs and as folders, at x3 and x4, and weights."""
    folder = tmp_path_factory.mktemp('data')
    source = folder / 'source'
    write_photo('coffee.png', source / 'coffee.png', (100, 100, 96, 108))
    write_photo('chelsea.png', source / 'chelsea.png', (100, 100, 108, 96))
    pack_images(source, folder, 'lmdb', Packing([4]))
    make_benchmark(source, folder / 'set', [3, 4])
    torch.manual_seed(1)
    small, large = (build_network({**SRSENET, 'num_feat': num_feat}).state_dict() for num_feat in (8, 16))
    torch.save(
        {'params': small, 'params_ema': {name: 2 * weight for name, weight in small.items()}}, folder / 'net.pth'
    )
    torch.save({'params': large}, folder / 'large.pth')
    torch.save(small, folder / 'bare.pth')
    return folder


def paired(data: Path, name: str, scale: int = 4) -> Options:
    roots = {'dataroot_gt': str(data / f'set/GTmod{scale}'), 'dataroot_lq': str(data / f'set/LRbicx{scale}')}
    return {'name': name, 'type': 'PairedImageDataset', **roots, 'io_backend': {'type': 'disk'}, 'color': 'y'}


def lmdbs(data: Path) -> Options:
    gt, lq = lmdb_folders(data, 'lmdb', [4])
    return {'dataroot_gt': str(gt), 'dataroot_lq': str(lq), 'io_backend': {'type': 'lmdb'}}


def train_options(data: Path) -> Options:
    patches = {'gt_size': 16, 'use_hflip': True, 'use_rot': True}
    loading = {'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0, 'dataset_enlarge_ratio': 3}
    return {
        'name': 'x',
        'model_type': 'SRModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': {
            'train': paired(data, 'train') | lmdbs(data) | patches | loading,
            'val': paired(data, 'Set2'),
        },
        'network_g': dict(SRSENET),
        'path': {},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 0.01},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [2], 'gamma': 0.5},
            'total_iter': 4,
            'pixel_opt': {'type': 'L1Loss'},
        },
        'val': {
            'val_freq': 4,
            'save_img': False,
            'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4, 'test_y_channel': True}},
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }


def setting(section: str, **values: Any) -> Change:
    def change(opt: Options, data: Path) -> None:
        for key in filter(None, section.split(':')):
            opt = opt[key]
        opt |= copy.deepcopy(values)

    return change


def pretrained(name: str, **path: Any) -> Change:
    def change(opt: Options, data: Path) -> None:
        opt['path'] |= {'pretrain_network_g': str(data / name), **path}

    return change


def several(*changes: Change) -> Change:
    def change(opt: Options, data: Path) -> None:
        for each in changes:
            each(opt, data)

    return change


def no_validation(opt: Options, data: Path) -> None:
    del opt['val'], opt['datasets']['val']


def no_validation_of_the_set(opt: Options, data: Path) -> None:
    del opt['val']


def no_metrics(opt: Options, data: Path) -> None:
    del opt['val']['metrics']


def no_top_level_scale(opt: Options, data: Path) -> None:
    del opt['scale']
    for dataset in opt['datasets'].values():
        dataset['scale'] = 4


def two_sets_and_metrics(opt: Options, data: Path) -> None:
    opt['datasets']['val_2'] = paired(data, 'Other')
    opt['val']['metrics']['ssim'] = {'type': 'calculate_ssim', 'crop_border': 2}
    opt['val']['metrics']['least'] = {'type': 'calculate_psnr', 'crop_border': 0, 'better': 'lower'}
    opt['val']['pbar'] = True


def in_colour(opt: Options, data: Path) -> None:
    for dataset in opt['datasets'].values():
        del dataset['color']
    opt['network_g'] |= {'num_in_ch': 3, 'num_out_ch': 3}


def from_folders(opt: Options, data: Path) -> None:
    opt['datasets']['train'] |= {**paired(data, 'folders'), 'filename_tmpl': '{}'}


def our_datasets(opt: Options, data: Path) -> None:
    for dataset in opt['datasets'].values():
        dataset |= {'type': 'PairedLmdbDataset', **lmdbs(data)}


def times_three(opt: Options, data: Path) -> None:
    opt['scale'] = opt['network_g']['upscale'] = 3
    opt['datasets']['train'] |= {**paired(data, 'x3', 3), 'gt_size': 15}
    opt['datasets']['val'] = paired(data, 'Set2', 3)


EMA = setting('train', ema_decay=0.9)
COSINES = {'type': 'CosineAnnealingRestartLR', 'periods': [3, 3], 'restart_weights': [1, 0.5], 'eta_min': 1e-4}
RESTARTS = {'type': 'MultiStepRestartLR', 'milestones': [3], 'restarts': [0, 2], 'restart_weights': [1, 0.5]}
MSRRESNET = {'type': 'MSRResNet', 'num_in_ch': 1, 'num_out_ch': 1, 'num_feat': 4, 'num_block': 1, 'upscale': 4}
TRAININGS = {
    'as it is': setting(''),
    'no validation': no_validation,
    'no validation of the set': no_validation_of_the_set,
    'no metrics': no_metrics,
    'metrics: ~': setting('val', metrics=None),
    'two sets and metrics, a progress bar': two_sets_and_metrics,
    'no top-level scale': no_top_level_scale,
    'one worker': setting('datasets:train', num_worker_per_gpu=1, prefetch_mode='cpu'),
    'batches of one': setting('datasets:train', batch_size_per_gpu=1, dataset_enlarge_ratio=1),
    'in colour': in_colour,
    'from folders': from_folders,
    'normalised': setting('datasets:train', mean=[0.5], std=[0.5]),
    'our datasets': our_datasets,
    'x3': times_three,
    'averaged weights': EMA,
    'saved images': several(setting('val', save_img=True, suffix='y'), EMA),
    'pretrained': several(pretrained('net.pth'), EMA),
    'pretrained, another key': pretrained('net.pth', param_key_g='params_ema'),
    'pretrained, a key that is not there': several(pretrained('net.pth', param_key_g='nothing'), EMA),
    'pretrained, no key': pretrained('bare.pth', param_key_g=None),
    'pretrained, sizes that do not fit': several(pretrained('large.pth', strict_load_g=False), EMA),
    'warm-up and restarts': setting('train', warmup_iter=3, scheduler=RESTARTS),
    'cosines': setting('train', scheduler=COSINES),
    'sums': setting('train', pixel_opt={'type': 'CharbonnierPenaltyLoss', 'reduction': 'sum', 'loss_weight': 0.1}),
    'their network': setting('', network_g=MSRRESNET),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs BasicSR's own train.py or test.py in process, and returns the model and the folder of its results."""

    def run(opt: Options, *arguments: str, command: Any = train) -> tuple[Any, Path]:
        root = tmp_path / opt['model_type']
        root.mkdir(exist_ok=True)
        (root / 'opt.yml').write_text(yaml.safe_dump(opt))
        monkeypatch.chdir(root)
        monkeypatch.setattr(sys, 'argv', ['x', '-opt', 'opt.yml', *arguments])
        models = []

        def build_model(opt: Options) -> Any:
            models.append(stock(opt))
            return models[0]

        stock = command.build_model
        with monkeypatch.context() as patch:
            patch.setattr(command, 'build_model', build_model)
            (train.train_pipeline if command is train else test.test_pipeline)(str(root))
        return models[0], root / ('experiments' if command is train else 'results') / opt['name']

    return run


def both(run: Callable[..., Any], opt: Options, command: Any = train) -> tuple[Any, Any, Path, Path]:
    """Runs the same options with SRModel and with AcceleratedSRModel, and compares the figures."""
    stock, theirs = run(opt, command=command)
    model, ours = run(opt | {'model_type': 'AcceleratedSRModel'}, command=command)
    assert getattr(model, 'metric_results', {}) == getattr(stock, 'metric_results', {})
    assert best(model) == best(stock)
    return model, stock, ours, theirs


def best(model: Any) -> dict[str, Any]:
    return {
        dataset: {metric: record['val'] for metric, record in records.items()}
        for dataset, records in getattr(model, 'best_metric_results', {}).items()
    }


def images(folder: Path) -> dict[str, Any]:
    paths = sorted(folder.glob('visualization/**/*.png'))
    return {str(path.relative_to(folder)): cv2.imread(str(path)) for path in paths}


def assert_same_images(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, img in found.items():
        np.testing.assert_array_equal(img, expected[name])


@pytest.mark.parametrize('change', TRAININGS.values(), ids=TRAININGS)
def test_trainings_equal_the_stock_models(data: Path, run: Callable[..., Any], change: Change) -> None:
    opt = train_options(data)
    change(opt, data)
    _, _, ours, theirs = both(run, opt)
    saved, expected = (files.load(folder / 'models/net_g_latest.pth') for folder in (ours, theirs))
    assert saved.keys() - {'network_g'} == expected.keys()
    for key, weights in expected.items():
        assert list(saved[key]) == list(weights)
        for name, weight in weights.items():
            assert torch.equal(saved[key][name], weight), (key, name)
    assert sorted(path.name for path in ours.glob('training_states/*')) == ['2.state', '4.state']
    expected_images = {re.sub(r'_[^4]\.png', '_4.png', name): img for name, img in images(theirs).items()}
    assert_same_images(images(ours), expected_images)  # BasicSR counts beyond the end
    assert bool(expected_images) == bool((opt.get('val') or {}).get('save_img'))


@pytest.mark.parametrize('suffix', ['absent', None, 'y'])
@pytest.mark.parametrize('with_gt', [True, False])
def test_tests_equal_the_stock_models(data: Path, run: Callable[..., Any], suffix: str | None, with_gt: bool) -> None:
    opt = train_options(data)
    opt['path'] = {'pretrain_network_g': str(data / 'net.pth')}
    opt['datasets'] = {f'test_{i}': paired(data, f'Set{i}') for i in (1, 2)}
    opt['val'] = {'save_img': True, 'metrics': opt['val']['metrics']}
    if suffix != 'absent':
        opt['val']['suffix'] = suffix
    if not with_gt:
        del opt['val']['metrics'], opt['datasets']['test_2']['dataroot_gt']
        opt['datasets']['test_2']['type'] = 'SingleImageDataset'
    _, _, ours, theirs = both(run, opt, command=test)
    found = images(ours)
    assert len(found) == 4
    assert_same_images(found, images(theirs))


def test_gan_models_train_with_our_losses(data: Path, run: Callable[..., Any]) -> None:
    opt = train_options(data) | {'model_type': 'SRGANModel'}
    opt['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 1, 'num_feat': 4}
    opt['train'] |= {
        'pixel_opt': {'type': 'CharbonnierPenaltyLoss'},
        'gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
        'optim_d': {'type': 'Adam', 'lr': 0.001},
        'ema_decay': 0.9,
    }
    our_datasets(opt, data)
    model, folder = run(opt)
    assert {'l_g_pix', 'l_g_gan', 'l_d_real'} <= set(model.log_dict)
    assert model.metric_results['psnr'] > 5
    assert {path.name for path in folder.glob('models/*')} >= {'net_g_latest.pth', 'net_d_latest.pth'}


def test_a_resumed_training_may_have_other_metrics_and_sets(data: Path, run: Callable[..., Any]) -> None:
    opt = train_options(data) | {'model_type': 'AcceleratedSRModel'}
    run(opt)
    two_sets_and_metrics(opt, data)
    opt['train']['total_iter'] = 6
    model, _ = run(opt, '--auto_resume')
    assert model._iteration == 6
    records = best(model)
    assert records.keys() == {'Set2', 'Other'}
    assert records['Set2'].keys() == {'psnr', 'ssim', 'least'}
    del opt['val']['metrics']['psnr']
    opt['train']['total_iter'] = 8
    model, _ = run(opt, '--auto_resume')
    assert best(model)['Set2'].keys() == {'ssim', 'least'}

"""Options that would end a training or a validation later, or make it silently wrong, are refused in a sentence."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from basicsr.utils import options
from conftest import write_photo

from srsenet_plugin.prepare.lmdb_writer import LmdbWriter, encode
from srsenet_plugin.toolbox.option_checks import OptionError


@pytest.fixture
def opt(tmp_path: Path) -> dict[str, Any]:
    """The content of a small option file, without a mistake: two LMDBs of RGB, and a folder of one image."""
    for name in ('gt', 'lq'):
        with LmdbWriter(tmp_path / f'{name}.lmdb', {'colour': 'rgb'}) as writer:
            writer.put('key', encode(np.zeros((48, 48, 3), np.uint8), 'ppm'))
    write_photo('coffee.png', tmp_path / 'val/small.png', (0, 0, 20, 24))
    return {
        'name': 'x',
        'model_type': 'AcceleratedSRModel',
        'num_gpu': 'auto',
        'scale': 4,
        'datasets': {
            'train': {
                'name': 'train',
                'type': 'PairedLmdbDataset',
                'dataroot_gt': str(tmp_path / 'gt.lmdb'),
                'dataroot_lq': str(tmp_path / 'lq.lmdb'),
                'io_backend': {'type': 'lmdb'},
                'gt_size': 48,
                'use_hflip': True,
                'use_rot': True,
            },
            'val': {
                'name': 'small',
                'type': 'PairedImageDataset',
                'dataroot_gt': str(tmp_path / 'val'),
                'dataroot_lq': str(tmp_path / 'val'),
                'io_backend': {'type': 'disk'},
            },
        },
        'path': {'pretrain_network_g': None},
        'train': {'total_iter': 30},
        'val': {'val_freq': 5, 'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}},
        'logger': {},
    }


def parse(opt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, is_train: bool = True) -> Any:
    path = tmp_path / 'opt.yml'
    path.write_text(yaml.safe_dump(opt))
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(path), *arguments])
    return options.parse_options(str(tmp_path), is_train=is_train)


def refusal(opt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, is_train: bool = True) -> str:
    with pytest.raises(OptionError) as error:
        parse(opt, tmp_path, monkeypatch, *arguments, is_train=is_train)
    file, _, rest = str(error.value.code).partition(':\n')
    assert file == str(tmp_path / 'opt.yml')
    assert not (tmp_path / 'experiments').exists()
    return rest


NO_COUNTS = [0, -1, '3', True, 2.5, [3]]
NO_SWITCHES = ['yes', 1, 0]


@pytest.mark.parametrize(
    ('place', 'wrong', 'words'),
    [
        ('logger:keep_checkpoints', NO_COUNTS, 'a whole number greater than 0'),
        ('train:accumulate', NO_COUNTS, 'a whole number greater than 0'),
        ('train:max_bad_steps', NO_COUNTS, 'a whole number greater than 0'),
        ('train:grad_clip', [0, -0.5, '1e-3', True, float('nan')], 'a number greater than 0'),
        ('train:amp', ['int8', True, 16], 'one of off, bf16, fp16'),
        ('train:channels_last', NO_SWITCHES, 'true or false'),
        ('train:compile', NO_SWITCHES, 'true or false'),
        ('val:round_gt', NO_SWITCHES, 'true or false'),
        ('datasets:train:gt_size', NO_COUNTS, 'a whole number greater than 0'),
        ('datasets:train:use_hflip', NO_SWITCHES, 'true or false'),
        ('datasets:train:use_rot', NO_SWITCHES, 'true or false'),
        ('datasets:train:color', ['Y', 'grey', True], 'y or rgb'),
    ],
)
def test_values_of_the_plugins_options(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, wrong: list[Any], words: str
) -> None:
    *path, name = place.split(':')
    section = opt
    for key in path:
        section = section[key]
    for value in wrong:
        section[name] = value
        message = refusal(opt, tmp_path, monkeypatch).partition('.\n')[0].rstrip('.')
        assert message.startswith(f'  {": ".join([*path, name])}: {value!r} is not {words}'), message
        assert ('It is text to YAML' in message) == (value in ('3', '1e-3'))
    section[name] = None
    if name != 'gt_size':
        parse(opt, tmp_path, monkeypatch)  # ~ stands for the default


@pytest.mark.parametrize(
    ('option', 'wrong', 'words'),
    [
        ('quality', [75, [75], [95, 30], [0, 50], [30, 101], [30.0, 95], ['30', 95], [True, 95]], 'the lowest and'),
        ('noise', [3, [3, 0], [-1, 3], [0, float('nan')], [0, '3']], 'the lowest and'),
        ('clean', [-0.1, 1.1, '0.1', True, [0.1]], 'a number from 0 to 1'),
        ('noisy', [2, False], 'a number from 0 to 1'),
    ],
)
def test_jpeg(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, wrong: list[Any], words: str
) -> None:
    jpeg = opt['datasets']['train']['jpeg'] = {'quality': [30, 95], 'clean': 0, 'noise': [0, 3], 'noisy': 1}
    parse(opt, tmp_path, monkeypatch)
    for value in wrong:
        jpeg[option] = value
        message = refusal(opt, tmp_path, monkeypatch)
        assert message.startswith(f'  datasets: train: jpeg: {option}: {value!r} is not {words}'), message
        assert len(message.splitlines()) == 1
    jpeg[option] = None if option != 'quality' else [95, 95]
    parse(opt, tmp_path, monkeypatch)  # ~ stands for the default


def test_jpeg_in_the_wrong_place(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, val = opt['datasets']['train'], opt['datasets']['val']
    for jpeg in ({}, 75, {'clean': 0.1}, {'quality': None}):
        train['jpeg'] = jpeg
        message = '  datasets: train: jpeg has no quality, such as quality: [30, 95].'
        assert refusal(opt, tmp_path, monkeypatch) == message
    train['jpeg'] = {'quality': [30, 95], 'qualty': [30, 95]}
    assert refusal(opt, tmp_path, monkeypatch) == (
        '  datasets: train: jpeg has no option qualty; there are quality, clean, noise, noisy.'
    )
    train['jpeg'], val['jpeg'] = None, {'quality': [30, 95]}
    message = '  datasets: val: jpeg is for the training patches of PairedLmdbDataset. Nothing reads it here.'
    assert refusal(opt, tmp_path, monkeypatch) == message
    val['type'] = 'SingleImageDataset'  # of a project, which may read it
    del opt['val']['metrics']
    parse(opt, tmp_path, monkeypatch)


def test_the_same_names_are_free_in_other_models(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opt |= {'model_type': 'SRModel', 'train': {'amp': 'a project of its own', 'compile': 3}}
    parse(opt, tmp_path, monkeypatch)


@pytest.mark.parametrize('name', ['NoModel', 'SRGANModel', 3, ['SRModel']])
def test_base_models(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any) -> None:
    opt['base_model'] = name
    message = refusal(opt, tmp_path, monkeypatch)
    assert re.search(r'base_model: .* is not registered|base_model: SRGANModel has its own optimize_param', message)
    opt['base_model'] = 'SwinIRModel'
    parse(opt, tmp_path, monkeypatch)


def test_values_that_fit(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opt['train'] |= {'amp': 'bf16', 'channels_last': True, 'compile': False, 'accumulate': 4}
    opt['train'] |= {'grad_clip': 1, 'max_bad_steps': 1}
    opt['val']['round_gt'] = False
    opt['logger']['keep_checkpoints'] = 1
    opt['datasets']['train']['color'] = 'rgb'
    parse(opt, tmp_path, monkeypatch)
    parse(opt, tmp_path, monkeypatch, '--force_yml', 'train:amp=off', 'train:grad_clip=0.5')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'gt_size': 50}, r'datasets: train: gt_size: 50 is no multiple of scale: 4\. 48 is one\.'),
        ({'gt_size': None}, r'datasets: train has no gt_size, which PairedLmdbDataset needs'),
        ({'io_backend': {'type': 'disk'}}, r"reads io_backend: type: lmdb, not 'disk'\. type: PairedImageDataset"),
        ({'scale': None}, r'The option file has no scale, which PairedLmdbDataset needs'),
    ],
)
def test_train_sets(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    if 'scale' in change:
        del opt['scale']
    else:
        opt['datasets']['train'] |= change
    assert re.search(message, refusal(opt, tmp_path, monkeypatch))


@pytest.mark.parametrize('change', [{'color': None}, {'color': 'y'}])
def test_lmdbs_of_y_come_in_pairs_and_need_color_y(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    with LmdbWriter(tmp_path / 'y.lmdb', {'colour': 'y'}) as writer:
        writer.put('key', encode(np.zeros((8, 8), np.uint8), 'ppm'))
    opt['datasets']['train'] |= {'dataroot_gt': str(tmp_path / 'y.lmdb')} | change
    assert re.search(r'come in pairs and need color: y\. Of Y are: \S+/y\.lmdb\.', refusal(opt, tmp_path, monkeypatch))


@pytest.mark.parametrize('backend', ['disk', 'lmdb'])
def test_images_within_the_border(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    val, psnr = opt['datasets']['val'], opt['val']['metrics']['psnr']
    if backend == 'lmdb':
        with LmdbWriter(tmp_path / 'val.lmdb', {'colour': 'rgb'}) as writer:
            writer.put('small', encode(np.zeros((20, 24, 3), np.uint8), 'ppm'))
        val |= {'dataroot_gt': str(tmp_path / 'val.lmdb'), 'dataroot_lq': str(tmp_path / 'val.lmdb')}
        val['io_backend'] = {'type': 'lmdb'}
    psnr['crop_border'] = 9
    parse(opt, tmp_path, monkeypatch)
    psnr['crop_border'] = 10
    message = refusal(opt, tmp_path, monkeypatch)
    assert re.search(
        r'datasets: val: \S+small\.png has 24x20 pixels, which leave nothing for psnr within crop_border', message
    )
    psnr['crop_border'] = 4
    opt['val']['metrics']['ssim'] = {'type': 'calculate_ssim', 'crop_border': 4}
    parse(opt, tmp_path, monkeypatch)
    opt['val']['metrics']['ssim']['crop_border'] = 5
    assert 'nothing for ssim within crop_border. A side of 21' in refusal(opt, tmp_path, monkeypatch)


def test_metrics_without_gt(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del opt['datasets']['train']
    opt['datasets']['test_1'] = opt['datasets'].pop('val')
    opt['datasets']['test_1'] |= {'type': 'SingleImageDataset'}
    del opt['datasets']['test_1']['dataroot_gt']
    message = refusal(opt, tmp_path, monkeypatch, is_train=False)
    assert 'datasets: test_1: SingleImageDataset has no GT images, which psnr of val: metrics compare' in message
    opt['val']['metrics'] = {'niqe': {'type': 'calculate_niqe', 'crop_border': 4}}
    parse(opt, tmp_path, monkeypatch, is_train=False)
    opt['val'] = {'save_img': True, 'metrics': None}
    parsed, _ = parse(opt, tmp_path, monkeypatch, is_train=False)
    assert parsed['val']['suffix'] is None  # as test.py asks for it


@pytest.mark.parametrize(
    ('val', 'message'),
    [
        ({'val_freq': 5}, 'val has no save_img: true or false'),
        ({'save_img': False}, 'val: val_freq: None is not a number greater than 0'),
        ({'save_img': False, 'val_freq': 0}, 'val: val_freq: 0 is not a number greater than 0'),
        ({'save_img': False, 'val_freq': 5, 'metrics': ['psnr']}, r"val: metrics: \['psnr'\] is not a name for each"),
        ('Set5', "val has no keys, but 'Set5'"),
    ],
)
def test_validations(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, val: Any, message: str) -> None:
    opt['val'] = val
    assert re.search(message, refusal(opt, tmp_path, monkeypatch))


def test_schedules_that_end_too_early(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = {'type': 'CosineAnnealingRestartLR', 'periods': [10, 20], 'restart_weights': [1, 0.5]}
    opt['train'] = {'total_iter': 30, 'scheduler': scheduler}
    parse(opt, tmp_path, monkeypatch)
    with pytest.raises(OptionError, match=r'total_iter: 31 is more than scheduler: periods: \[10, 20\] add up to'):
        parse(opt, tmp_path, monkeypatch, '--force_yml', 'train:total_iter=31')


def test_networks_of_several_outputs_need_a_loss_that_takes_them(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opt |= {'network_g': {'type': 'LapSRN'}, 'train': {'pixel_opt': {'type': 'L1Loss'}}}
    parse(opt, tmp_path, monkeypatch, is_train=False)
    with pytest.raises(OptionError, match=r'LapSRN predicts several images[\s\S]*loss: {type: L1Loss, ...}'):
        parse(opt, tmp_path, monkeypatch)
    opt['train']['pixel_opt']['type'] = 'DeepSupervisionLoss'
    parse(opt, tmp_path, monkeypatch)

"""Names and keys in option files that nobody knows are answered with the nearest known one."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from basicsr.utils import options
from conftest import ROOT

from srsenet_plugin.toolbox.nearest_names import nearest
from srsenet_plugin.toolbox.option_checks import OptionError


@pytest.fixture
def opt() -> dict[str, Any]:
    """Every place that names something, without a mistake."""
    return {
        'name': 'x',
        'model_type': 'AcceleratedSRModel',
        'num_gpu': 'auto',
        'scale': 4,
        'datasets': {'train': {'type': 'PairedImageDataset'}, 'val': {'type': 'PairedImageDataset'}},
        'network_g': {'type': 'SrSENet', 'upscale': 4, 'num_block': 8},
        'path': {'pretrain_network_g': None},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-4},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [1]},
            'total_iter': 10,
            'pixel_opt': {'type': 'CharbonnierPenaltyLoss', 'loss_weight': 1},
        },
        'val': {'val_freq': 10, 'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}},
        'logger': {'print_freq': 1},
    }


def parse(opt: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'opt.yml'
    path.write_text(yaml.safe_dump(opt))
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(path)])
    options.parse_options(str(tmp_path), is_train=False)


def change(opt: dict[str, Any], keys: str, value: Any) -> None:
    *sections, key = keys.split(':')
    for section in sections:
        opt = opt[section]
    opt[key] = value


def test_sound_options_pass_without_a_word(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        parse(opt, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ('keys', 'value', 'message'),
    [
        ('network_g:type', 'SRSENet', 'network_g: there is no network SRSENet. The nearest name is SrSENet.'),
        ('network_g:type', 'MSRResnet', 'network_g: there is no network MSRResnet. The nearest name is MSRResNet.'),
        ('network_g:type', 'Quux', 'network_g: there is no network Quux.'),
        ('network_g:num_blocks', 3, 'network_g: SrSENet has no option num_blocks; the nearest is num_block.'),
        ('network_g:qqq', 3, 'network_g: SrSENet has no option qqq; there are num_in_ch, num_out_ch, num_feat, num_bl'),
        ('model_type', 'SrModel', 'model_type: there is no model SrModel. The nearest name is SRModel.'),
        (
            'datasets:train:type',
            'PairedImagesDataset',
            'datasets: train: there is no dataset PairedImagesDataset. The nearest name is PairedImageDataset.',
        ),
        ('train:pixel_opt:type', 'L1loss', 'train: pixel_opt: there is no loss L1loss. The nearest name is L1Loss.'),
        ('train:pixel_opt:weight', 1, 'train: pixel_opt: CharbonnierPenaltyLoss has no option weight; '),
        (
            'val:metrics:psnr:type',
            'calculate-psnr',
            'val: metrics: psnr: there is no metric calculate-psnr. The nearest name is calculate_psnr.',
        ),
        ('train:optim_g:type', 'adam', 'train: optim_g: there is no adam. The nearest name is Adam.'),
        (
            'train:scheduler:type',
            'CosineAnnealingRestart',
            'train: scheduler: there is no CosineAnnealingRestart. The nearest name is CosineAnnealingRestartLR.',
        ),
    ],
)
def test_unknown_names(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str, value: Any, message: str
) -> None:
    change(opt, keys, value)
    with pytest.raises(OptionError) as error:
        parse(opt, tmp_path, monkeypatch)
    assert message in error.value.code


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        ('train:total_iters', 'train: total_iters. The nearest key that is read is total_iter.'),
        ('train:warmup_iters', 'train: warmup_iters. The nearest key that is read is warmup_iter.'),
        ('val:val_frequ', 'val: val_frequ. The nearest key that is read is val_freq.'),
        (
            'datasets:train:batch_size_pergpu',
            'train: batch_size_pergpu. The nearest key that is read is batch_size',
        ),
        ('path:strict_loadg', 'path: strict_loadg. The nearest key that is read is strict_load_g.'),
    ],
)
def test_keys_that_nothing_reads(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str, message: str
) -> None:
    for section, key in ((opt, 'scale'), (opt['train'], 'total_iter'), (opt['val'], 'val_freq')):
        del section[key]  # a key is not meant where it is there as well
    change(opt, keys, 1)
    with pytest.warns(UserWarning, match='Nothing reads') as caught:
        parse(opt, tmp_path, monkeypatch)
    assert message in str(caught[0].message)


def test_a_key_of_a_projects_own_is_no_mistake(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Restormer's; nothing that is read is near."""
    opt['datasets']['train']['mini_batch_sizes'] = [8, 5]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        parse(opt, tmp_path, monkeypatch)


def test_the_file_that_has_the_name_in_another_basicsr(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual cause of "No object named": the installed BasicSR is imported, not the project's own."""
    archs = tmp_path / 'basicsr/archs'
    archs.mkdir(parents=True)
    (tmp_path / 'basicsr/train.py').touch()
    (archs / 'own_arch.py').write_text('class OwnNet(Base):\n    pass\n')
    monkeypatch.chdir(tmp_path)
    change(opt, 'network_g:type', 'OwnNet')
    with pytest.raises(OptionError) as error:
        parse(opt, tmp_path, monkeypatch)
    assert f'{archs / "own_arch.py"} has it, but the basicsr that is imported is ' in error.value.code
    assert f'PYTHONPATH={tmp_path} imports that one.' in error.value.code


@pytest.mark.parametrize(
    'path',
    sorted({*ROOT.glob('options/**/*.yml')} - {ROOT / 'options/released/stages.yml'}),
    ids=lambda path: path.name,
)
def test_our_own_option_files_have_no_unknown_names(path: Path) -> None:
    from srsenet_plugin.toolbox import nearest_names

    opt = yaml.safe_load(path.read_text())
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert list(nearest_names.check_names(opt | {'rank': 0})) == []


@pytest.mark.parametrize(
    ('name', 'known', 'found'),
    [
        ('srsenet', ['SrSENet', 'SRCNN'], 'SrSENet'),
        ('num-feats', ['num_feat', 'num_block'], 'num_feat'),
        ('entirely', ['other', 'things'], None),
        ('', ['other'], None),
        ('name', [], None),
    ],
)
def test_nearest(name: str, known: list[str], found: str | None) -> None:
    assert nearest(name, known) == found

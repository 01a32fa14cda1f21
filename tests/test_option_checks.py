"""Mistakes in option files end BasicSR's own commands with a sentence, before anything is made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from basicsr.utils import options
from conftest import run

from srsenet_plugin.prepare.lmdb_writer import LmdbWriter, encode
from srsenet_plugin.toolbox.option_checks import OptionError


@pytest.fixture
def opt(tmp_path: Path) -> dict[str, Any]:
    """A minimal option file's content, without a mistake."""
    (tmp_path / 'gt').mkdir()
    return {
        'name': 'x',
        'num_gpu': 'auto',
        'scale': 4,
        'datasets': {'train': {'dataroot_gt': str(tmp_path / 'gt'), 'io_backend': {'type': 'disk'}}},
        'path': {'pretrain_network_g': None},
    }


def parse(opt: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, is_train: bool = False) -> Any:
    path = tmp_path / 'opt.yml'
    path.write_text(opt if isinstance(opt, str) else yaml.safe_dump(opt))
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(path), *arguments])
    return options.parse_options(str(tmp_path), is_train=is_train)


def test_sound_options_pass(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed, arguments = parse(opt, tmp_path, monkeypatch)
    assert parsed['num_gpu'] == torch.cuda.device_count()
    assert arguments.opt == str(tmp_path / 'opt.yml')


def test_seeds_may_be_forced(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BasicSR sets the seed before it looks at --force_yml."""
    drawn = []
    for seed in (1, 2):
        parse(opt | {'manual_seed': 1}, tmp_path, monkeypatch, '--force_yml', f'manual_seed={seed}')
        drawn.append(torch.rand(1))
    torch.manual_seed(2)
    assert drawn[0] != drawn[1] == torch.rand(1)


def test_seeds_that_are_no_integers(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match='manual_seed is an integer, not None'):
        parse(opt | {'manual_seed': 1}, tmp_path, monkeypatch, '--force_yml', 'manual_seed=~')


def test_missing_datasets_are_named_with_their_command(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opt['datasets']['train'] |= {'dataroot_lq': 'no/lq.lmdb', 'prepare': 'srsenet prepare this'}
    opt['datasets']['val'] = {'dataroot_gt': 'no/gt', 'io_backend': {'type': 'lmdb'}}
    with pytest.raises(OptionError) as error:
        parse(opt, tmp_path, monkeypatch)  # a test of which nothing is there
    assert error.value.code.splitlines() == [
        f'{tmp_path / "opt.yml"}:',
        '  no/lq.lmdb (dataroot_lq of datasets: train) does not exist.',
        '    Make it with: srsenet prepare this',
        '  no/gt (dataroot_gt of datasets: val) does not exist.',
    ]
    opt['datasets']['train'] = {'dataroot_gt': str(tmp_path / 'gt'), 'io_backend': {'type': 'disk'}}
    with pytest.raises(OptionError, match='no/gt'):
        parse(opt, tmp_path, monkeypatch, is_train=True)


def test_a_test_goes_on_with_the_datasets_that_are_there(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = {'io_backend': {'type': 'disk'}}
    opt['datasets'] = {
        'test_1': {'name': 'Set5', 'dataroot_gt': str(tmp_path / 'gt'), **disk},
        'test_2': {'name': 'B100', 'dataroot_gt': str(tmp_path / 'gt'), 'dataroot_lq': 'no/lq', **disk},
        'test_3': {'name': 'Set14', 'dataroot_gt': 'no/gt', 'prepare': 'srsenet prepare this', **disk},
    }
    parsed, _ = parse(opt, tmp_path, monkeypatch)
    assert [dataset['name'] for dataset in parsed['datasets'].values()] == ['Set5']
    assert capsys.readouterr().err.splitlines() == [
        'warning: B100 is not tested, because it is not there:',
        '  no/lq (dataroot_lq of datasets: test_2) does not exist.',
        'warning: Set14 is not tested, because it is not there:',
        '  no/gt (dataroot_gt of datasets: test_3) does not exist.',
        '    Make it with: srsenet prepare this',
    ]


def test_lmdbs_of_y_are_for_the_dataset_that_knows_them(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LmdbWriter(tmp_path / 'y.lmdb', {'colour': 'y'}) as writer:
        writer.put('key', encode(np.zeros((8, 8), np.uint8), 'ppm'))
    train = opt['datasets']['train']
    train |= {'dataroot_gt': str(tmp_path / 'y.lmdb'), 'dataroot_lq': str(tmp_path / 'y.lmdb'), 'color': 'y'}
    train |= {'type': 'PairedLmdbDataset', 'io_backend': {'type': 'lmdb'}}
    train |= {'gt_size': 8, 'use_hflip': True, 'use_rot': True}
    parse(opt, tmp_path, monkeypatch)
    train['type'] = 'PairedImageDataset'
    with pytest.raises(
        OptionError, match=r'y\.lmdb \(dataroot_gt .* holds Y alone, which only PairedLmdbDataset reads'
    ):
        parse(opt, tmp_path, monkeypatch)


def test_roots_of_other_backends_are_not_looked_for(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opt['datasets']['train'] |= {'dataroot_gt': 's3://bucket', 'io_backend': {'type': 'memcached'}}
    opt['datasets']['val'] = {'dataroot_gt': 'anything'}
    parse(opt, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('type', 3, 'type of path is a file or a folder, not 3\\.'),
        ('type', None, 'type of path is a file or a folder, not None\\.'),
        ('pretrain_network_g', 3, 'pretrain_network_g and resume_state of path: .* not int'),
        ('resume_state', [1], 'pretrain_network_g and resume_state of path: .* not list'),
    ],
)
def test_paths_that_are_none(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: object, message: str
) -> None:
    parse(opt, tmp_path, monkeypatch)
    opt['path'][key] = value
    with pytest.raises(OptionError, match=message):
        parse(opt, tmp_path, monkeypatch)


@pytest.mark.parametrize('key', ['pretrain_network_g', 'resume_state'])
def test_missing_weights(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    opt['path'][key] = 'no/file'
    with pytest.raises(OptionError, match=rf'no/file \({key} of path\) does not exist'):
        parse(opt, tmp_path, monkeypatch)
    parse(opt, tmp_path, monkeypatch, '--auto_resume')  # which replaces them


@pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without CUDA')
def test_cuda_devices_that_are_not_there(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opt['num_gpu'] = 4
    with pytest.raises(OptionError, match=r'num_gpu: 4, but torch finds no CUDA device\. num_gpu: auto takes'):
        parse(opt, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('name: [1, 2', r'cannot be read: [\s\S]*opt\.yml", line 1'),
        ('a: !!python/name:os.system', r'cannot be read: [\s\S]*could not determine a constructor'),
        ('', 'cannot be read: it has no keys, but None'),
        ('- name: x', r'cannot be read: it has no keys, but \['),
        ('name: x\ndatasets:\npath: {}', 'cannot be read: datasets has no keys, but None'),
        ('name: x\ndatasets: {train: Set5}', "cannot be read: train of datasets has no keys, but 'Set5'"),
        ('name: x\ndatasets: {}\npath: weights.pth', "cannot be read: path has no keys, but 'weights.pth'"),
    ],
)
def test_unreadable_option_files(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=message):
        parse(text, tmp_path, monkeypatch)


def test_binary_option_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'opt.yml'
    path.write_bytes(bytes(range(128, 256)))
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(path)])
    with pytest.raises(OptionError, match='The option file cannot be read'):
        options.parse_options(str(tmp_path))


def test_keys_that_are_not_there(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="There is no 'train' in the option file, or where --force_yml looks for it"):
        parse(opt, tmp_path, monkeypatch, '--force_yml', 'train:total_iter=3')
    del opt['num_gpu']
    with pytest.raises(OptionError, match="There is no 'num_gpu' in the option file"):
        parse(opt, tmp_path, monkeypatch)


@pytest.mark.parametrize(('launcher', 'variable'), [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID')])
def test_launcher_without_its_starter(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str, variable: str
) -> None:
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(OptionError, match=f'{variable} is not set: --launcher pytorch is for torchrun'):
        parse(opt, tmp_path, monkeypatch, '--launcher', launcher)


@pytest.mark.slow
@pytest.mark.parametrize('script', ['train', 'test'])
def test_commands_end_with_a_sentence(workspace: Path, tmp_path: Path, script: str) -> None:
    """In a folder with the options and without the data, as after cloning."""
    for name in ('basicsr', 'options'):
        (tmp_path / name).symlink_to(workspace / name)
    command = [sys.executable, f'basicsr/{script}.py', '-opt', f'options/{script}_SrSENet_x4.yml']
    printed = run(command, tmp_path, status=1)
    assert 'Traceback' not in printed
    assert 'datasets/Set5/GTmod4 (dataroot_gt of datasets: ' in printed
    assert 'Make it with: srsenet prepare benchmark --source Set5 --out datasets/Set5 --scales 2 4 8' in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ['basicsr', 'options']

    printed = run([*command[:-1], 'options/none.yml'], tmp_path, status=1)
    assert printed.splitlines()[-1] == 'The option file options/none.yml cannot be read: No such file or directory.'

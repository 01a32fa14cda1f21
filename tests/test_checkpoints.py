"""Checkpoints on disk: whole, no more than wanted, and read without running code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.archs import build_network
from safetensors.torch import save_file
from trainings import NETWORKS, assert_same_weights, batches, build, train

from srsenet_plugin.models.stopping import TrainingStopped
from srsenet_plugin.weights import files


def test_checkpoints_tell_the_network(opt: dict, tmp_path: Path) -> None:
    build(opt).save(0, -1)
    assert files.load(tmp_path / 'models/net_g_latest.pth')['network_g'] == opt['network_g']


def test_weights_that_do_not_fit_are_refused(opt: dict, tmp_path: Path) -> None:
    net = build_network({**NETWORKS['SrSENet'], 'num_feat': 32})
    torch.save({'params': net.state_dict()}, tmp_path / 'small.pth')
    opt['path']['pretrain_network_g'] = str(tmp_path / 'small.pth')
    with pytest.raises(TrainingStopped, match=r"(?s)small\.pth does not fit network_g .*'num_feat': 16.*size mismatch"):
        build(opt)


def test_safetensors_are_read(opt: dict, tmp_path: Path) -> None:
    net = build_network(dict(NETWORKS['SrSENet']))
    save_file(net.state_dict(), tmp_path / 'net.safetensors')
    opt['path']['pretrain_network_g'] = str(tmp_path / 'net.safetensors')
    assert_same_weights(build(opt).net_g, net)


class RunsCode:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ('canary',)


@pytest.mark.parametrize('content', [RunsCode(), {'params': RunsCode()}, b'', b'no pickle', 'text', {'params': 3}])
@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_files_that_are_no_weights(
    opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f'bad.{suffix}'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    opt['path']['pretrain_network_g'] = str(path)
    with pytest.raises(TrainingStopped, match=rf'bad\.{suffix}'):
        build(opt)
    assert not (tmp_path / 'canary').exists()


def test_keeps_the_newest_checkpoints(opt: dict, tmp_path: Path) -> None:
    opt['logger']['keep_checkpoints'] = 2
    model = build(opt)
    for iteration in (8, 9, 10, 11):
        train(model, batches(1), iteration)
        model.save(0, iteration)
    model.save(-1, -1)
    assert sorted(os.listdir(tmp_path / 'training_states')) == ['10.state', '11.state']
    assert sorted(os.listdir(tmp_path / 'models')) == ['net_g_10.pth', 'net_g_11.pth', 'net_g_latest.pth']


def test_goes_on_when_it_cannot_save(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full is a disk without space."""
    opt['logger']['keep_checkpoints'] = 1
    model = build(opt)
    train(model, batches(1))
    model.save(0, 1)
    before = {path: path.read_bytes() for path in tmp_path.glob('*/*')}
    stock_open = Path.open
    monkeypatch.setattr(Path, 'open', lambda self, *args, **kwargs: stock_open(Path('/dev/full'), *args, **kwargs))
    train(model, batches(1), 2)
    model.save(0, 2)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in tmp_path.glob('*/*')} == before
    train(model, batches(1), 3)
    model.save(0, 3)
    assert (tmp_path / 'training_states/3.state').exists()

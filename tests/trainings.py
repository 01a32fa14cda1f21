"""Tiny trainings in process, and what the tests of training share."""

from __future__ import annotations

import copy
import subprocess
import time
from pathlib import Path
from typing import Any

import torch
from basicsr.models import build_model
from conftest import write_photo
from torch import nn

NETWORKS = {
    'SrSENet': {'type': 'SrSENet', 'num_feat': 16, 'num_block': 2, 'upscale': 4},
    'MSRResNet': {'type': 'MSRResNet', 'num_in_ch': 1, 'num_out_ch': 1, 'num_feat': 8, 'num_block': 2, 'upscale': 4},
}


def tiny_options(folder: Path) -> dict[str, Any]:
    """Options of a tiny training, as parse_options returns them, with a folder for its results."""
    for name in ('models', 'training_states'):
        (folder / name).mkdir()
    return {
        'name': 'x',
        'is_train': True,
        'num_gpu': 0,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'scale': 4,
        'network_g': NETWORKS['SrSENet'],
        'datasets': {},
        'path': {
            'pretrain_network_g': None,
            'experiments_root': str(folder),
            'models': str(folder / 'models'),
            'training_states': str(folder / 'training_states'),
            'visualization': str(folder / 'visualization'),
        },
        'train': {
            'ema_decay': 0.9,
            'total_iter': 100,
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [5], 'gamma': 0.5},
            'pixel_opt': {'type': 'CharbonnierPenaltyLoss'},
        },
        'logger': {'print_freq': 1},
    }


def build(opt: dict[str, Any], kind: str = 'AcceleratedSRModel', **train: Any) -> Any:
    opt = copy.deepcopy(opt) | {'model_type': kind}
    opt['train'] |= train
    torch.manual_seed(0)
    return build_model(opt)


def batches(count: int, size: int = 4) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {
            'lq': torch.rand(size, 1, 8, 8, generator=generator),
            'gt': torch.rand(size, 1, 32, 32, generator=generator),
            'gt_path': [f'{i}_{j}' for j in range(size)],
        }
        for i in range(count)
    ]


def train(model: Any, data: list[dict[str, Any]], start: int = 1) -> list[dict[str, float]]:
    logs = []
    for iteration, batch in enumerate(data, start):
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        logs.append(dict(model.get_current_log()))
    return logs


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    for (name, weight), expected in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(weight, expected), name


def photos(folder: Path) -> Path:
    write_photo('coffee.png', folder / 'photos/coffee.png', (100, 100, 64, 80))
    write_photo('chelsea.png', folder / 'photos/chelsea.png', (100, 100, 80, 64))
    return folder / 'photos'


SHORT = [
    *('--force_yml', 'model_type=AcceleratedSRModel', 'datasets:train:batch_size_per_gpu=2'),
    *('datasets:train:num_worker_per_gpu=1', 'datasets:train:dataset_enlarge_ratio=10', 'logger:print_freq=2'),
    *('logger:save_checkpoint_freq=3', 'val:val_freq=9', 'network_g:num_feat=16', 'network_g:num_block=2'),
    *('train:ema_decay=0.9', 'datasets:train:persistent_workers=true'),
]
TRAIN_X4 = ['-opt', 'options/train_SrSENet_x4.yml']


def watched(command: list[Any], workspace: Path, name: str, text: str, number: int | None = None) -> tuple[int, str]:
    """Starts a command, perhaps sends it a signal when it has printed a text, and gives it half a minute from then."""
    log = workspace / f'{name}.log'
    with log.open('w') as file:
        process = subprocess.Popen(list(map(str, command)), cwd=workspace, stdout=file, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 120
            while text not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            if number is not None:
                process.send_signal(number)
            return process.wait(30), log.read_text()
        finally:
            process.kill()

"""Validations of a training: figures, images, and the networks that they need."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from trainings import batches, build, photos, train

from srsenet_plugin.machine.compilation import can_compile
from srsenet_plugin.models.accelerated_sr_model import TrainingStopped
from srsenet_plugin.prepare.packing import make_benchmark
from srsenet_plugin.weights import files


@pytest.mark.slow
def test_validates_uncompiled(opt: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling for the size of each image would take minutes."""
    if not can_compile(torch.device('cpu')):
        pytest.skip('needs a C++ compiler')
    opt['train']['ema_decay'] = 0
    model = build(opt, compile=True)
    train(model, batches(1))
    monkeypatch.setattr(torch._dynamo.config, 'error_on_recompile', True)
    for size in (9, 12, 15):
        model.feed_data({'lq': torch.rand(1, 1, size, 8)})
        model.test()
    train(model, batches(1))
    with pytest.raises(RuntimeError, match='Recompiling'):
        model.net_g(torch.rand(1, 1, 9, 9))


def test_stops_between_validation_images(opt: dict, tmp_path: Path) -> None:
    """Which may take long; what the checkpoint lacks of the validation is made up for by the next run."""
    make_benchmark(photos(tmp_path), tmp_path, [4])
    dataset = {
        'name': 'photos',
        'type': 'PairedImageDataset',
        'phase': 'val',
        'scale': 4,
        'dataroot_gt': str(tmp_path / 'GTmod4'),
        'dataroot_lq': str(tmp_path / 'LRbicx4'),
        'io_backend': {'type': 'disk'},
        'color': 'y',
    }
    opt['datasets'] = {'val': dataset}
    opt['val'] = {'val_freq': 2, 'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}}
    model = build(opt)
    train(model, batches(2))
    loader = build_dataloader(build_dataset(dataset), dataset)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(TrainingStopped) as stop:
        model.validation(loader, 2, None)
    assert stop.value.code == 128 + signal.SIGTERM
    log = (tmp_path / 'train_log.csv').read_text()
    assert 'photos/psnr' not in log

    opt['path']['pretrain_network_g'] = str(tmp_path / 'models/net_g_2.pth')
    resumed = build(opt)
    resumed.resume_training(files.load(tmp_path / 'training_states/2.state'))
    assert '2,photos/psnr,' in (tmp_path / 'train_log.csv').read_text()
    assert resumed.best_metric_results['photos']['psnr']['iter'] == 2
    assert files.load(tmp_path / 'training_states/2.state')['validated'] == {'photos': 2}

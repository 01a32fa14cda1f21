from __future__ import annotations

import copy
import gc
import io
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from conftest import run, write_photo
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader

from srsenet_plugin.data.draws import Draw
from srsenet_plugin.data.whole_files import MARK
from srsenet_plugin.machine import precision
from srsenet_plugin.machine.compilation import can_compile
from srsenet_plugin.models import checkpoints
from srsenet_plugin.models.accelerated_sr_model import AcceleratedSRModel, TrainingStopped
from srsenet_plugin.models.random_states import RandomStates
from srsenet_plugin.prepare.packing import Packing, lmdb_folders, make_benchmark, pack_images
from srsenet_plugin.weights import files

NETWORKS = {
    'SrSENet': {'type': 'SrSENet', 'num_feat': 16, 'num_block': 2, 'upscale': 4},
    'MSRResNet': {'type': 'MSRResNet', 'num_in_ch': 1, 'num_out_ch': 1, 'num_feat': 8, 'num_block': 2, 'upscale': 4},
}


@pytest.fixture
def opt(tmp_path: Path) -> dict[str, Any]:
    for folder in ('models', 'training_states'):
        (tmp_path / folder).mkdir()
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
            'experiments_root': str(tmp_path),
            'models': str(tmp_path / 'models'),
            'training_states': str(tmp_path / 'training_states'),
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


@pytest.mark.parametrize('network', NETWORKS)
@pytest.mark.parametrize('optimizer', [{}, {'weight_decay': 1e-4, 'betas': [0.8, 0.9]}])
def test_equals_the_stock_model_step_by_step(opt: dict, network: str, optimizer: dict[str, Any]) -> None:
    opt['network_g'] = NETWORKS[network]
    opt['train']['optim_g'] |= optimizer
    ours, stock = build(opt), build(opt, 'SRModel')
    assert train(ours, batches(8)) == train(stock, batches(8))
    assert_same_weights(ours.net_g, stock.net_g)
    assert_same_weights(ours.net_g_ema, stock.net_g_ema)
    assert ours.get_current_learning_rate() == stock.get_current_learning_rate()


@pytest.mark.parametrize(
    'options',
    [
        {'accumulate': 3},
        {'accumulate': 4},
        pytest.param({'compile': True}, marks=pytest.mark.slow),
    ],
)
def test_faster_and_smaller_ways_come_to_the_same(opt: dict, options: dict[str, Any]) -> None:
    ours, stock = build(opt, **options), build(opt, 'SRModel')
    for log, expected in zip(train(ours, batches(8)), train(stock, batches(8))):
        assert log['l_pix'] == pytest.approx(expected['l_pix'], rel=1e-4)
    for weight, expected in zip(ours.net_g.parameters(), stock.net_g.parameters()):
        torch.testing.assert_close(weight, expected, rtol=0, atol=2e-4)


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


def test_accumulates_sums_as_sums(opt: dict) -> None:
    opt['train']['pixel_opt']['reduction'] = 'sum'
    whole, parts = (train(build(opt, accumulate=count), batches(3)) for count in (1, 2))
    assert [log['l_pix'] for log in parts] == pytest.approx([log['l_pix'] for log in whole], rel=1e-4)


def photo_batches(folder: Path, count: int) -> list[dict[str, Any]]:
    """Batches of crops of a photograph, at x4 and on Y."""
    (gt_folder, lq_folder) = lmdb_folders(folder, 'photo', [4])
    write_photo('coffee.png', folder / 'photo/coffee.png')
    pack_images(folder / 'photo', folder, 'photo', Packing([4]))
    roots = {'dataroot_gt': str(gt_folder), 'dataroot_lq': str(lq_folder), 'io_backend': {'type': 'lmdb'}}
    dataset = build_dataset(
        {'name': 'photo', 'type': 'PairedLmdbDataset', 'phase': 'train', 'scale': 4, 'color': 'y', 'gt_size': 32}
        | {'use_hflip': True, 'use_rot': True, **roots}
    )
    return list(DataLoader(dataset, 4, sampler=[Draw(0, (0, 0, i)) for i in range(4 * count)]))


@pytest.mark.slow
def test_bf16_trains_alike(opt: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and PSNR differ less than with another seed. Emulated where the processor has no bf16 units."""
    monkeypatch.setattr(precision, '_computes_in_bf16', lambda device_type: True)
    *data, held_out = photo_batches(tmp_path, 41)

    def trained(seed: int, amp: str) -> tuple[bool, list[float], float]:
        opt['train'] |= {'amp': amp, 'channels_last': True}
        torch.manual_seed(seed)
        model = build_model(copy.deepcopy(opt) | {'model_type': 'AcceleratedSRModel'})
        dtypes = set()
        hook = model.net_g.body.register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
        losses = [log['l_pix'] for log in train(model, data)]
        hook.remove()
        precise = dtypes == {torch.float32}
        assert precise or dtypes == {torch.bfloat16}
        weight = model.net_g.body[0].conv1.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) != precise
        model.feed_data(held_out)
        model.test()
        return precise, losses, -10 * math.log10(float((model.output - model.gt).square().mean()))

    seeds = [trained(seed, 'off') for seed in range(3)]
    precise, losses, psnr = trained(0, 'bf16')
    assert (precise, seeds[0][0]) == (False, True)
    curves = torch.tensor([losses for _, losses, _ in seeds])
    spread = (curves - curves.mean(0)).square().mean().sqrt()
    assert 0 < (torch.tensor(losses) - curves[0]).square().mean().sqrt() < spread
    assert abs(psnr - seeds[0][2]) < max(abs(other - seeds[0][2]) for _, _, other in seeds[1:])


def test_checkpoints_tell_the_network(opt: dict, tmp_path: Path) -> None:
    build(opt).save(0, -1)
    assert files.load(tmp_path / 'models/net_g_latest.pth')['network_g'] == opt['network_g']


@pytest.mark.parametrize('arch', ['LapSRN', 'DRCN'])
def test_networks_of_several_outputs(opt: dict, arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal to the stock model; in parts equal to the whole; and in bf16."""
    opt['network_g'] = {'type': arch, 'num_feat': 8, 'upscale': 4}
    inner = {'type': 'CharbonnierPenaltyLoss', 'reduction': 'sum'}
    opt['train']['pixel_opt'] = {'type': 'DeepSupervisionLoss', 'intermediate_weight': 0.5, 'loss': inner}
    ours, stock, parts = build(opt), build(opt, 'SRModel'), build(opt, accumulate=2)
    losses = [log['l_pix'] for log in train(ours, batches(5))]
    assert losses == [log['l_pix'] for log in train(stock, batches(5))]
    assert_same_weights(ours.net_g, stock.net_g)
    assert [log['l_pix'] for log in train(parts, batches(5))] == pytest.approx(losses, rel=1e-4)

    monkeypatch.setattr(precision, '_computes_in_bf16', lambda device_type: True)
    half = train(build(opt, amp='bf16'), batches(5))
    assert [log['l_pix'] for log in half] == pytest.approx(losses, rel=0.05)


def test_bf16_stays_off_without_units_for_it(opt: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, '_computes_in_bf16', lambda device_type: False)
    assert precision.amp_dtype('bf16', 'cpu') == (
        None,
        'float32, because this cpu has no bf16 units and emulates them slowly',
    )
    assert train(build(opt, amp='bf16'), batches(3)) == train(build(opt), batches(3))
    assert precision.amp_dtype(False, 'cpu')[0] is None
    with pytest.raises(ValueError, match="amp: 'int8' is none of off, bf16, fp16"):
        build(opt, amp='int8')


def test_gradients_are_clipped(opt: dict) -> None:
    model = build(opt, grad_clip=1e-3)
    train(model, batches(1))
    norm = math.sqrt(sum(float(weight.grad.square().sum()) for weight in model.net_g.parameters()))
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_steps_that_are_not_finite_are_left_out(opt: dict) -> None:
    opt['train']['scheduler']['milestones'] = [50]
    model, untouched = build(opt, max_bad_steps=3), build(opt)
    data = batches(6)
    for bad in (1, 2, 4):
        data[bad]['gt'][0, 0, 0, 0] = math.nan if bad % 2 else math.inf
    train(model, data)
    train(untouched, [data[i] for i in (0, 3, 5)])
    assert_same_weights(model.net_g, untouched.net_g)
    assert_same_weights(model.net_g_ema, untouched.net_g_ema)
    for batch in data:
        batch['gt'][0, 0, 0, 0] = math.nan
    with pytest.raises(TrainingStopped, match=r'Iteration 3: the loss .* batch: 2_0, 2_1, 2_2, 2_3\.\nStopped after 3'):
        train(model, data)


def test_resumes_exactly_with_a_network_that_draws(opt: dict, tmp_path: Path) -> None:
    class WithDropout(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.drop = build_network(dict(NETWORKS['SrSENet'])), nn.Dropout(0.3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(self.drop(x))

    from basicsr.utils.registry import ARCH_REGISTRY

    if 'WithDropout' not in ARCH_REGISTRY:
        ARCH_REGISTRY.register(WithDropout)
    opt['network_g'] = {'type': 'WithDropout'}
    data = batches(9)
    undisturbed = build(opt)
    expected = train(undisturbed, data)

    first = build(opt)
    train(first, data[:4])
    first.save(0, 4)
    torch.rand(7)  # loaders draw as well, and more often in a training that is resumed
    opt['path'] |= {
        'pretrain_network_g': str(tmp_path / 'models/net_g_4.pth'),
        'resume_state': str(tmp_path / 'training_states/4.state'),
    }
    second = build(opt)
    second.resume_training(files.load(opt['path']['resume_state']))
    assert train(second, data[4:], 5) == expected[4:]
    assert_same_weights(second.net_g, undisturbed.net_g)
    assert_same_weights(second.net_g_ema, undisturbed.net_g_ema)


def test_random_states_load_without_running_code(tmp_path: Path) -> None:
    import random

    import numpy as np

    states = RandomStates()
    with states.network():
        torch.rand(3)
    files.save(states.state_dict(), tmp_path / 'states')
    drawn = [random.random(), np.random.rand()]
    with states.network():
        drawn.append(float(torch.rand(())))
    states.load_state_dict(files.load(tmp_path / 'states'))
    assert drawn[:2] == [random.random(), np.random.rand()]
    with states.network():
        assert drawn[2] == float(torch.rand(()))


def test_a_state_of_the_stock_model_is_resumed(opt: dict, tmp_path: Path) -> None:
    stock = build(opt, 'SRModel')
    train(stock, batches(3))
    stock.save(0, 3)
    opt['path']['pretrain_network_g'] = str(tmp_path / 'models/net_g_3.pth')
    model = build(opt)
    model.resume_training(files.load(tmp_path / 'training_states/3.state'))
    assert train(model, batches(3), 4) == train(stock, batches(3), 4)


@pytest.mark.parametrize(
    ('short', 'long'),
    [
        (
            {'type': 'CosineAnnealingRestartLR', 'periods': [3], 'restart_weights': [1]},
            {'type': 'CosineAnnealingRestartLR', 'periods': [3, 4], 'restart_weights': [1, 0.5]},
        ),
        (
            {'type': 'MultiStepLR', 'milestones': [9], 'gamma': 0.5},
            {'type': 'MultiStepLR', 'milestones': [4, 6], 'gamma': 0.1},
        ),
    ],
)
def test_goes_on_with_a_longer_schedule(opt: dict, tmp_path: Path, short: dict, long: dict) -> None:
    data = batches(7)
    undisturbed = build(opt, scheduler=long)
    expected = train(undisturbed, data)
    first = build(opt, scheduler=short)
    train(first, data[:3])
    first.save(0, 3)
    opt['path']['pretrain_network_g'] = str(tmp_path / 'models/net_g_3.pth')
    second = build(opt, scheduler=long)
    second.resume_training(files.load(tmp_path / 'training_states/3.state'))
    assert train(second, data[3:], 4) == expected[3:]
    assert_same_weights(second.net_g, undisturbed.net_g)


def test_states_that_do_not_fit_are_refused(opt: dict, tmp_path: Path) -> None:
    model = build(opt)
    train(model, batches(1))
    model.save(0, 1)
    opt['path']['resume_state'] = str(tmp_path / 'training_states/1.state')
    build(opt)
    opt['network_g'] = NETWORKS['MSRResNet']
    with pytest.raises(TrainingStopped, match=r"(?s)1\.state does not fit .*: .*'SrSENet'.*: .*'MSRResNet'"):
        build(opt)


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


def test_resumes_from_the_newest_sound_state(opt: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build(opt)
    for iteration in (1, 2, 3, 10):
        train(model, batches(1), iteration)
        model.save(0, iteration)
    state, network = tmp_path / 'training_states/10.state', tmp_path / 'models/net_g_3.pth'
    state.write_bytes(state.read_bytes()[:-1000])
    network.write_bytes(network.read_bytes()[:100])
    leftover = tmp_path / f'models/.{MARK}-0123456789abcdef.pth'
    leftover.write_bytes(b'half')
    own = tmp_path / 'models/notes.part'
    own.write_text('of the user')
    checkpoints.prepare_to_resume(tmp_path)
    assert sorted(path.name for path in tmp_path.glob('*/*.state')) == ['1.state', '2.state']
    assert not leftover.exists()
    assert own.read_text() == 'of the user'
    printed = capsys.readouterr().err.splitlines()
    assert [line.split(': ')[:2] for line in printed if line.startswith('warning')] == [
        ['warning', f'not resuming from {state}'],
        ['warning', f'not resuming from {tmp_path / "training_states/3.state"}'],
    ]


def test_a_terminal_shows_progress(opt: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, 'stderr', stream)
        model = build(opt)
        train(model, batches(3))
        model._log._bar.refresh()
        model._log.close()
        assert bool(re.search(r'3/100 .*it/s?.*l_pix=0\.\d+', stream.getvalue().replace('s/it', 'it/s'))) == shown


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


def photos(folder: Path) -> Path:
    write_photo('coffee.png', folder / 'photos/coffee.png', (100, 100, 64, 80))
    write_photo('chelsea.png', folder / 'photos/chelsea.png', (100, 100, 80, 64))
    return folder / 'photos'


def test_long_trainings_hold_nothing(opt: dict) -> None:
    """Memory, files and threads, while it trains, logs and saves; scripts/soak.py watches whole commands."""
    opt['logger']['keep_checkpoints'] = 1
    model = build(opt)
    data = batches(5)

    def used(rounds: int) -> tuple[int, int, int]:
        for start in range(1, 5 * rounds, 5):
            train(model, data, start)
            model.save(0, start)
            model._log.add(start, model.get_current_log())
        gc.collect()
        process = psutil.Process()
        memory = process.memory_info()  # without files, whose pages are its own or not by what else runs
        return process.num_fds(), process.num_threads(), memory.rss - memory.shared

    files, threads, memory = used(20)
    files_later, threads_later, memory_later = used(60)
    assert (files, threads) == (files_later, threads_later)
    assert memory_later - memory < 4e6


def test_curves(opt: dict, tmp_path: Path) -> None:
    model = build(opt)
    train(model, batches(3))
    model._log.add(3, {'Set5/psnr': 30.0, 'Set5/ssim': 0.9, 'B100/psnr': 28.0, 'l_pix': math.nan})
    model._log.draw()
    assert (tmp_path / 'train_log.csv').read_text().splitlines()[:2] == ['iter,name,value', '1,lr,0.001']
    assert (tmp_path / 'curves.png').stat().st_size > 10_000
    assert not list(tmp_path.glob(f'*{MARK}*'))


SHORT = [
    *('--force_yml', 'model_type=AcceleratedSRModel', 'datasets:train:batch_size_per_gpu=2'),
    *('datasets:train:num_worker_per_gpu=1', 'datasets:train:dataset_enlarge_ratio=10', 'logger:print_freq=2'),
    *('logger:save_checkpoint_freq=3', 'val:val_freq=9', 'network_g:num_feat=16', 'network_g:num_block=2'),
    *('train:ema_decay=0.9', 'datasets:train:persistent_workers=true'),
]
TRAIN_X4 = ['-opt', 'options/train_SrSENet_x4.yml']


@pytest.mark.slow
def test_killed_trainings_end_as_undisturbed_ones(workspace: Path) -> None:
    """At random moments, while files are written, and with a newest state that is damaged."""
    script = Path(__file__).with_name('kill_training.py')
    printed = run([sys.executable, script, 10, *TRAIN_X4, *SHORT, 'train:total_iter=40'], workspace)
    match = re.search(r'killed (\d+) times', printed)
    assert match
    assert int(match[1]) >= 10


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux' or os.geteuid() != 0, reason='needs to mount small file systems')
def test_trainings_under_faults_end_as_undisturbed_ones(workspace: Path) -> None:
    """Jumping clock, vanishing data, no home, read-only folders, long paths, a dead worker, short shared memory."""
    folder = workspace / 'faults'
    folder.mkdir()
    for name in ('options', 'datasets', 'basicsr'):
        (folder / name).symlink_to(workspace / name)
    script = Path(__file__).with_name('train_under_faults.py')
    printed = run([sys.executable, script, *TRAIN_X4, *SHORT, 'train:total_iter=12'], folder)
    assert len(re.findall('^endured: ', printed, re.MULTILINE)) == 3
    assert len(re.findall('^resumed after: ', printed, re.MULTILINE)) == 2
    assert len(re.findall('^refused: ', printed, re.MULTILINE)) == 1


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


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_stop(workspace: Path, number: int) -> None:
    name = f'signal{number}'
    command = ['python', 'basicsr/train.py', *TRAIN_X4, *SHORT, 'train:total_iter=100000', f'name={name}']
    status, printed = watched(command, workspace, name, 'iter:       4,', number)
    assert status == 128 + number, printed[-3000:]
    assert 'Traceback' not in printed
    last = int(printed.split('Stopped after iteration ')[1].split(',')[0])
    assert (workspace / f'experiments/{name}/training_states/{last}.state').exists()


def torchrun(*arguments: str) -> list[str]:
    return [
        'torchrun',
        '--standalone',
        '--nproc_per_node=2',
        *arguments,
        'basicsr/train.py',
        *TRAIN_X4,
        '--launcher',
        'pytorch',
    ]


TWO_RANKS = ['torchrun', '--standalone', '--nproc_per_node=2']
# In float32, in which half batches of two ranks add up to the same gradients.
TRAIN_40 = [*TRAIN_X4, '--launcher', 'pytorch', '--auto_resume', *SHORT, 'train:total_iter=40', 'train:amp=off']


@pytest.fixture(scope='module')
def both(workspace: Path) -> Path:
    """An experiment of two ranks, stopped in between."""
    command = [*TWO_RANKS, 'basicsr/train.py', *TRAIN_40, 'name=both']
    status, printed = watched(command, workspace, 'both', 'iter:       4,', signal.SIGTERM)
    assert status != 0
    assert 'Stopped after iteration' in printed
    run(command, workspace)
    return workspace / 'experiments/both'


@pytest.mark.slow
def test_two_ranks_equal_one_and_stop_together(workspace: Path, both: Path) -> None:
    """Weights, figures and logs of two processes with half of the batch each; also after a stop in between."""
    iterations = ['train:total_iter=40', 'datasets:train:batch_size_per_gpu=4', 'train:amp=off']
    run(['python', 'basicsr/train.py', *TRAIN_X4, *SHORT, *iterations, 'name=alone'], workspace)

    alone = workspace / 'experiments/alone'
    one, other = (files.load(folder / 'models/net_g_latest.pth') for folder in (alone, both))
    for key in ('params', 'params_ema'):
        for name, weight in one[key].items():
            torch.testing.assert_close(other[key][name], weight, rtol=0, atol=2e-5)
    rows = [(folder / 'train_log.csv').read_text().splitlines() for folder in (alone, both)]
    assert [row.rpartition(',')[0] for row in rows[0]] == [row.rpartition(',')[0] for row in rows[1]]
    for row, expected in zip(rows[1][1:], rows[0][1:]):
        assert float(row.rpartition(',')[2]) == pytest.approx(float(expected.rpartition(',')[2]), rel=1e-3)


@pytest.mark.slow
def test_a_rank_that_dies(workspace: Path, both: Path) -> None:
    """It ends the others within seconds; started again they go on from the checkpoint, as if nothing had been."""
    killer = workspace / 'killer.py'
    killer.write_text(
        'import os, runpy, sys\n'
        'sys.argv = sys.argv[1:]\n'
        'from srsenet_plugin.models.accelerated_sr_model import AcceleratedSRModel as Model\n'
        'stock = Model.optimize_parameters\n'
        'def dying(self, iteration):\n'
        "    if (iteration, os.environ['RANK'], os.environ['TORCHELASTIC_RESTART_COUNT']) == (8, '1', '0'):\n"
        "        print('dies', flush=True)\n"
        '        os.kill(os.getpid(), 9)\n'
        '    stock(self, iteration)\n'
        'Model.optimize_parameters = dying\n'
        "runpy.run_path('basicsr/train.py', run_name='__main__')\n"
    )
    command = [killer, 'basicsr/train.py', *TRAIN_40]
    status, printed = watched([*TWO_RANKS, *command, 'name=died'], workspace, 'died', 'dies')
    assert status == 1, printed[-3000:]

    run([*TWO_RANKS, '--max-restarts=1', *command, 'name=restarted'], workspace)
    restarted = workspace / 'experiments/restarted'
    ends = [files.load(folder / 'models/net_g_latest.pth') for folder in (restarted, both)]
    for key in ('params', 'params_ema'):
        for name, weight in ends[0][key].items():
            assert torch.equal(ends[1][key][name], weight)


def test_is_registered() -> None:
    from basicsr.utils.registry import MODEL_REGISTRY

    assert MODEL_REGISTRY.get('AcceleratedSRModel') is AcceleratedSRModel

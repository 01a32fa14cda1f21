"""Steps of a training: equal to the stock model's, or faster, and safe."""

from __future__ import annotations

import copy
import functools
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from conftest import write_photo
from torch import Tensor, nn
from torch.utils.data import DataLoader
from trainings import NETWORKS, assert_same_weights, batches, build, train

from srsenet_plugin.data.draws import Draw
from srsenet_plugin.machine import precision
from srsenet_plugin.models import accelerated_sr_model
from srsenet_plugin.models.stopping import TrainingStopped
from srsenet_plugin.prepare.packing import Packing, lmdb_folders, pack_images


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


def test_trains_uncompiled_where_the_first_step_fails_compiled(opt: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_in_backward(net: nn.Module, x: Tensor) -> Tensor:
        out = net.forward(x)
        out.register_hook(_no_such_kernel)
        return out

    def compile_wrongly(net: nn.Module) -> None:
        net._compiled_call_impl = functools.partial(fail_in_backward, net)

    monkeypatch.setattr(accelerated_sr_model, 'can_compile', lambda device: True)
    monkeypatch.setattr(nn.Module, 'compile', compile_wrongly)
    warnings: list[str] = []
    monkeypatch.setattr(logging.getLogger('basicsr'), 'warning', warnings.append)
    ours, stock = build(opt, compile=True), build(opt, 'SRModel')
    assert train(ours, batches(3)) == train(stock, batches(3))
    assert_same_weights(ours.net_g, stock.net_g)
    assert warnings == [
        'train: compile is left out, for the first compiled step failed: AssertionError: no such kernel'
    ]


def _no_such_kernel(gradient: Tensor) -> Tensor:
    raise AssertionError('no such kernel\nin line 2')


def test_errors_of_later_compiled_steps_are_no_reason_to_go_on(opt: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerated_sr_model, 'can_compile', lambda device: True)
    monkeypatch.setattr(nn.Module, 'compile', lambda net: None)
    model = build(opt, compile=True)
    train(model, batches(1))
    monkeypatch.setattr(model, '_criterion', lambda output, gt: _no_such_kernel(gt))
    with pytest.raises(AssertionError, match='no such kernel'):
        train(model, batches(1))


@pytest.mark.slow
@pytest.mark.parametrize('network', ['SRCNN', 'FSRCNN'])
def test_networks_with_replicated_edges_train_with_compile(opt: dict, network: str) -> None:
    """torch 2.14 has wrong strides in their compiled backward pass."""
    opt['network_g'] = {'type': network, 'upscale': 4}
    ours, stock = build(opt, compile=True), build(opt, 'SRModel')
    for log, expected in zip(train(ours, batches(3)), train(stock, batches(3))):
        assert log['l_pix'] == pytest.approx(expected['l_pix'], rel=1e-4)


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

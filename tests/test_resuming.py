"""A training that goes on from a state equals one that was never interrupted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from torch import nn
from trainings import NETWORKS, assert_same_weights, batches, build, train

from srsenet_plugin.data.whole_files import MARK
from srsenet_plugin.models import checkpoints
from srsenet_plugin.models.random_states import RandomStates
from srsenet_plugin.models.stopping import TrainingStopped
from srsenet_plugin.weights import files


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


COSINES = {'type': 'CosineAnnealingRestartLR', 'periods': [3, 4], 'restart_weights': [1, 0.5]}
STEPS = {'type': 'MultiStepLR', 'milestones': [4, 6], 'gamma': 0.1}


@pytest.mark.parametrize(
    ('short', 'long'),
    [
        ({**COSINES, 'periods': [3], 'restart_weights': [1]}, COSINES),
        ({**STEPS, 'milestones': [9], 'gamma': 0.5}, STEPS),
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


@pytest.mark.parametrize('kind', ['AcceleratedSRModel', 'SRModel'])
@pytest.mark.parametrize('warmup', [-1, 3])
@pytest.mark.parametrize(
    ('before', 'after'),
    [
        (STEPS, {**STEPS, 'milestones': [2, 3, 5], 'gamma': 0.5}),
        ({**STEPS, 'milestones': [1, 2]}, {**STEPS, 'milestones': [6]}),
        (STEPS, COSINES),
        (COSINES, {**STEPS, 'restarts': [0, 4], 'restart_weights': [1, 0.5]}),
    ],
)
def test_the_option_file_decides_on_the_learning_rate(
    opt: dict, tmp_path: Path, before: dict, after: dict, warmup: int, kind: str
) -> None:
    """Whatever state it goes on from, and wherever its milestones are; on weight_decay and betas too."""
    opt['train']['warmup_iter'] = warmup
    changed = {'scheduler': after, 'optim_g': {'type': 'Adam', 'lr': 3e-3, 'weight_decay': 0.1, 'betas': [0.8, 0.9]}}

    def learning_rates(model: Any, start: int, stop: int) -> list[list[float]]:
        rates = []
        for iteration in range(start, stop):
            model.update_learning_rate(iteration, warmup)
            rates.append(model.get_current_learning_rate())
        return rates

    first = build(opt, kind, scheduler=before)
    train(first, batches(1))
    learning_rates(first, 2, 5)
    first.save(0, 4)
    opt['path']['pretrain_network_g'] = str(tmp_path / 'models/net_g_4.pth')
    undisturbed, second = (build(opt, **changed) for _ in range(2))
    second.resume_training(files.load(tmp_path / 'training_states/4.state'))
    rates = learning_rates(undisturbed, 1, 8)
    assert second.get_current_learning_rate() == rates[3]
    assert learning_rates(second, 5, 8) == rates[4:]
    (group,) = second.optimizer_g.param_groups
    assert (group['weight_decay'], list(group['betas']), group['initial_lr']) == (0.1, [0.8, 0.9], 3e-3)
    assert second.optimizer_g.state  # Adam's moments are the state's


def test_states_that_do_not_fit_are_refused(opt: dict, tmp_path: Path) -> None:
    model = build(opt)
    train(model, batches(1))
    model.save(0, 1)
    opt['path']['resume_state'] = str(tmp_path / 'training_states/1.state')
    build(opt)
    opt['network_g'] = NETWORKS['MSRResNet']
    with pytest.raises(TrainingStopped, match=r"(?s)1\.state does not fit .*: .*'SrSENet'.*: .*'MSRResNet'"):
        build(opt)


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

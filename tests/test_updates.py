"""The parts of a step that only GPUs take, on the processor: fp16's scaler, and optimizers that leave steps out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel
from trainings import assert_same_weights

from srsenet_plugin.machine.precision import grad_scaler
from srsenet_plugin.models import stopping
from srsenet_plugin.models.steps import ScaledUpdate, Steps, Update, UpdateOnDevice
from srsenet_plugin.models.stopping import StopSignals

CPU = torch.device('cpu')
UPDATES = [Update, UpdateOnDevice, ScaledUpdate]


class Training:
    """Steps of a small network, by one of the updates.

    Args:
        update: Its class.
        distributed: Whether other ranks train the same network.
    """

    def __init__(self, update: type[Update], distributed: bool = False) -> None:
        torch.manual_seed(0)
        net = nn.Conv2d(1, 1, 3, padding=1)
        try:
            self.optimizer = torch.optim.Adam(net.parameters(), 1e-2, fused=True)
            scaled = grad_scaler('cpu', torch.float16).is_enabled()
        except RuntimeError:
            scaled = False
        if not scaled:
            pytest.skip('this torch has no GradScaler or fused Adam for processors')
        self.net = DistributedDataParallel(net) if distributed else net
        dtype = torch.float16 if update is ScaledUpdate else None
        self.steps = Steps(self.optimizer, {}, CPU, dtype, distributed)
        if update is UpdateOnDevice:  # on the processor, the host looks
            self.steps._update = UpdateOnDevice(self.optimizer, distributed)
        assert type(self.steps._update) is update

    def step(self, img: Tensor, gt: Tensor) -> None:
        self.optimizer.zero_grad()
        _, losses = self.steps.backward(self.net, img, gt, _criterion, ())
        self.steps.update(self.net, losses)

    @property
    def bad_steps(self) -> int:
        return self.steps.state_dict()['bad_steps']


def _criterion(output: Tensor, gt: Tensor) -> dict[str, Tensor]:
    assert output.dtype == torch.float32
    return {'l_pix': (output - gt).square().mean()}


def images(count: int, offset: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(offset)
    for _ in range(count):
        yield torch.rand(2, 1, 8, 8, generator=generator), torch.rand(2, 1, 8, 8, generator=generator)


@pytest.mark.parametrize('value', [math.inf, math.nan])
@pytest.mark.parametrize('place', ['loss', 'gradient'])
@pytest.mark.parametrize('update', UPDATES)
def test_steps_that_are_not_finite_leave_nothing_behind(update: type[Update], place: str, value: float) -> None:
    """Neither in weights nor in moments, nor in the optimizer's count of steps. fp16 takes overflows for granted."""
    training, untouched = Training(update), Training(update)
    first, bad, last = images(3)
    training.step(*first)
    untouched.step(*first)
    if place == 'loss':
        bad[1][0, 0, 0, 0] = value
        training.step(*bad)
    else:
        hook = training.net.weight.register_hook(lambda gradient: torch.full_like(gradient, value))
        training.step(*bad)
        hook.remove()
    assert training.bad_steps == (0 if (update, place) == (ScaledUpdate, 'gradient') else 1)
    assert_same_weights(training.net, untouched.net)
    training.step(*last)
    untouched.step(*last)
    assert training.bad_steps == 0
    assert_same_weights(training.net, untouched.net)
    for moments, expected in zip(training.optimizer.state.values(), untouched.optimizer.state.values()):
        for name, moment in moments.items():
            assert torch.equal(moment, expected[name]), name


@pytest.mark.parametrize('update', UPDATES)
def test_updates_come_to_the_same(update: type[Update]) -> None:
    """Exactly, but for fp16's rounding."""
    training, plain = Training(update), Training(Update)
    for batch in images(5):
        training.step(*batch)
        plain.step(*batch)
    atol = 1e-3 if update is ScaledUpdate else 0
    for weight, expected in zip(training.net.parameters(), plain.net.parameters()):
        torch.testing.assert_close(weight, expected, rtol=0, atol=atol)


@pytest.mark.slow
def test_one_rank_that_is_not_finite(tmp_path: Path) -> None:
    """All ranks leave the step out, whose gradients are everyone's."""
    Training(Update)  # skips
    multiprocessing.spawn(_train_rank, (str(tmp_path),), 2)
    for update in UPDATES:
        nets = [torch.load(tmp_path / f'{update.__name__}_{rank}.pth') for rank in (0, 1)]
        untouched = torch.load(tmp_path / f'{update.__name__}_untouched.pth')
        for name, weight in untouched.items():
            assert torch.equal(nets[0][name], weight), (update, name)
            assert torch.equal(nets[1][name], weight), (update, name)


def _train_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=2)
    for update in UPDATES:
        training, untouched = Training(update, distributed=True), Training(update, distributed=True)
        for i, batch in enumerate(images(3, offset=rank)):
            if i != 1:
                untouched.step(*batch)
            elif rank == 1:
                batch[1][0, 0, 0, 0] = math.inf
            training.step(*batch)
        torch.save(training.net.module.state_dict(), f'{folder}/{update.__name__}_{rank}.pth')
        if rank == 0:
            torch.save(untouched.net.module.state_dict(), f'{folder}/{update.__name__}_untouched.pth')
    distributed.destroy_process_group()


def test_a_training_goes_on_in_fp16() -> None:
    """One of a machine without a GPU, where fp16 stays off, or of other options, has no state of the scaler."""
    before, after = Training(Update), Training(ScaledUpdate)
    after.steps.load_state_dict(before.steps.state_dict())
    scale = after.steps.state_dict()['scaler']['scale']
    assert scale > 1
    before.steps.load_state_dict(after.steps.state_dict())


def test_ranks_on_gpus_ask_each_other_every_tenth_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(stopping.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(stopping.distributed, 'new_group', lambda backend: backend)
    monkeypatch.setattr(stopping.distributed, 'all_reduce', lambda tensor, op, group: asked.append((tensor, group)))
    stop = StopSignals('cuda')
    stop._note(15, None)
    assert [stop.stop_after(iteration) for iteration in range(1, 21)] == [0] * 9 + [15] + [0] * 9 + [15]
    assert [(tensor.device.type, group) for tensor, group in asked] == [('cpu', 'gloo')] * 2

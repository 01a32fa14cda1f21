from __future__ import annotations

import math

import pytest
import torch
from basicsr.losses.basic_loss import CharbonnierLoss

from srsenet_plugin import CharbonnierPenaltyLoss

SHAPE = (2, 3, 4, 5)


@pytest.fixture
def pred() -> torch.Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.fixture
def target() -> torch.Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('z', [0.0, 1e-6, 1e-3, -0.5, 1.0, 255.0, -1e6, 1e12])
@pytest.mark.parametrize('eps', [1e-3, 0.1])
def test_value_and_gradient_against_float64_formulas(z: float, eps: float) -> None:
    difference = torch.full((1, 1, 1, 1), z, requires_grad=True)
    loss = CharbonnierPenaltyLoss(eps=eps)(difference, torch.zeros(1, 1, 1, 1))
    loss.backward()
    z = float(difference.detach())  # as float32 holds it
    assert loss.item() == pytest.approx(math.hypot(z, eps), rel=1e-6)
    assert difference.grad.item() == pytest.approx(z / math.hypot(z, eps), rel=1e-6)


@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
@pytest.mark.parametrize('channels', [None, 1, 3])
def test_reductions_and_weights_against_float64(
    pred: torch.Tensor, target: torch.Tensor, reduction: str, channels: int | None
) -> None:
    weight = None if channels is None else torch.rand(2, channels, 4, 5)
    loss = CharbonnierPenaltyLoss(loss_weight=0.7, reduction=reduction)(pred, target, weight)

    expected = ((pred.double() - target.double()) ** 2 + 1e-6).sqrt()
    weights = torch.ones(SHAPE, dtype=torch.float64) if weight is None else weight.double().expand(SHAPE)
    expected = expected * weights
    if reduction == 'sum':
        expected = expected.sum()
    elif reduction == 'mean':
        expected = expected.sum() / weights.sum()
    torch.testing.assert_close(loss.double(), 0.7 * expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('reduction', ['none', 'mean', 'sum'])
def test_weights_mean_what_they_mean_to_the_toolbox(
    pred: torch.Tensor, target: torch.Tensor, reduction: str, channels: int
) -> None:
    weight = torch.rand(2, channels, 4, 5)
    ours = CharbonnierPenaltyLoss(eps=1e-2, reduction=reduction)(pred, target, weight=weight)
    toolbox = CharbonnierLoss(eps=1e-4, reduction=reduction)(pred, target, weight=weight)
    torch.testing.assert_close(ours, toolbox, rtol=1e-5, atol=1e-6)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="reduction must be one of 'none', 'mean' and 'sum'; got 'average'"):
        CharbonnierPenaltyLoss(reduction='average')
    for eps in (0, -1e-3, float('nan'), '1e-3'):
        with pytest.raises(ValueError, match='eps must be a number greater than 0'):
            CharbonnierPenaltyLoss(eps=eps)

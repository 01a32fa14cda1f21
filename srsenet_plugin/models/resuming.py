"""How a training goes on from a state of BasicSR's: the optimizer's numbers, and the validations that are due."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from basicsr.models.base_model import BaseModel


def restore_optimizers(
    model: BaseModel, state: Mapping[str, Any], restore: Callable[[Mapping[str, Any]], None]
) -> None:
    """Restores the optimizers' moments. All else about them is the options': the learning rate and its schedule, of
    whatever type, and numbers such as betas are as if the training had had them from its first iteration.

    Args:
        model: Newly built.
        state: Of a training.
        restore: BasicSR's ``resume_training``.
    """
    train_opt = model.opt['train']
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Detected call of `lr_scheduler.step', UserWarning)  # there are no steps yet
        for iteration in range(1, min(state['iter'], int(train_opt['total_iter'])) + 1):
            model.update_learning_rate(iteration, train_opt.get('warmup_iter', -1))
    numbers = [[_numbers(group) for group in optimizer.param_groups] for optimizer in model.optimizers]
    restore({**state, 'schedulers': [scheduler.state_dict() for scheduler in model.schedulers]})
    for optimizer, of_groups in zip(model.optimizers, numbers):
        for group, of_options in zip(optimizer.param_groups, of_groups):
            group.update(of_options)


def validations_due(opt: Mapping[str, Any], iteration: int, done: Mapping[str, int]) -> list[dict[str, Any]]:
    """Options of the datasets that a training saved its state without validating on.

    ``train.py`` does not come back to the validation of an iteration that it has saved.

    Args:
        opt: All options.
        iteration: Of the state.
        done: The iteration of each dataset's last validation, by the dataset's name.
    """
    if not opt.get('val') or iteration % opt['val']['val_freq']:
        return []
    return [
        dataset
        for phase, dataset in opt['datasets'].items()
        if phase.split('_')[0] == 'val' and done.get(dataset['name']) != iteration
    ]


def _numbers(group: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's group without its weights."""
    return {name: value for name, value in group.items() if name != 'params'}

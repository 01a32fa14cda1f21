"""The checkpoints of an experiment: written, deleted when there are enough, and looked at before a training resumes."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils import get_root_logger
from torch import Tensor, nn

from srsenet_plugin.data.whole_files import remove_leftovers
from srsenet_plugin.models.stopping import TrainingStopped
from srsenet_plugin.weights import files


class Checkpoints:
    """Writes networks and training states, whole or not at all. That a disk is full does not end the training.

    Args:
        opt: All options of the training.
    """

    def __init__(self, opt: Mapping[str, Any]) -> None:
        self._experiment = Path(opt['path']['experiments_root'])
        self._models = Path(opt['path']['models'])
        self._states = Path(opt['path']['training_states'])
        self._keep: int | None = opt['logger'].get('keep_checkpoints')
        self._network_g = dict(opt['network_g'])

    def save_network(self, networks: Mapping[str, nn.Module], current_iter: int) -> bool:
        """Saves weights by key, and the network's options, so that a file says which network it is for.

        Args:
            networks: 'params' and perhaps 'params_ema'.
            current_iter: -1 stands for the latest.

        Returns:
            Whether it worked.
        """
        content: dict[str, Any] = {key: _weights(net) for key, net in networks.items()}
        content['network_g'] = self._network_g
        return _try_to_save(content, self._models / f'net_g_{"latest" if current_iter == -1 else current_iter}.pth')

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Saves a training state under its 'iter', and deletes the oldest checkpoints if there are too many."""
        if _try_to_save(state, self._states / f'{state["iter"]}.state') and self._keep:
            prune(self._experiment, self._keep)


def prepare_to_resume(experiment: Path) -> None:
    """Deletes half-written files, and renames the newest training states if damaged: BasicSR takes the one before.

    Args:
        experiment: ``experiments/NAME``.
    """
    for folder in (experiment, experiment / 'models', experiment / 'training_states'):
        remove_leftovers(folder)
    for state in reversed(_states(experiment)):
        try:
            for path in (state, *_networks(experiment, state)):
                files.load(path)
            return
        except (ValueError, OSError) as error:
            print(f'warning: not resuming from {state}: {error}', file=sys.stderr)
            state.replace(state.with_name(state.name + '.damaged'))


def prune(experiment: Path, keep: int) -> None:
    """Deletes all but the newest states, and the networks saved with them.

    Raises:
        ValueError: ``keep`` is less than 1.
    """
    if keep < 1:
        raise ValueError(f'keep_checkpoints: {keep} would delete every checkpoint.')
    for state in _states(experiment)[:-keep]:
        networks = _networks(experiment, state)
        state.unlink()
        for network in networks:
            network.unlink(missing_ok=True)


def identity(opt: Mapping[str, Any]) -> dict[str, Any]:
    """What a training state has to have in common with an option file."""
    return {'scale': opt.get('scale'), 'network_g': dict(opt['network_g'])}


def check_that_state_fits(opt: Mapping[str, Any]) -> None:
    """Looks at the state that the options name.

    Raises:
        TrainingStopped: It is of another network.
    """
    path = opt['path']['resume_state']
    made_with = files.load(path).get('made_with')
    if made_with is not None and made_with != identity(opt):
        raise TrainingStopped(f'{path} does not fit the option file.\n  state: {made_with}\n  options: {identity(opt)}')


def _try_to_save(content: Mapping[str, Any], path: Path) -> bool:
    try:
        files.save(content, path)
    except (OSError, RuntimeError) as error:  # the disk is full, for instance
        get_root_logger().warning(f'{path} could not be saved ({error}). Training goes on; older checkpoints stay.')
        return False
    return True


def _weights(net: nn.Module) -> OrderedDict[str, Tensor]:
    return OrderedDict((name, weight.detach().cpu().contiguous()) for name, weight in net.state_dict().items())


def _states(experiment: Path) -> list[Path]:
    states = [path for path in experiment.glob('training_states/*.state') if path.stem.isdecimal()]
    return sorted(states, key=lambda path: int(path.stem))


def _networks(experiment: Path, state: Path) -> list[Path]:
    return sorted(experiment.glob(f'models/net_*_{state.stem}.pth'))

"""The checkpoints of an experiment: which one a training resumes from, and which are deleted."""

from __future__ import annotations

import sys
from pathlib import Path

from srsenet_plugin.data.whole_files import remove_leftovers
from srsenet_plugin.weights import files


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
    """Deletes all but the newest states, and the networks saved with them."""
    for state in _states(experiment)[:-keep]:
        networks = _networks(experiment, state)
        state.unlink()
        for network in networks:
            network.unlink(missing_ok=True)


def _states(experiment: Path) -> list[Path]:
    states = [path for path in experiment.glob('training_states/*.state') if path.stem.isdecimal()]
    return sorted(states, key=lambda path: int(path.stem))


def _networks(experiment: Path, state: Path) -> list[Path]:
    return sorted(experiment.glob(f'models/net_*_{state.stem}.pth'))

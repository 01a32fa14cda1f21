"""Trains weights of the package, and takes them, their logs and their curves into the repository.

python scripts/release_weights.py srsenet_x4          its trainings that are missing, then the mean of all but the first
python scripts/release_weights.py srsenet_x4 --list   the commands alone
python scripts/release_weights.py srsenet_x4_jpeg     the weights for photographs saved as JPEG, by a single training

The mean is that of Wortsman et al., "Model soups", ICML 2022. Weights for JPEG are mixed with those that their training
started from (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022), so that clean images lose less.
options/released/stages.yml lists the trainings.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from srsenet_plugin.archs.arch_util import FullPrecisionConv2d
from srsenet_plugin.weights import files, pretrained

ROOT = Path(__file__).parents[1]
STAGES = Path('options/released/stages.yml')


def main() -> None:
    stages = yaml.safe_load((ROOT / STAGES).read_text(encoding='utf-8'))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('weights', choices=[name for name in stages if name not in ('shared', 'shares', 'starts')])
    parser.add_argument('--list', action='store_true', help='print the commands, run nothing')
    args = parser.parse_args()
    commands = training_commands(stages[args.weights])
    starts = {name: [shlex.split(start) for start in stages['starts'].get(name, [])] for name in commands}
    for name, command in commands.items():
        for step in (*starts[name], command):
            if args.list:
                print(shlex.join(step))
            elif not latest_weights(name).exists() and not is_done(step):
                subprocess.run([sys.executable, *step[1:]], cwd=ROOT, check=True)
    if args.list:
        return
    before = [Path(step[step.index('-opt') + 1]).stem for steps in starts.values() for step in steps if '-opt' in step]
    for name in (*before, *commands):
        copy_curves(name)
    release(args.weights, list(commands), stages['shares'].get(args.weights, 1))


def is_done(step: list[str]) -> bool:
    """Whether a command is that of a training before, whose weights are there."""
    return '-opt' in step and latest_weights(Path(step[step.index('-opt') + 1]).stem).exists()


def training_commands(stages: dict[str, dict[str, Any] | None]) -> dict[str, list[str]]:
    """The command of each training, by its name. One without changes to the first has an option file of its own."""
    first = next(iter(stages))
    commands = {}
    for name, changes in stages.items():
        file = option_file(first if changes else name)
        entries = [f'{key}={value}' for key, value in forced_options(name, changes).items()] if changes else []
        forced = ['--force_yml', *entries] if entries else []
        commands[name] = ['python', 'basicsr/train.py', '-opt', str(file), '--auto_resume', *forced]
    return commands


def option_file(name: str) -> Path:
    return next(ROOT.glob(f'options/*/{name}.yml')).relative_to(ROOT)


def forced_options(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """What --force_yml has to set: a training that follows starts from averages, and has one cosine without warm-up."""
    changes = dict(changes)
    start, iterations = changes.pop('start'), changes.pop('iterations')
    return {
        'name': name,
        'path:pretrain_network_g': latest_weights(start).relative_to(ROOT),
        'path:param_key_g': 'params_ema',
        'path:strict_load_g': 'true',
        'train:total_iter': iterations,
        'train:scheduler:periods': [iterations],
        'train:scheduler:restart_weights': [1],
        'train:warmup_iter': 0,
        'val:val_freq': 500,
        **{key: f'{value:f}' if isinstance(value, float) else value for key, value in changes.items()},
    }


def latest_weights(name: str) -> Path:
    return ROOT / 'experiments' / name / 'models/net_g_latest.pth'


def release(weights_name: str, names: list[str], share: float) -> None:
    """Writes the mean weights of all trainings but the first, or those of a single one.

    Args:
        weights_name: Such as ``srsenet_x4``.
        names: The trainings, in order.
        share: Of these weights in those that are written; the rest are those that the first training started from.
    """
    trained = {name: files.load(latest_weights(name)) for name in names[1:] or names}
    weights = [files.weights_of(content, latest_weights(name), 'params_ema') for name, content in trained.items()]
    mean = {key: torch.stack([found[key] for found in weights]).mean(0) for key in weights[0]}
    if share < 1:
        options = yaml.safe_load((ROOT / option_file(names[0])).read_text(encoding='utf-8'))
        file = pretrained.weights_file(options['path']['pretrain_network_g'])
        start = files.weights_of(files.load(file), file, 'params')
        mean = {key: torch.lerp(start[key].float(), weight, share) for key, weight in mean.items()}
    network_g = next(iter(trained.values()))['network_g']
    files.save(
        {'params': as_stored(mean, network_g), 'network_g': network_g}, pretrained.FOLDER / f'{weights_name}.pth'
    )
    checksums = [f'{pretrained.checksum_line(path)}\n' for path in sorted(pretrained.FOLDER.glob('*.pth'))]
    (pretrained.FOLDER / pretrained.CHECKSUMS).write_text(''.join(checksums), encoding='utf-8')


def copy_curves(name: str) -> None:
    """Takes the log and the curves of a training into the documents."""
    experiment = ROOT / 'experiments' / name
    shutil.copy(experiment / 'train_log.csv', ROOT / f'docs/training/{name}.csv')
    shutil.copy(experiment / 'curves.png', ROOT / f'docs/training/{name}.png')


def as_stored(weights: dict[str, Tensor], network_g: dict[str, Any]) -> dict[str, Tensor]:
    """In half precision: half the size, and no difference in a hundredth of a dB.

    Not so filters that see an enlarged image: they add up to almost nothing, so that little is left but the rounding.
    """
    from basicsr.archs import build_network

    modules = build_network(dict(network_g)).named_modules()
    full = tuple(f'{name}.' for name, module in modules if isinstance(module, FullPrecisionConv2d))
    return {key: weight if key.startswith(full) else weight.half() for key, weight in weights.items()}


if __name__ == '__main__':
    main()

"""Takes the weights, the logs and the curves of a scale's trainings into the package and its documentation.

python scripts/release_weights.py 8    of train_SrSENet_x8_T91BSD200.yml and of all *_SrSENet_x8_T91BSD200*.yml after it

The weights of those after it are averaged (Wortsman et al., "Model soups", ICML 2022).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch

from srsenet_plugin.weights import files, pretrained

ROOT = Path(__file__).parents[1]


def main(scale: str) -> None:
    # By their option files: beside the experiments lie older ones of the same names, archived by BasicSR.
    experiments = [
        ROOT / 'experiments' / path.stem for path in sorted(ROOT.glob(f'options/*_SrSENet_x{scale}_T91BSD200*.yml'))
    ]
    last = [experiment for experiment in experiments if experiment.name != f'train_SrSENet_x{scale}_T91BSD200']
    trained = [files.load(experiment / 'models/net_g_latest.pth') for experiment in last]
    weights = [files.weights_of(*found, 'params_ema') for found in zip(trained, last)]
    # Half precision: half the size, and no difference in a hundredth of a dB.
    mean = {key: torch.stack([found[key] for found in weights]).mean(0).half() for key in weights[0]}
    files.save({'params': mean, 'network_g': trained[0]['network_g']}, pretrained.FOLDER / f'srsenet_x{scale}.pth')
    checksums = [f'{pretrained.checksum_line(path)}\n' for path in sorted(pretrained.FOLDER.glob('*.pth'))]
    (pretrained.FOLDER / pretrained.CHECKSUMS).write_text(''.join(checksums), encoding='utf-8')
    for experiment in experiments:
        shutil.copy(experiment / 'train_log.csv', ROOT / f'docs/training/{experiment.name}.csv')
        shutil.copy(experiment / 'curves.png', ROOT / f'docs/training/{experiment.name}.png')


if __name__ == '__main__':
    main(*sys.argv[1:])

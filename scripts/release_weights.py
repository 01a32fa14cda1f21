"""Takes the weights, the logs and the curves of a scale's trainings into the package and its documentation.

python scripts/release_weights.py 4    of train_SrSENet_x4_T91BSD200.yml and then finetune_SrSENet_x4_T91BSD200.yml
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from srsenet_plugin import pretrained
from srsenet_plugin.models import checkpoints

ROOT = Path(__file__).parents[1]


def main(scale: str) -> None:
    train, finetune = (ROOT / f'experiments/{stage}_SrSENet_x{scale}_T91BSD200' for stage in ('train', 'finetune'))
    trained = checkpoints.load(finetune / 'models/net_g_latest.pth')
    weights = checkpoints.weights_of(trained, finetune, 'params_ema')
    # Half precision: half the size, and no difference in a hundredth of a dB.
    content = {'params': {key: weight.half() for key, weight in weights.items()}, 'network_g': trained['network_g']}
    checkpoints.save(content, pretrained.FOLDER / f'srsenet_x{scale}.pth')
    checksums = [f'{pretrained.checksum_line(path)}\n' for path in sorted(pretrained.FOLDER.glob('*.pth'))]
    (pretrained.FOLDER / pretrained.CHECKSUMS).write_text(''.join(checksums), encoding='utf-8')
    for experiment, name in ((train, f'srsenet_x{scale}'), (finetune, f'srsenet_x{scale}_finetune')):
        shutil.copy(experiment / 'train_log.csv', ROOT / f'docs/training/{name}.csv')
        shutil.copy(experiment / 'curves.png', ROOT / f'docs/training/{name}.png')


if __name__ == '__main__':
    main(*sys.argv[1:])

"""Takes the weights, the log and the curves of a training into the package and its documentation.

python scripts/release_weights.py train_SrSENet_x4_T91BSD200          those at its end
python scripts/release_weights.py train_SrSENet_x4_T91BSD200 10000    those after 10,000 iterations
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from srsenet_plugin import pretrained
from srsenet_plugin.models import checkpoints

ROOT = Path(__file__).parents[1]


def main(name: str, iteration: str = 'latest') -> None:
    experiment = ROOT / 'experiments' / name
    trained = checkpoints.load(experiment / f'models/net_g_{iteration}.pth')
    weights = checkpoints.weights_of(trained, experiment, 'params_ema')
    shipped = f'srsenet_x{trained["network_g"]["upscale"]}'
    # Half precision: half the size, and no difference in a hundredth of a dB.
    content = {'params': {key: weight.half() for key, weight in weights.items()}, 'network_g': trained['network_g']}
    checkpoints.save(content, pretrained.FOLDER / f'{shipped}.pth')
    checksums = [f'{pretrained.checksum_line(path)}\n' for path in sorted(pretrained.FOLDER.glob('*.pth'))]
    (pretrained.FOLDER / pretrained.CHECKSUMS).write_text(''.join(checksums), encoding='utf-8')
    header, *lines = (experiment / 'train_log.csv').read_text(encoding='utf-8').splitlines(keepends=True)
    lines = [line for line in lines if iteration == 'latest' or int(line.partition(',')[0]) <= int(iteration)]
    (ROOT / f'docs/training/{shipped}.csv').write_text(''.join([header, *lines]), encoding='utf-8')
    shutil.copy(experiment / 'curves.png', ROOT / f'docs/training/{shipped}.png')


if __name__ == '__main__':
    main(*sys.argv[1:])

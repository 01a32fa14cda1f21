"""Writes the weights that a training of a wide DRCN starts from: those of a narrow one, which computes the same.

python scripts/widened_start.py options/table1/train_DRCN_x4_T91BSD200.yml \\
    experiments/train_DRCN_x4_T91BSD200_narrow/models/net_g_latest.pth

Each feature of the narrow network has copies in the wide one, and random shares divide the weight of each connection
among the copies that it comes from (Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016,
section 2.3). So the copies learn different things from then on. The file is the one that path:pretrain_network_g of the
option file names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

from srsenet_plugin.archs.drcn_arch import DRCN
from srsenet_plugin.weights import files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('option_file', type=Path)
    parser.add_argument('narrow', type=Path, help='weights of a DRCN with fewer features')
    args = parser.parse_args()
    try:
        write_start(args.option_file, args.narrow)
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None


def write_start(option_file: Path, narrow: Path) -> None:
    """Writes the weights that an option file's training starts from."""
    opt = yaml.safe_load(option_file.read_text(encoding='utf-8'))
    start = opt['path']['pretrain_network_g']
    if opt['network_g']['type'] != 'DRCN' or not str(start).endswith('_start.pth'):
        raise ValueError(
            f'{option_file}: network_g must be a DRCN, and path:pretrain_network_g must be NAME_start.pth, '
            f'to be written; it is {start}.'
        )
    torch.manual_seed(opt['manual_seed'])
    net = DRCN(**{key: value for key, value in opt['network_g'].items() if key != 'type'})
    try:
        widen(net, files.weights_of(files.load(narrow), narrow, 'params_ema'))
    except (KeyError, RuntimeError) as error:
        raise ValueError(f'{narrow} does not hold a narrow DRCN that fits {option_file}: {error}') from None
    Path(start).parent.mkdir(parents=True, exist_ok=True)
    files.save({'params': net.state_dict()}, Path(start))


@torch.no_grad()
def widen(net: nn.Module, narrow: dict[str, Tensor]) -> None:
    """Gives a network the function of a narrower one.

    Args:
        net: The wide network. Its numbers of features are multiples of the narrow one's.
        narrow: Weights of the same architecture.
    """
    for name, parameter in net.named_parameters():
        weight = narrow[name]
        if name == 'output_weights':  # of recursions, of which there have to be as many
            parameter.copy_(weight)
            continue
        copied = weight[torch.arange(len(parameter)) % len(weight)]
        if parameter.dim() == 4:
            num_out, num_in = parameter.shape[:2]
            copies = num_in // weight.shape[1]
            shares = torch.rand(num_out, copies, weight.shape[1], dtype=torch.float64)
            shares /= shares.sum(1, keepdim=True)
            copied = copied.repeat(1, copies, 1, 1) * shares.view(num_out, num_in, 1, 1)
        parameter.copy_(copied)


if __name__ == '__main__':
    main()

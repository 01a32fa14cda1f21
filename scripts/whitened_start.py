"""Writes the weights that a training on enlarged images starts from, with a first convolution that whitens them.

python scripts/whitened_start.py options/table1/train_SRCNN_x8_T91BSD200.yml --floor 1e-9

Neighbours in an enlarged image are almost equal: at x8 the variances of patches of 9x9 pixels along their principal
components differ by a factor of 10^15. Gradient descent hardly moves along the small ones, which hold the detail. So
each filter of the first convolution is a random sum of the principal components of training patches, each over its
standard deviation (after Krähenbühl et al., "Data-dependent Initializations of Convolutional Neural Networks", ICLR
2016). The last convolution starts small, or in SRCNN passes the enlarged image on; the others start as the architecture
says. The file is the one that path:pretrain_network_g of the option file names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from srsenet_plugin.archs.drcn_arch import DRCN
from srsenet_plugin.archs.srcnn_arch import SRCNN
from srsenet_plugin.archs.vdsr_arch import VDSR
from srsenet_plugin.weights import files

NUM_PATCH = 1000
NUM_WINDOW = 100  # of each patch
DEVIATION = 0.3  # of the features, about that of an image's pixels
FLOOR = 1e-4  # of variances, of values in [0, 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('option_file', type=Path)
    parser.add_argument(
        '--floor',
        type=float,
        default=FLOOR,
        metavar='VARIANCE',
        help='added to the variance along each component. Less makes larger filters, which suits SRCNN, because it '
        'replicates edges: beside a padding of zeros, large filters see nothing but that edge. (default: %(default)s)',
    )
    args = parser.parse_args()
    try:
        write_start(args.option_file, args.floor)
    except (OSError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None


def write_start(option_file: Path, floor: float) -> None:
    """Writes the weights that an option file's training starts from."""
    from basicsr.archs import build_network
    from basicsr.data import build_dataset
    from basicsr.utils import set_random_seed

    opt = yaml.safe_load(option_file.read_text(encoding='utf-8'))
    start = opt['path']['pretrain_network_g']
    if opt['network_g']['type'] not in ('SRCNN', 'VDSR', 'DRCN') or opt['network_g']['num_in_ch'] != 1:
        raise ValueError(f'{option_file}: network_g must be an SRCNN, VDSR or DRCN, which enlarge images first, for Y.')
    if not str(start).endswith('_start.pth'):
        raise ValueError(
            f'{option_file}: path:pretrain_network_g must be NAME_start.pth, to be written; it is {start}.'
        )
    if not 0 < floor < 1:
        raise ValueError(f'--floor must be above 0 and below 1; got {floor}')
    data = opt['datasets']['train']
    if not Path(data['dataroot_lq']).exists():
        raise ValueError(f'there is no {data["dataroot_lq"]}. To make it: {data.get("prepare")}')
    set_random_seed(opt['manual_seed'])
    dataset = build_dataset({**data, 'phase': 'train', 'scale': opt['scale']})
    step = max(1, len(dataset) // NUM_PATCH)
    images = torch.stack([dataset[index]['lq'] for index in range(0, len(dataset), step)][:NUM_PATCH])
    net = build_network(opt['network_g'])
    start_white(net, images, floor)
    Path(start).parent.mkdir(parents=True, exist_ok=True)
    files.save({'params': net.state_dict()}, Path(start))


@torch.no_grad()
def start_white(net: SRCNN | VDSR | DRCN, images: Tensor, floor: float = FLOOR) -> None:
    """Sets the weights of a network that enlarges its input by bicubic interpolation first.

    Args:
        net: One with a single channel.
        images: Shape (N, 1, H, W), range [0, 1]. LR patches.
        floor: Added to variances, of values in [0, 1].
    """
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    first, last = convs[0], convs[-1]
    if first.bias is None:
        raise ValueError('the first convolution has no bias, which has to take the mean away')
    windows = sample_windows(net.enlarge(images), first.kernel_size)
    mean = windows.mean(0)
    covariance = torch.cov(windows.T, correction=0)
    variances, components = torch.linalg.eigh(covariance)
    whitening = components / (variances.clamp(min=0) + floor).sqrt()
    filters = torch.randn(first.out_channels, len(mean), dtype=torch.float64) @ whitening.T
    filters *= DEVIATION / (filters @ covariance * filters).sum(1, keepdim=True).sqrt()
    first.weight.copy_(filters.view_as(first.weight))
    first.bias.copy_(-filters @ mean)
    last.weight *= 0.01
    if isinstance(net, SRCNN):  # which adds its output to nothing: one channel passes the enlarged image on
        for conv in convs:
            nn.init.dirac_(conv.weight[:1])
            conv.bias[0] = 0  # type: ignore[index]


def sample_windows(images: Tensor, kernel_size: tuple[int, ...]) -> Tensor:
    """What a kernel sees in some places of each image, shape (number, values), in float64."""
    samples = []
    for image in images:
        windows = F.unfold(image[None].double(), kernel_size)[0].T
        samples.append(windows[torch.randperm(len(windows))[:NUM_WINDOW]])
    return torch.cat(samples)


if __name__ == '__main__':
    main()

"""Prints the PSNR in dB that the package's weights have in fp32 on benchmarks, and their losses in bf16 and int8.

python scripts/int8_loss.py datasets/benchmarks

The folder is one that `srsenet prepare benchmark` has made.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from tqdm import tqdm

from srsenet_plugin.compare.quality import Benchmark, find_benchmarks, read_bgr, score, upscale
from srsenet_plugin.inference.quantised import Int8SrSENet
from srsenet_plugin.inference.stripwise import StripwiseSrSENet
from srsenet_plugin.weights import pretrained
from srsenet_plugin.weights.ranges import stored_ranges


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--scales', type=int, nargs='+', default=pretrained.scales())
    args = parser.parse_args()
    table = Table('', 'fp32', 'bf16', 'int8', 'int8, the worst image', title='PSNR on Y, dB')
    for scale in args.scales:
        for benchmark in find_benchmarks(args.folder, scale):
            exact, half, quantised = (psnrs(net, benchmark) for net in networks(scale))
            losses = [(other - exact).mean() for other in (half, quantised)]
            worst = (quantised - exact).min()
            table.add_row(
                f'x{scale} {benchmark.name}',
                f'{exact.mean():.3f}',
                *(f'{loss:+.4f}' for loss in losses),
                f'{worst:+.3f}',
            )
    Console().print(table)


def networks(scale: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The network in fp32, bf16 and int8."""
    net = pretrained.load_pretrained(scale)
    ranges = stored_ranges(pretrained.weights_file(f'srsenet_x{scale}'))
    if ranges is None:
        raise SystemExit(f'The weights for x{scale} have no ranges: python scripts/calibrate_int8.py BSD200')
    return StripwiseSrSENet(net), StripwiseSrSENet(net, torch.bfloat16), Int8SrSENet(net, ranges)


def psnrs(net: nn.Module, benchmark: Benchmark) -> torch.Tensor:
    """PSNR of each image."""
    label = f'{benchmark.name} x{benchmark.scale}'
    pairs = ((read_bgr(gt), read_bgr(lr)) for gt, lr in tqdm(benchmark.pairs.values(), label, leave=False))
    scale = benchmark.scale
    return torch.tensor([score(upscale(net, 1, lr, scale)[0], gt, scale)[0] for gt, lr in pairs])


if __name__ == '__main__':
    main()

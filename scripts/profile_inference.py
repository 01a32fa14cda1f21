"""Prints where the time of upscaling goes, on one thread: 480x270 to 1920x1080 by x4, and 960x540 to 1920x1080 by x2.

The times are those of torch's profiler. What is outside of torch's operators is Python and, in int8, OpenCV's tables.
The last column is of the convolutions alone, in thousand millions of multiply-adds a second.
"""

from __future__ import annotations

import time
import warnings

import torch
from benchmark_inference import HEIGHT, WIDTH, in_bf16, in_int8, lr_image
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.profiler import ProfilerActivity, profile

from srsenet_plugin import load_pretrained
from srsenet_plugin.inference.stripwise import StripwiseSrSENet

KINDS = {'convolutions': ('conv',), 'matrix products': ('linear', 'mm')}
OTHERS = 'copies and sums'
NETWORKS = {'fp32': StripwiseSrSENet, 'bf16': in_bf16, 'int8': in_int8}
REPETITIONS = 5


def main() -> None:
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    table = Table('', 'ms', *KINDS, OTHERS, 'outside of operators', 'GMAC/s', title=f'to {WIDTH}x{HEIGHT}, one thread')
    for scale in (4, 2):
        lr = torch.from_numpy(lr_image('coffee.png', scale, HEIGHT, WIDTH)[0])
        for name, network in NETWORKS.items():
            try:
                net = network(load_pretrained(scale))
            except RuntimeError as reason:
                Console().print(f'left out: {name} ({reason})')
                continue
            runs = sorted((profiled(net, lr) for _ in range(REPETITIONS)), key=lambda run: run[0])
            seconds, shares = runs[REPETITIONS // 2]
            cells = [f'{share / seconds:.0%}' for share in (*shares.values(), seconds - sum(shares.values()))]
            speed = multiply_adds(scale, name) / shares['convolutions'] / 1e9
            table.add_row(f'x{scale}, {name}', f'{seconds * 1000:.0f}', *cells, f'{speed:.0f}')
    Console().print(table)


@torch.inference_mode()
def profiled(net: nn.Module, lr: torch.Tensor) -> tuple[float, dict[str, float]]:
    """Seconds of one pass, and those of each kind of operator."""
    net(lr[..., :16])
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        net(lr)
        seconds = time.perf_counter() - start
    shares = dict.fromkeys((*KINDS, OTHERS), 0.0)
    for event in profiler.key_averages():
        kind = next((kind for kind, parts in KINDS.items() if any(part in event.key for part in parts)), OTHERS)
        shares[kind] += event.self_cpu_time_total / 1e6
    return seconds, shares


def multiply_adds(scale: int, precision: str) -> int:
    """Of convolutions from features to features: nearly all. In int8, the transposed one is a matrix product."""
    num_feat, num_block = 64, 8
    lr_pixels = HEIGHT * WIDTH // scale**2
    transposed = 0 if precision == 'int8' else 4 * HEIGHT * WIDTH
    return (2 * num_block * 9 * lr_pixels + transposed) * num_feat**2


if __name__ == '__main__':
    main()

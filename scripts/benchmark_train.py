"""Prints training steps per second of SRModel and AcceleratedSRModel, side by side in one run: medians of interleaved
repetitions, as ratios; and how two processes compare with one. It takes some minutes; arguments name the rows to
measure. On a GPU it is one process, and the peak memory is printed besides."""

from __future__ import annotations

import copy
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import yaml
from basicsr.models import build_model
from basicsr.utils.registry import ARCH_REGISTRY
from rich.console import Console
from rich.table import Table
from torch import distributed, multiprocessing, nn

from srsenet_plugin.archs.arch_util import BilinearUpConv
from srsenet_plugin.archs.srsenet_arch import ConvToImage, SrSENet, UpConv
from srsenet_plugin.machine.precision import amp_dtype
from srsenet_plugin.machine.timing import interleaved_medians

ROOT = Path(__file__).parents[1]
BATCH, PATCH = 16, 96
REPETITIONS = 5
CUDA = torch.cuda.is_available()
STEPS = 100 if CUDA else 4  # in each repetition
PORT = '29517'
# Of BasicSR, at x4, on RGB, which is all that EDSR and RCAN take; RCAN with a tenth of its 200 blocks. Uncompiled,
# as in options/compare: they gain nothing by it.
OTHERS: dict[str, dict[str, Any]] = {
    'MSRResNet': {'num_feat': 64, 'num_block': 16},
    'EDSR': {'num_feat': 64, 'num_block': 16},
    'RCAN': {'num_feat': 64, 'num_group': 2, 'num_block': 10},
}


@ARCH_REGISTRY.register()
class PlainSrSENet(SrSENet):
    """Of torch's own layers, as one would write it down from the paper."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        torchs: dict[type, Any] = {
            UpConv: nn.ConvTranspose2d,
            BilinearUpConv: nn.ConvTranspose2d,
            ConvToImage: nn.Conv2d,
        }
        for module in self.modules():
            module.__class__ = torchs.get(type(module), type(module))


def main() -> None:
    logging.getLogger('basicsr').setLevel(logging.WARNING)
    console = Console()
    device = torch.cuda.get_device_name() if CUDA else 'cpu'
    got = amp_dtype('bf16', 'cuda' if CUDA else 'cpu')[1]
    console.print(f'{device}, {torch.get_num_threads()} threads; bf16 asked for, got {got}')
    headings = ('', 'SRModel', 'AcceleratedSRModel', 'ratio', 'its samples per second')
    table = Table(*headings, title=f'steps per second, {BATCH} x {PATCH}x{PATCH}')
    peaks = Table(*headings[:4], title='peak memory of the GPU, MB')
    with tempfile.TemporaryDirectory() as folder:
        for name, opt in option_files(Path(folder)).items():
            if name in (sys.argv[1:] or [name]):
                seconds, (stock_peak, peak) = seconds_and_peaks(name, opt)
                stock, ours = (STEPS / own for own in seconds)
                table.add_row(name, f'{stock:.2f}', f'{ours:.2f}', f'{ours / stock:.2f}', f'{ours * BATCH:.0f}')
                peaks.add_row(name, f'{stock_peak:.0f}', f'{peak:.0f}', f'{peak / (stock_peak or 1):.2f}')
        console.print(table)
        if CUDA:
            console.print(peaks)
            return
        if sys.argv[1:]:
            return

        one, two = (processes(count, Path(folder)) for count in (1, 2))
        table = Table('processes of one thread', 'samples per second', 'ratio', title='AcceleratedSRModel, SrSENet x4')
        table.add_row('1', f'{one:.1f}', '1.00')
        table.add_row('2', f'{two:.1f}', f'{two / one:.2f}')
        console.print(table)


def option_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Our option files as BasicSR parses them, and the x4 one with other networks."""
    opts = {}
    for scale in (2, 4, 8):
        opt = yaml.safe_load((ROOT / f'options/train_SrSENet_x{scale}.yml').read_text(encoding='utf-8'))
        opt |= {'is_train': True, 'dist': False, 'rank': 0, 'world_size': 1, 'datasets': {}}
        opt['num_gpu'] = int(CUDA)
        opt['path'] |= dict.fromkeys(('experiments_root', 'models', 'training_states'), str(folder))
        opts[f'SrSENet x{scale}'] = opt
    for name, arguments in OTHERS.items():
        network = {'type': name, 'num_in_ch': 3, 'num_out_ch': 3, 'upscale': 4, **arguments}
        opts[f'{name} x4'] = copy.deepcopy(opts['SrSENet x4']) | {'network_g': network}
        opts[f'{name} x4']['train']['compile'] = False
    for name in ('SrSENet x2', 'SrSENet x4'):
        opts[f"{name}, SRModel's of torch's own layers"] = copy.deepcopy(opts[name]) | {'stock_type': 'PlainSrSENet'}
        for key, value in (('compile', False), ('amp', 'off')):
            row = f'{name}, {key}: {str(value).lower()}'
            opts[row] = copy.deepcopy(opts[name])
            opts[row]['train'][key] = value
    return opts


def model_of(opt: Mapping[str, Any], model_type: str) -> Any:
    """A model of the options; the stock one without our own options."""
    opt = copy.deepcopy(dict(opt)) | {'model_type': model_type}
    if model_type == 'SRModel':
        opt['train']['optim_g'].pop('fused', None)
        opt['network_g']['type'] = opt.get('stock_type', opt['network_g']['type'])
    return build_model(opt)


def seconds_and_peaks(name: str, opt: Mapping[str, Any]) -> tuple[Iterable[float], Iterable[float]]:
    """Median seconds of STEPS steps of SRModel and of AcceleratedSRModel, and their peak memory on the GPU in MB.

    Each has a process of its own, because memory that one has used is faster for the other one too.
    """
    context = multiprocessing.get_context('spawn')
    with ExitStack() as stack:
        ways: dict[str, Callable[[], object]] = {}
        peaks: dict[str, float] = {}
        for model_type in ('SRModel', 'AcceleratedSRModel'):
            pipe, other_end = context.Pipe()
            stack.enter_context(pipe)
            context.Process(target=train_on_demand, args=(opt, model_type, other_end), daemon=True).start()
            other_end.close()
            ways[model_type] = partial(ask_for_steps, pipe, peaks, model_type)
        return interleaved_medians(ways, REPETITIONS, name).values(), peaks.values()


def ask_for_steps(pipe: Connection, peaks: dict[str, float], model_type: str) -> None:
    pipe.send(STEPS)
    peaks[model_type] = pipe.recv()


def train_on_demand(opt: Mapping[str, Any], model_type: str, pipe: Connection) -> None:
    """Makes as many steps as the other end asks for, and answers the peak memory, until that end is closed."""
    logging.getLogger('basicsr').setLevel(logging.WARNING)
    torch.backends.cudnn.benchmark = True  # as train.py does
    model = model_of(opt, model_type)
    with suppress(EOFError):
        while steps := pipe.recv():
            train(model, steps)
            pipe.send(torch.cuda.max_memory_allocated() / 1e6 if CUDA else 0)


def train(model: Any, steps: int) -> None:
    channels, size = model.opt['network_g']['num_in_ch'], PATCH // model.opt['scale']
    lq, gt = torch.rand(BATCH, channels, size, size), torch.rand(BATCH, channels, PATCH, PATCH)
    if model.device.type == 'cuda':
        lq, gt = lq.pin_memory(), gt.pin_memory()
    data = {'lq': lq, 'gt': gt, 'gt_path': ['random']}
    for i in range(steps):
        model.feed_data(data)
        model.optimize_parameters(i + 1)
    if model.device.type == 'cuda':
        torch.cuda.synchronize()


def processes(count: int, folder: Path) -> float:
    """Samples per second of several processes with one thread each."""
    with multiprocessing.Manager() as manager:
        rates = manager.list()
        multiprocessing.spawn(train_rank, (count, str(folder), rates), count)
        return sum(rates)


def train_rank(rank: int, count: int, folder: str, rates: Any) -> None:
    logging.getLogger('basicsr').setLevel(logging.WARNING)
    sys.stdout = open(os.devnull, 'w')  # noqa: SIM115  (until the process ends)
    torch.set_num_threads(1)
    os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': PORT, 'RANK': str(rank), 'WORLD_SIZE': str(count)}
    distributed.init_process_group('gloo')
    opt = option_files(Path(folder))['SrSENet x4']
    opt |= {'dist': True, 'rank': rank, 'world_size': count, 'num_gpu': 0}
    model = model_of(opt, 'AcceleratedSRModel')
    train(model, 2)
    distributed.barrier()
    start = time.perf_counter()
    train(model, 10)
    distributed.barrier()
    rates.append(10 * BATCH / (time.perf_counter() - start))
    distributed.destroy_process_group()


if __name__ == '__main__':
    main()

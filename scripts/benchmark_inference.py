"""Prints how long several ways take to upscale 480x270 to 1920x1080 by SrSENet x4, side by side in one run: medians of
interleaved repetitions, as ratios to the plain forward pass that basicsr/test.py makes. Then the peak memory of some of
them for an image of 1000x1000 pixels, in a process of its own each. Where there is a GPU, all is measured on it."""

from __future__ import annotations

import copy
import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

import cv2
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from srsenet_plugin import SrSENet
from srsenet_plugin.compare.cost import peak_of_this_process
from srsenet_plugin.inference.stripwise import StripwiseSrSENet
from srsenet_plugin.machine.devices import find_device
from srsenet_plugin.machine.precision import amp_dtype
from srsenet_plugin.machine.timing import interleaved_medians
from srsenet_plugin.weights.export import export

try:
    import onnxruntime
except ModuleNotFoundError:
    raise SystemExit('This compares with ONNX Runtime: pip install onnx onnxruntime') from None

REPETITIONS = 7
DEVICE = find_device('auto', ('cuda', 'cpu'))
CUDA = DEVICE.type == 'cuda'


def in_fp32(net: SrSENet) -> nn.Module:
    return StripwiseSrSENet(net)


def in_bf16(net: SrSENet) -> nn.Module:
    return StripwiseSrSENet(net, torch.bfloat16, amp_dtype('bf16', DEVICE.type)[0] or torch.float32)


MEASURED: dict[str, Callable[[SrSENet], nn.Module]] = {
    'plain, fp32': lambda net: net,
    'srsenet upscale, fp32': in_fp32,
    'srsenet upscale, bf16': in_bf16,
}
if CUDA:
    MEASURED |= {
        'srsenet upscale, fp16': lambda net: StripwiseSrSENet(net, torch.float16),
        'torch.compile, fp32': lambda net: cast(nn.Module, torch.compile(net)),
        'torch.compile, bf16': lambda net: cast(nn.Module, torch.compile(InBf16(net))),
    }


class InBf16(nn.Module):
    """A network under autocast."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast('cuda', torch.bfloat16):
            return self.net(x)


def main() -> None:
    console = Console()
    threads = torch.get_num_threads()
    reason = amp_dtype('bf16', DEVICE.type)[1]
    console.print(f'{torch.cuda.get_device_name() if CUDA else "cpu"}, {threads} threads; bf16 asked for, got {reason}')
    net = SrSENet(upscale=4).eval()
    lr = torch.rand(1, 1, 270, 480)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        onnx = Path(folder, 'srsenet_x4.onnx')
        export(net, 'onnx', onnx)
        ways: dict[str, Callable[[], object]] = {
            name: partial(run_to_the_end, make(copy.deepcopy(net)).to(DEVICE), lr.to(DEVICE))
            for name, make in MEASURED.items()
        }
        provider = f'{"CUDA" if CUDA else "CPU"}ExecutionProvider'
        if provider in onnxruntime.get_available_providers():
            ways['ONNX Runtime'] = with_onnxruntime(onnx, lr, threads, provider)
        else:
            console.print(f'This ONNX Runtime has no {provider}: pip install onnxruntime-gpu')
        if not CUDA:
            ways["OpenCV's dnn"] = with_opencv(onnx, lr, threads)
        seconds = interleaved_medians(ways, REPETITIONS, 'upscale')
    table = Table('', 'ms', 'ratio', title='480x270 to 1920x1080')
    plain = seconds['plain, fp32']
    for name, own in seconds.items():
        table.add_row(name, f'{own * 1000:.0f}', f'{plain / own:.2f}')
    console.print(table)

    table = Table('', 'MB', 'ratio', title='peak memory, 1000x1000 to 4000x4000')
    megabytes = {name: in_its_own_process(name) for name in MEASURED}
    for name, own in megabytes.items():
        table.add_row(name, f'{own:.0f}', f'{megabytes["plain, fp32"] / own:.1f}')
    console.print(table)


def run_to_the_end(net: nn.Module, lr: torch.Tensor) -> None:
    net(lr)
    if CUDA:
        torch.cuda.synchronize()


def in_its_own_process(name: str) -> float:
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as executor:
        return executor.submit(peak_memory, name).result()


def peak_memory(name: str) -> float:
    """Megabytes that one forward pass adds to a process that has made a small one, on a GPU to those in use there."""
    net = MEASURED[name](SrSENet(upscale=4).eval()).to(DEVICE)
    with torch.inference_mode():
        net(torch.rand(1, 1, 16, 16, device=DEVICE))
        before = torch.cuda.memory_allocated() if CUDA else peak_of_this_process()
        net(torch.rand(1, 1, 1000, 1000, device=DEVICE))
        after = torch.cuda.max_memory_allocated() if CUDA else peak_of_this_process()
    return float('nan') if before is None or after is None else (after - before) / 1e6


def with_onnxruntime(path: Path, lr: torch.Tensor, threads: int, provider: str) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')  # into the time of the next way
    session = onnxruntime.InferenceSession(path, options, providers=[provider])
    return lambda: session.run(None, {'lr': lr.numpy()})


def with_opencv(path: Path, lr: torch.Tensor, threads: int) -> Callable[[], object]:
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(str(path))

    def run() -> object:
        net.setInput(lr.numpy())
        return net.forward()

    return run


if __name__ == '__main__':
    main()

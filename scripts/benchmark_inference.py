"""Prints how long several ways take to upscale 480x270 to 1920x1080 by SrSENet x4, side by side in one run: medians of
interleaved repetitions, as ratios to the plain forward pass that basicsr/test.py makes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table

from srsenet_plugin import SrSENet
from srsenet_plugin.export import export
from srsenet_plugin.inference.stripwise import StripwiseSrSENet
from srsenet_plugin.models.precision import amp_dtype

REPETITIONS = 7


def main() -> None:
    console = Console()
    threads = torch.get_num_threads()
    bf16, reason = amp_dtype('bf16', 'cpu')
    console.print(f'cpu, {threads} threads; bf16 asked for, got {reason}')
    net = SrSENet(upscale=4).eval()
    lr = torch.rand(1, 1, 270, 480)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        onnx = Path(folder, 'srsenet_x4.onnx')
        export(net, 'onnx', onnx)
        in_fp32 = StripwiseSrSENet(net)
        in_bf16 = StripwiseSrSENet(net, torch.bfloat16, bf16 or torch.float32)
        seconds = interleaved_medians(
            {
                'plain, fp32': lambda: net(lr),
                'srsenet upscale, fp32': lambda: in_fp32(lr),
                f'srsenet upscale, bf16{"" if bf16 else " (features kept in bf16, computed in fp32)"}': lambda: in_bf16(
                    lr
                ),
                'ONNX Runtime': with_onnxruntime(onnx, lr, threads),
                "OpenCV's dnn": with_opencv(onnx, lr, threads),
            }
        )
    table = Table('', 'ms', 'ratio', title='480x270 to 1920x1080')
    plain = seconds['plain, fp32']
    for name, own in seconds.items():
        table.add_row(name, f'{own * 1000:.0f}', f'{plain / own:.2f}')
    console.print(table)


def with_onnxruntime(path: Path, lr: torch.Tensor, threads: int) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')  # into the time of the next way
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda: session.run(None, {'lr': lr.numpy()})


def with_opencv(path: Path, lr: torch.Tensor, threads: int) -> Callable[[], object]:
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(str(path))

    def run() -> object:
        net.setInput(lr.numpy())
        return net.forward()

    return run


def interleaved_medians(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each way. They take turns, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(REPETITIONS + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if repetition:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(own) for name, own in seconds.items()}


if __name__ == '__main__':
    main()

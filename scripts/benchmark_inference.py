"""Prints how several ways of running SrSENet compare, side by side in one run with the package's weights: 480x270 to
1920x1080 by x4, and 960x540 to 1920x1080 by x2.

The time is the median of interleaved repetitions. The memory is that which one pass adds to a process of its own that
has made a small one. PSNR is on Y, to the photograph that was shrunk. Where there is a GPU, all is measured on it.
Packages that are missing are named, and their ways left out; for all of them:
pip install onnx onnxruntime onnxscript openvino nncf
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import skimage
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import nn

from srsenet_plugin import SrSENet, load_pretrained
from srsenet_plugin.compare.cost import peak_of_this_process
from srsenet_plugin.data.colour import rgb_to_ycbcr
from srsenet_plugin.data.imresize import imresize
from srsenet_plugin.inference.quantised import Int8SrSENet, obstacle
from srsenet_plugin.inference.stripwise import StripwiseSrSENet
from srsenet_plugin.machine.devices import find_device
from srsenet_plugin.machine.precision import amp_dtype
from srsenet_plugin.machine.timing import interleaved_medians
from srsenet_plugin.weights import pretrained
from srsenet_plugin.weights.export import export
from srsenet_plugin.weights.ranges import Ranges, stored_ranges

HEIGHT, WIDTH = 1080, 1920
DEVICE = find_device('auto', ('cuda', 'cpu'))
CUDA = DEVICE.type == 'cuda'
THREADS = torch.get_num_threads()
PHOTOS = Path(skimage.__file__).parent / 'data'
MISSING = (ImportError, RuntimeError)
"""What ways raise that cannot be gone here: a package, a compiler or an operator is missing."""

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Maps Y, (1, 1, H, W) in [0, 1], to (1, 1, scale * H, scale * W)."""


def by_torch(wrap: Callable[[SrSENet], nn.Module], scale: int, folder: Path) -> Run:
    net = wrap(load_pretrained(scale)).to(DEVICE)

    @torch.inference_mode()
    def run(lr: NDArray[np.float32]) -> NDArray[np.float32]:
        return net(torch.from_numpy(lr).to(DEVICE)).float().cpu().numpy()

    return run


def in_bf16(net: SrSENet) -> nn.Module:
    return StripwiseSrSENet(net, torch.bfloat16, amp_dtype('bf16', DEVICE.type)[0] or torch.float32)


def in_int8(net: SrSENet) -> nn.Module:
    reason = obstacle(DEVICE.type)
    if reason:
        raise RuntimeError(reason)
    return Int8SrSENet(net, ranges_of(net))


def ranges_of(net: SrSENet) -> Ranges:
    ranges = stored_ranges(pretrained.weights_file(f'srsenet_x{net.upscale}'))
    if not ranges:
        raise RuntimeError('the weights have no ranges')
    return ranges


def compiled(net: SrSENet) -> nn.Module:
    return cast(nn.Module, torch.compile(net, dynamic=False))


def by_onnxruntime(precision: str, scale: int, folder: Path) -> Run:
    import onnxruntime

    provider = f'{"CUDA" if CUDA else "CPU"}ExecutionProvider'
    if provider not in onnxruntime.get_available_providers():
        raise RuntimeError(f'this ONNX Runtime has no {provider}: pip install onnxruntime-gpu')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')  # into the time of the next way
    session = onnxruntime.InferenceSession(onnx_file(scale, folder, precision), options, providers=[provider])
    return lambda lr: session.run(None, {'lr': lr})[0]


def by_openvino(precision: str, scale: int, folder: Path) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(onnx_file(scale, folder, 'int8' if precision == 'int8' else 'fp32'))
    if precision == 'nncf':
        import nncf

        names = ('astronaut.png', 'chelsea.png', 'rocket.jpg', 'motorcycle_left.png')
        images = [lr_image(name, scale, 288, 384)[0] for name in names if (PHOTOS / name).exists()]
        model = nncf.quantize(model, nncf.Dataset(images))
    options = {'INFERENCE_NUM_THREADS': THREADS, 'PERFORMANCE_HINT': 'LATENCY'}
    options['INFERENCE_PRECISION_HINT'] = 'f32' if precision == 'fp32' else 'bf16'  # beside int8: of the other layers
    compiled_model = core.compile_model(model, 'CPU', options)
    return lambda lr: compiled_model(lr)[0]


def by_opencv(scale: int, folder: Path) -> Run:
    cv2.setNumThreads(THREADS)
    net = cv2.dnn.readNetFromONNX(str(onnx_file(scale, folder)))

    def run(lr: NDArray[np.float32]) -> NDArray[np.float32]:
        net.setInput(lr)
        return net.forward()

    return run


PLAIN = 'plain, fp32'
WAYS: dict[str, Callable[[int, Path], Run]] = {
    PLAIN: partial(by_torch, lambda net: net),
    'torch.compile, fp32': partial(by_torch, compiled),
    'ONNX Runtime, fp32': partial(by_onnxruntime, 'fp32'),
    'srsenet upscale, fp32': partial(by_torch, StripwiseSrSENet),
    'srsenet upscale, bf16': partial(by_torch, in_bf16),
}
if CUDA:
    WAYS['srsenet upscale, fp16'] = partial(by_torch, lambda net: StripwiseSrSENet(net, torch.float16))
else:
    WAYS |= {
        'srsenet upscale, int8': partial(by_torch, in_int8),
        'OpenVINO, fp32': partial(by_openvino, 'fp32'),
        'OpenVINO, bf16': partial(by_openvino, 'bf16'),
        'OpenVINO, int8 by nncf': partial(by_openvino, 'nncf'),
        'OpenVINO, int8 by srsenet export': partial(by_openvino, 'int8'),
        'ONNX Runtime, int8 by srsenet export': partial(by_onnxruntime, 'int8'),
        "OpenCV's dnn, fp32": by_opencv,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repetitions', type=int, default=7)
    parser.add_argument('--scales', type=int, nargs='+', default=[4, 2])
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    console = Console()
    reason = amp_dtype('bf16', DEVICE.type)[1]
    device = torch.cuda.get_device_name() if CUDA else 'cpu'
    console.print(f'{device}, {THREADS} threads; torch {torch.__version__}; bf16 asked for, got {reason}')
    with tempfile.TemporaryDirectory() as folder:
        for scale in args.scales:
            console.print(compare(scale, args.repetitions, Path(folder), console))


def compare(scale: int, repetitions: int, folder: Path, console: Console) -> Table:
    """Measures all ways that can be gone here."""
    lr, hr = lr_image('coffee.png', scale, HEIGHT, WIDTH)
    runs: dict[str, Run] = {}
    psnrs: dict[str, float] = {}
    for name, make in WAYS.items():
        try:
            run = make(scale, folder)
            error = np.clip(run(lr)[0, 0] * 255, 0, 255).round() - hr * 255
        except MISSING as reason:
            console.print(f'left out: {name} ({str(reason).strip().partition(chr(10))[0]})')
            continue
        runs[name] = run
        psnrs[name] = float(10 * np.log10(255**2 / np.square(error[scale:-scale, scale:-scale]).mean()))
    seconds = interleaved_medians({name: partial(run, lr) for name, run in runs.items()}, repetitions, f'x{scale}')
    runs.clear()  # some hold gigabytes
    table = Table('', 'ms', 'ratio', 'MB', 'PSNR', title=f'{WIDTH // scale}x{HEIGHT // scale} to {WIDTH}x{HEIGHT}')
    for name, own in seconds.items():
        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as executor:
            memory = executor.submit(peak_memory, name, scale, folder).result()
        table.add_row(name, f'{own * 1000:.0f}', f'{seconds[PLAIN] / own:.2f}', f'{memory:.0f}', f'{psnrs[name]:.3f}')
    return table


def peak_memory(name: str, scale: int, folder: Path) -> float:
    """Megabytes that one pass adds to a process that has made a small one, on a GPU to those in use there."""
    warnings.simplefilter('ignore')
    run = WAYS[name](scale, folder)
    lr, _ = lr_image('coffee.png', scale, HEIGHT, WIDTH)
    run(np.ascontiguousarray(lr[..., :16, :16]))
    before = torch.cuda.memory_allocated() if CUDA else peak_of_this_process()
    run(lr)
    after = torch.cuda.max_memory_allocated() if CUDA else peak_of_this_process()
    return float('nan') if before is None or after is None else (after - before) / 1e6


def onnx_file(scale: int, folder: Path, precision: str = 'fp32') -> Path:
    path = folder / f'srsenet_x{scale}_{precision}.onnx'
    if not path.exists():
        net = load_pretrained(scale)
        export(net, 'onnx', path, precision=precision, ranges=ranges_of(net) if precision == 'int8' else None)
    return path


def lr_image(name: str, scale: int, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Y of one of scikit-image's photographs, mirrored until it is so large: shrunk, (1, 1, h, w), and as it is."""
    photo = cv2.cvtColor(cv2.imread(str(PHOTOS / name)), cv2.COLOR_BGR2RGB)
    below, right = (max(wanted - side, 0) for wanted, side in zip((height, width), photo.shape))
    photo = np.pad(photo, ((0, below), (0, right), (0, 0)), 'symmetric')[:height, :width]
    y, shrunk = (
        rgb_to_ycbcr(torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))) / 255)[0].numpy()
        for rgb in (photo, imresize(photo, 1 / scale))
    )
    return np.ascontiguousarray(shrunk[None, None]), y


if __name__ == '__main__':
    main()

"""What a network costs: parameters, layers, multiply-adds, activations, time and memory.

For an output of 1280x720, and for an RGB image of a square of LR pixels, such as the 256x256 of NTIRE's challenges.
"""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srsenet_plugin.archs.bicubic_arch import BicubicEnlarge
from srsenet_plugin.data.colour import rgb_to_ycbcr, ycbcr_to_rgb
from srsenet_plugin.machine.timing import interleaved_medians

OUTPUT_HEIGHT, OUTPUT_WIDTH = 720, 1280
ROUNDS = 3  # of timing, after one to warm up
SMALL_SIDE = 24  # of the images that multiply-adds are counted with, in pixels, at least


@dataclass(frozen=True)
class Complexity:
    """The costs that do not depend on the machine.

    Attributes:
        params: Parameters.
        layers: Convolutions and transposed convolutions, as Table I counts them: a recursive one once.
        macs: Multiply-adds, by mmengine's analysis, which counts operations of norms and pools besides.
        activations: Values that convolutions and matrix products put out, by mmengine's analysis.
    """

    params: int
    layers: int
    macs: int
    activations: int


@dataclass(frozen=True)
class SquareCost:
    """What an RGB image of ``side`` x ``side`` LR pixels costs, whatever the network's own channels are.

    Attributes:
        side: Height and width in LR pixels.
        macs: Multiply-adds, which NTIRE's reports call FLOPs.
        activations: As in :class:`Complexity`.
        latency: Median seconds; None if it was not timed.
    """

    side: int
    macs: int
    activations: int
    latency: float | None = None


class InColour(nn.Module):
    """A network for RGB images, made of one for Y and bicubic interpolation of CbCr.

    Args:
        net: The network for Y.
        scale: Its scale.
    """

    def __init__(self, net: nn.Module, scale: int) -> None:
        super().__init__()
        self.net = net
        self.enlarge = BicubicEnlarge(scale)
        self.window_size = getattr(net, 'window_size', 1)

    def forward(self, rgb: Tensor) -> Tensor:
        """Maps (N, 3, H, W) to (N, 3, scale * H, scale * W)."""
        ycbcr = rgb_to_ycbcr(rgb)
        return ycbcr_to_rgb(torch.cat([self.net(ycbcr[:, :1]), self.enlarge(ycbcr[:, 1:])], 1))


def lr_image(channels: int, scale: int, device: torch.device | None = None, side: int | None = None) -> Tensor:
    """The LR image for an output of at least 1280x720, or that of ``side``; shape (1, channels, H, W)."""
    generator = torch.Generator().manual_seed(0)
    size = (side, side) if side else (-(-OUTPUT_HEIGHT // scale), -(-OUTPUT_WIDTH // scale))
    return torch.rand(1, channels, *size, generator=generator).to(device)


def complexity(net: nn.Module, channels: int, scale: int, side: int | None = None) -> Complexity:
    """Counts by mmengine's analysis, which sends an image through the network: that of :func:`lr_image`.

    It keeps all that is computed on the way, which large networks have no memory for at 1280x720. So it is done with
    three small images. If their counts are a constant and so much for each pixel, as those of all convolutional
    networks are, that gives the count exactly; otherwise the large image is sent after all.
    """
    window = getattr(net, 'window_size', 1)
    height, width = (-(-length // window) * window for length in lr_image(channels, scale, side=side).shape[2:])
    small = -(-SMALL_SIDE // window) * window
    sizes = (small, small), (small, 2 * small), (2 * small, 2 * small)
    one, two, four = (_count(net, channels, *size) for size in sizes)
    if all(c - a == 3 * (b - a) for a, b, c in zip(one, two, four)):
        pixels = height * width - small**2
        macs, activations = (a + (b - a) * pixels // small**2 for a, b in zip(one, two))
    else:
        macs, activations = _count(net, channels, height, width)
    return Complexity(
        params=sum(parameter.numel() for parameter in net.parameters()),
        layers=sum(isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) for module in net.modules()),
        macs=macs,
        activations=activations,
    )


def _count(net: nn.Module, channels: int, height: int, width: int) -> tuple[int, int]:
    """Multiply-adds and activations for an LR image."""
    from mmengine.analysis import ActivationAnalyzer, FlopAnalyzer
    from mmengine.analysis.jit_handles import get_shape

    def of_matmul(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        # mmengine's own takes the size of the first factor for that of the product, which may be broadcast.
        return math.prod(get_shape(outputs[0])) * get_shape(inputs[0])[-1]

    inputs = (torch.rand(1, channels, height, width),)
    with _quiet():
        counts = []
        flops = FlopAnalyzer(net, inputs).set_op_handle('aten::matmul', of_matmul)
        for analyzer in (flops, ActivationAnalyzer(net, inputs)):
            analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings('none')
            counts.append(int(analyzer.total()))
    return counts[0], counts[1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of the tracer, on operators that it does not count, and of architectures."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(logging.NOTSET)


def latencies(
    nets: Mapping[str, tuple[nn.Module, int]], scale: int, device: torch.device, side: int | None = None
) -> tuple[dict[str, float], dict[str, str]]:
    """Median seconds for an output of 1280x720, or for the LR image of ``side``, in float32.

    Args:
        nets: Networks and their channels, by name.
        scale: Scale.
        device: Where to run them.
        side: As :func:`lr_image` takes it.

    Returns:
        Seconds by name; and what went wrong, by name.
    """
    imgs = {name: lr_image(channels, scale, device, side) for name, (_, channels) in nets.items()}
    problems: dict[str, str] = {}

    def run(name: str) -> None:
        if name in problems:
            return
        try:
            nets[name][0].to(device)(imgs[name])
            if device.type == 'cuda':
                torch.cuda.synchronize(device)
        except Exception as error:  # architectures are anybody's code
            problems[name] = f'{type(error).__name__}: {error}'.partition('\n')[0]

    with torch.no_grad(), _quiet():
        seconds = interleaved_medians(
            {name: partial(run, name) for name in nets}, ROUNDS, f'time x{scale}' + f' {side}x{side}' * bool(side)
        )
    return {name: median for name, median in seconds.items() if name not in problems}, problems


def peak_memory(
    options: Mapping[str, Any], channels: int, scale: int, device: torch.device, projects: Sequence[str] = ()
) -> float | None:
    """Bytes that an output of 1280x720 needs at its peak, besides the network, measured in a process of its own.

    On CUDA it is the memory that torch allocates, on processors the growth of the process; None outside Linux.

    Args:
        options: Of the network, as ``network_g`` of an option file takes them.
        channels: Channels of its images.
        scale: Scale.
        device: Where to run it.
        projects: Modules that the process imports first, because they register the architecture.

    Raises:
        ValueError: The process failed.
    """
    arguments = json.dumps(
        {
            'options': options,
            'channels': channels,
            'scale': scale,
            'device': str(device),
            'projects': list(projects),
        }
    )
    result = subprocess.run(
        [sys.executable, '-c', _start_like_this_process(), arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f'killed by signal {-result.returncode}: too little memory?']
        raise ValueError(f'memory: {lines[-1]}')
    return json.loads(result.stdout.splitlines()[-1])


def _start_like_this_process() -> str:
    """Code that searches for modules where this process does, and then runs :func:`main`.

    By itself Python searches the working folder first, and would run a ``torch.py`` that happens to lie there.
    """
    path = [entry for entry in sys.path if isinstance(entry, str)]
    return f'import sys; sys.path[:] = {path!a}; from {__name__} import main; main()'


def _measure_peak_memory(
    options: dict[str, Any], channels: int, scale: int, device: str, projects: list[str]
) -> float | None:
    from srsenet_plugin.compare.networks import Network, import_projects

    import_projects(projects)
    net = Network('', options, channels, None).build().to(device)
    img = lr_image(channels, scale, torch.device(device))
    if img.is_cuda:
        allocated = torch.cuda.memory_allocated(img.device)
        torch.cuda.reset_peak_memory_stats(img.device)
        with torch.no_grad():
            net(img)
        return torch.cuda.max_memory_allocated(img.device) - allocated
    with torch.no_grad():
        net(img[..., :16, :16])  # what the first run loads is not the image's
        before = peak_of_this_process()
        net(img)
        after = peak_of_this_process()
    return None if before is None or after is None else after - before


def peak_of_this_process() -> int | None:
    """Peak memory of this process so far in bytes; None where the system does not tell."""
    # getrusage would count what the parent process had in memory when it started this one.
    try:
        status = Path('/proc/self/status').read_text()
    except OSError:
        return None
    return int(status.partition('VmHWM:')[2].split()[0]) * 1024


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the peak memory that the JSON argument asks for."""
    import basicsr.archs  # noqa: F401

    logging.disable(logging.INFO)
    print(json.dumps(_measure_peak_memory(**json.loads((argv or sys.argv[1:])[0]))))

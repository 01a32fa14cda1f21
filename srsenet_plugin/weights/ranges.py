"""The ranges that a network's features lie in. Features in 8 bits are spread over them.

Those of the package's weights were measured by scripts/calibrate_int8.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srsenet_plugin.archs.srsenet_arch import SrSEBlock, SrSENet
from srsenet_plugin.weights import pretrained

Ranges = dict[str, tuple[float, float]]
"""The smallest and the largest value that a layer puts out before its activation, by the layer's name: ``conv_first``,
``body.0.conv1``, ``body.0.conv2``, ``body.0`` (a block has none) and so on, ``upconv``."""

FILE = pretrained.FOLDER / 'int8_ranges.json'
OUTSIDE = 1e-5
"""Share of an image's values that may lie below a range, and above it."""
MOST_VALUES = 2**20  # that are looked at, evenly spread over a layer's output
PATCHES, PATCH_SIZE = 4, 40


def stored_ranges(weights: Path) -> Ranges | None:
    """The ranges that were measured for a file of weights, if they were: those of the package's.

    Args:
        weights: The file. Its content counts, not its name.
    """
    checksum = pretrained.checksum_line(weights).split()[0]
    for entry in json.loads(FILE.read_text(encoding='utf-8')).values():
        if entry['sha256'] == checksum:
            return {layer: (low, high) for layer, (low, high) in entry['ranges'].items()}
    return None


def store_ranges(name: str, ranges: Ranges) -> None:
    """Stores the ranges of the package's weights of a name, in place of those that it had."""
    entries = json.loads(FILE.read_text(encoding='utf-8')) if FILE.exists() else {}
    checksum = pretrained.checksum_line(pretrained.FOLDER / f'{name}.pth').split()[0]
    rounded = {layer: [float(f'{limit:.4g}') for limit in limits] for layer, limits in ranges.items()}
    entries[name] = {'sha256': checksum, 'ranges': rounded}
    lines = ',\n'.join(f'{json.dumps(key)}: {json.dumps(entries[key])}' for key in sorted(entries))
    FILE.write_text(f'{{\n{lines}\n}}\n', encoding='utf-8')


def quantised_layers(net: SrSENet) -> Iterator[tuple[str, nn.Module]]:
    """The layers that :data:`Ranges` names, in the order in which they run."""
    yield 'conv_first', net.conv_first
    for number, block in enumerate(net.body):
        assert isinstance(block, SrSEBlock)
        yield f'body.{number}.conv1', block.conv1
        yield f'body.{number}.conv2', block.conv2
        yield f'body.{number}', block
    yield 'upconv', net.upconv


@torch.inference_mode()
def calibrate(net: SrSENet, images: Iterable[Tensor]) -> Ranges:
    """Measures ranges: the widest of all images, where each leaves out :data:`OUTSIDE` of its values at either end.

    Args:
        net: The network, in eval mode.
        images: LR images, each (N, num_in_ch, H, W) in [0, 1].
    """
    ranges: Ranges = {}

    def measure(name: str, module: nn.Module, inputs: object, output: Tensor) -> None:
        values: NDArray[Any] = output.numpy(force=True).ravel()
        values = values[:: -(-len(values) // MOST_VALUES)]
        outside = int(len(values) * OUTSIDE)
        places = [outside, len(values) - 1 - outside]
        limits = (*np.partition(values, places)[places], *ranges.get(name, ()))
        ranges[name] = float(min(limits)), float(max(limits))

    hooks = [layer.register_forward_hook(partial(measure, name)) for name, layer in quantised_layers(net)]
    try:
        for image in images:
            net(image)
    finally:
        for hook in hooks:
            hook.remove()
    return ranges


def patches(image: Tensor) -> Tensor:
    """Patches spread evenly over an image, (N, C, h, w), which show the ranges of the whole at a fixed price.

    Args:
        image: Shape (C, H, W).
    """
    height, width = (min(side, PATCH_SIZE) for side in image.shape[1:])
    tops, lefts = (
        torch.linspace(0, side - own, PATCHES).int().tolist() for side, own in zip(image.shape[1:], (height, width))
    )
    return torch.stack([image[:, top : top + height, left : left + width] for top in tops for left in lefts])

"""The ranges that a network's features lie in. Features in 8 bits are spread over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from srsenet_plugin.archs.srsenet_arch import SrSENet

Ranges = dict[str, tuple[float, float]]
"""The smallest and the largest value that a layer puts out before its activation, by the layer's name in the network:
``conv_first``, ``body.0.conv1``, ``body.0.conv2``, ``body.0`` (a block has no activation) and so on, ``upconv``."""

OUTSIDE = 1e-5
"""Share of an image's values that may lie below a range, and above it."""
PATCHES, PATCH_SIZE = 4, 40


def quantised_layers(net: SrSENet) -> Iterator[tuple[str, nn.Module]]:
    """The layers that :data:`Ranges` names, in the order in which they run."""
    yield 'conv_first', net.conv_first
    for number, block in enumerate(net.body):
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
    found: dict[str, list[tuple[float, float]]] = {}

    def measure(name: str, module: nn.Module, inputs: object, output: Tensor) -> None:
        values = output.numpy(force=True).ravel()
        outside = int(len(values) * OUTSIDE)
        places = outside, len(values) - 1 - outside
        low, high = np.partition(values, places)[list(places)]
        found.setdefault(name, []).append((float(low), float(high)))

    hooks = [layer.register_forward_hook(partial(measure, name)) for name, layer in quantised_layers(net)]
    try:
        for image in images:
            net(image)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (min(low for low, _ in own), max(high for _, high in own)) for name, own in found.items()}


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

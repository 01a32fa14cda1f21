"""Images for networks that cut them into windows, such as SwinIR and HAT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


def window_size(network_g: Mapping[str, Any], net: nn.Module) -> int:
    """The side of a network's windows in pixels; 1 if it has none.

    Args:
        network_g: Its options.
        net: The network, which knows its default.
    """
    size = network_g.get('window_size') or getattr(net, 'window_size', None)
    return size if isinstance(size, int) else 1


def to_whole_windows(img: Tensor, size: int) -> Tensor:
    """Continues images at the bottom and on the right by mirroring, up to a multiple of the windows' side.

    Args:
        img: Shape (N, C, H, W).
        size: The side of the windows.

    Returns:
        Shape (N, C, H', W'), with multiples of ``size``. Where H' - H < H and W' - W < W, it is what BasicSR's
        ``SwinIRModel`` gives the network.
    """
    height, width = (-(-side // size) * size for side in img.shape[-2:])
    while img.shape[-2:] != (height, width):
        # More than an image but one row cannot be mirrored at once.
        below, right = (min(goal - side, side - 1) for goal, side in zip((height, width), img.shape[-2:]))
        if below + right == 0:  # a single row or column
            return F.pad(img, (0, width - img.shape[-1], 0, height - img.shape[-2]), 'replicate')
        img = F.pad(img, (0, right, 0, below), 'reflect')
    return img

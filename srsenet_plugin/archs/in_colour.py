"""Colour and grey images by SrSENet. A network for Y gets their Y, and bicubic interpolation enlarges CbCr.

So the paper does it (IV).
"""

from __future__ import annotations

import torch
from torch import Tensor

from srsenet_plugin.archs.bicubic_arch import BicubicEnlarge
from srsenet_plugin.archs.srsenet_arch import SrSENet
from srsenet_plugin.data.colour import grey_to_y, rgb_to_ycbcr, y_to_grey, ycbcr_to_rgb


def upscale_in_colour(enlarge: BicubicEnlarge, net: SrSENet, image: Tensor) -> Tensor:
    """Upscales RGB or grey images by a network for Y or RGB, in its precision. Colours are converted in float32.

    Args:
        enlarge: Bicubic interpolation to the scale of the network, on the same device.
        net: The network.
        image: Shape (N, 3, H, W) or (N, 1, H, W), range [0, 1].

    Returns:
        scale times the height and width, with the same channels and dtype, clipped to [0, 1].
    """
    pixels = image.float()
    is_grey = image.shape[1] == 1
    if net.conv_first.in_channels == 3:
        sr = in_own_precision(net, pixels.expand(-1, 3, -1, -1))
        sr = sr.mean(1, keepdim=True) if is_grey else sr
    elif is_grey:
        sr = y_to_grey(in_own_precision(net, grey_to_y(pixels)))
    else:
        ycbcr = rgb_to_ycbcr(pixels)
        cbcr = enlarge(ycbcr[:, 1:])
        sr = ycbcr_to_rgb(torch.cat([in_own_precision(net, ycbcr[:, :1]), cbcr], 1))
    return sr.clamp(0, 1).to(image.dtype)


def in_own_precision(net: SrSENet, image: Tensor) -> Tensor:
    """Runs a network in the precision of its weights, on images in float32, to images in float32."""
    return net(image.to(net.conv_first.weight.dtype)).float()

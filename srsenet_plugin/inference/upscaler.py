"""Upscales images: Y by SrSENet and CbCr by bicubic interpolation, as the paper does (IV)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srsenet_plugin.archs.bicubic_arch import BicubicEnlarge
from srsenet_plugin.archs.srsenet_arch import SrSENet
from srsenet_plugin.data.colour import grey_to_y, rgb_to_ycbcr, y_to_grey, ycbcr_to_rgb
from srsenet_plugin.inference.quantised import Int8SrSENet, obstacle
from srsenet_plugin.inference.stripwise import StripwiseSrSENet, enlarged, strips, with_halo
from srsenet_plugin.inference.transparency import without_hidden_colour
from srsenet_plugin.machine.devices import find_device
from srsenet_plugin.machine.precision import DTYPES, amp_dtype
from srsenet_plugin.weights import pretrained
from srsenet_plugin.weights.ranges import Ranges, calibrate, patches, stored_ranges

PRECISIONS = ('auto', 'fp32', 'bf16', 'fp16', 'int8')
LARGEST_VALUE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535, np.dtype(np.float32): 1, np.dtype(np.float64): 1}
# LR pixels around a tile that it is upscaled with.
TILE_OVERLAP = 16
# HR pixels that are converted to RGB at once.
STRIP_PIXELS = 2**22
# LR rows above and below a row that the bicubic kernel reaches.
BICUBIC_REACH = 2


class Upscaler:
    """Upscales images by a trained SrSENet, of any size.

    Args:
        scale: Scale. Default: 4.
        weights: A file of SrSENet's weights, or a name of the package's. Default: the package's for the scale.
        device: A device of torch's, or ``auto`` for the first that is there of cuda, xpu, mps and cpu. Default: auto.
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8`` for the features. ``auto`` is int8 for the package's
            weights where the processor has units for it, else bf16 where the device computes in it, else fp32; as
            is ``int8``, with a warning, where it cannot be. bf16 and fp16 save memory everywhere. Default: auto.
        self_ensemble: Take the mean over the image's eight flips and turns: a little better, eight times the
            work. Default: False.
        tile: Upscale tiles of so many pixels a side, for less memory still. The result differs, because
            the means of the SE layers are those of tiles then. Default: the whole image.

    Raises:
        ValueError: There are no such weights, or they are damaged or another network's; no such device or precision.
        OSError: The weights cannot be read.
    """

    def __init__(
        self,
        scale: int = 4,
        weights: str | os.PathLike[str] | None = None,
        device: str = 'auto',
        precision: str = 'auto',
        self_ensemble: bool = False,
        tile: int | None = None,
    ) -> None:
        file = pretrained.weights_file(f'srsenet_x{scale}') if weights is None else pretrained.find_file(weights)
        net = pretrained.load_network(file)
        if net.upscale != scale:
            raise ValueError(f'{weights} is for x{net.upscale}, not x{scale}.')
        self.scale = scale
        self.device = find_device(device)
        self._in_colour = net.conv_first.in_channels == 3
        self._network_for = _networks(net, stored_ranges(file), precision, self.device)
        self._bicubic = BicubicEnlarge(scale).float().to(self.device)  # Apple's has no float64
        self._self_ensemble = self_ensemble
        self._tile = tile

    def __call__(self, image: NDArray) -> NDArray:
        """Upscales an image.

        Args:
            image: Shape (H, W) or (H, W, 1), grey; (H, W, 2), grey and alpha; (H, W, 3), RGB; (H, W, 4), RGB
                and alpha; uint8, uint16, or float in [0, 1].

        Returns:
            scale times the height and width, with the same channels and dtype.

        Raises:
            ValueError: The image has another shape, dtype or range, or no pixels.
            MemoryError: The device's memory does not suffice.
        """
        _check(image)
        height, width = image.shape[:2]
        channels = image.reshape(height, width, -1)
        out = np.empty((self.scale * height, self.scale * width, channels.shape[2]), image.dtype)
        has_alpha = channels.shape[2] in (2, 4)
        try:
            with torch.inference_mode():
                if not has_alpha:
                    self._upscale_colour(channels, out)
                elif np.ptp(channels[..., -1]) == 0:
                    self._upscale_colour(channels[..., :-1], out[..., :-1])
                    out[..., -1] = channels[0, 0, -1]
                else:
                    self._upscale_colour(without_hidden_colour(channels)[..., :-1], out[..., :-1])
                    self._upscale_colour(channels[..., -1:], out[..., -1:])
        except torch.cuda.OutOfMemoryError:  # its name in every torch
            raise MemoryError(f'{self.device} has not enough memory for {width}x{height} pixels') from None
        except RuntimeError as error:
            # torch's own words for the processor, and for Apple's and Intel's devices
            if not any(words in str(error) for words in ('not enough memory', 'out of memory')):
                raise
            raise MemoryError(f'not enough memory for {width}x{height} pixels') from None
        return out.reshape(*out.shape[:2], *image.shape[2:])

    def _upscale_colour(self, image: NDArray, out: NDArray) -> None:
        """Upscales grey (H, W, 1) or RGB (H, W, 3) into ``out``."""
        white = LARGEST_VALUE[image.dtype]

        def planes(rows: slice) -> Tensor:
            return torch.from_numpy(image[rows].astype(np.float32) / white).permute(2, 0, 1).to(self.device)

        if self._in_colour:
            sr = self._upscale(planes(slice(None)).expand(3, -1, -1))
            for _, rows in self._strips(image):
                _write(out, rows, sr[:, rows].mean(0, keepdim=True) if image.shape[2] == 1 else sr[:, rows], white)
            return
        if image.shape[2] == 1:
            sr = self._upscale(grey_to_y(planes(slice(None))))
            for _, rows in self._strips(image):
                _write(out, rows, y_to_grey(sr[:, rows]), white)
            return
        # CbCr are converted once more, strip by strip: beside the network, they would be 8 bytes for each LR pixel.
        y = torch.empty((1, *image.shape[:2]), device=self.device)
        for lr_rows, _ in self._strips(image):
            y[:, lr_rows] = rgb_to_ycbcr(planes(lr_rows))[:1]
        sr = self._upscale(y)
        for lr_rows, rows in self._strips(image):
            window, inside = with_halo(lr_rows, len(image), BICUBIC_REACH, self.scale)
            cbcr = self._bicubic(rgb_to_ycbcr(planes(window))[None, 1:])[0, :, inside]
            _write(out, rows, ycbcr_to_rgb(torch.cat([sr[:, rows], cbcr])), white)

    def _strips(self, image: NDArray) -> Iterator[tuple[slice, slice]]:
        """Rows of an image (H, W, C), and the HR rows that they become."""
        count = max(STRIP_PIXELS // (image.shape[1] * self.scale**2), 1)
        for rows in strips(len(image), count):
            yield rows, enlarged(rows, self.scale)

    def _upscale(self, img: Tensor) -> Tensor:
        """Upscales planes (C, H, W) in [0, 1] by the network."""
        net = self._network_for(img)
        if not self._self_ensemble:
            return self._upscale_once(net, img)
        total: Tensor | None = None
        for turns in range(4):
            for flip in (False, True):
                turned = torch.rot90(img.flip(2) if flip else img, turns, (1, 2))
                sr = torch.rot90(self._upscale_once(net, turned.contiguous()), -turns, (1, 2))
                sr = sr.flip(2) if flip else sr
                total = sr.contiguous() if total is None else total.add_(sr)
        assert total is not None
        return total.div_(8)

    def _upscale_once(self, net: nn.Module, img: Tensor) -> Tensor:
        if self._tile is None:
            return net(img[None])[0]
        height, width = img.shape[1:]
        out = torch.empty((len(img), self.scale * height, self.scale * width), device=self.device)
        for top in range(0, height, self._tile):
            for left in range(0, width, self._tile):
                bottom, right = min(top + self._tile, height), min(left + self._tile, width)
                above, before = min(top, TILE_OVERLAP), min(left, TILE_OVERLAP)
                window = img[:, top - above : bottom + TILE_OVERLAP, left - before : right + TILE_OVERLAP]
                sr = net(window[None])[0]
                top_hr, left_hr, bottom_hr, right_hr = (self.scale * place for place in (top, left, bottom, right))
                out[:, top_hr:bottom_hr, left_hr:right_hr] = sr[
                    :,
                    above * self.scale : above * self.scale + bottom_hr - top_hr,
                    before * self.scale : before * self.scale + right_hr - left_hr,
                ]
        return out


def upscale(image: NDArray, scale: int = 4, **options: Any) -> NDArray:
    """Upscales an image by the trained SrSENet of the package.

    Args:
        image: Shape (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4): grey or RGB, with or without alpha;
            uint8, uint16, or float in [0, 1].
        scale: One that the package has weights for. Default: 4.
        **options: Of :class:`Upscaler`.

    Returns:
        scale times the height and width, with the same channels and dtype.

    Raises:
        ValueError: As :class:`Upscaler` does.
        OSError: The weights cannot be read.
    """
    weights = options.get('weights')
    stat = None if weights is None else os.stat(pretrained.find_file(weights))
    identity = stat and (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return _upscaler(identity, scale, **options)(image)


@lru_cache(maxsize=1)
def _upscaler(identity: tuple[int, ...] | None, scale: int, **options: Any) -> Upscaler:
    """One for many images, until the weights become another file."""
    return Upscaler(scale, **options)


def _networks(
    net: SrSENet, ranges: Ranges | None, precision: str, device: torch.device
) -> Callable[[Tensor], nn.Module]:
    """A function that gives the network for planes (C, H, W): always the same, unless their ranges are needed first."""
    if precision not in PRECISIONS:
        raise ValueError(f'precision is one of {", ".join(PRECISIONS)}, not {precision}.')
    fixed: nn.Module
    if precision == 'int8' or (precision == 'auto' and ranges):
        reason = obstacle(device.type)
        if reason is None:
            if ranges is None:
                return lambda img: Int8SrSENet(net, calibrate(net, [patches(img)]))
            fixed = Int8SrSENet(net, ranges)
            return lambda img: fixed
        if precision == 'int8':
            warnings.warn(f'There is no int8 here: {reason}. The precision auto takes its place.', stacklevel=3)
            precision = 'auto'
    fixed = StripwiseSrSENet(net, *_dtypes(precision, device.type)).to(device)
    return lambda img: fixed


def _dtypes(precision: str, device_type: str) -> tuple[torch.dtype, torch.dtype]:
    """In which features are kept, and computed, for a precision that is not int8."""
    if precision == 'fp32':
        return torch.float32, torch.float32
    compute_dtype = amp_dtype('bf16' if precision == 'auto' else precision, device_type)[0] or torch.float32
    return compute_dtype if precision == 'auto' else DTYPES[precision] or torch.float32, compute_dtype


def _check(image: NDArray) -> None:
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4)):
        raise ValueError(f'an image has shape (H, W) or (H, W, C) with up to four channels, not {image.shape}')
    if image.dtype not in LARGEST_VALUE:
        raise ValueError(f'an image is of uint8, uint16, float32 or float64, not {image.dtype}')
    if not image.size:
        raise ValueError('the image has no pixels')
    # A value that is no number fails the comparison, too.
    if LARGEST_VALUE[image.dtype] == 1 and not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(f'floating-point images are in [0, 1]; this one has {image.min()} to {image.max()}')


def _write(out: NDArray, rows: slice, sr: Tensor, white: int) -> None:
    """Writes planes (C, h, W) in [0, 1] to rows of an image (H, W, C)."""
    values = sr.clamp_(0, 1).mul_(white).permute(1, 2, 0)
    out[rows] = (values.round_() if white > 1 else values).cpu().numpy()

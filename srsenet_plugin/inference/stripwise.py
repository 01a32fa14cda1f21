"""SrSENet's forward pass in strips of rows: the same image, faster and in a fraction of the memory.

The SE layers take means over the whole image, so the network cannot be run on parts of it one after the other. All else
is convolutions. So each block runs strip by strip, keeps the strips of the branch that its gates will scale, and adds
up the means meanwhile. After the blocks come 64 channels at the size of the SR image, which strips never hold in full:
a transposed convolution is, for each phase of the HR grid, a 2x2 convolution of the LR features, and the last
convolution adds up nine numbers for each HR pixel.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srsenet_plugin.archs.srsenet_arch import SrSEBlock, SrSENet

# A strip's features should fit into a processor's cache, in the blocks those of LR pixels and in the tail of HR pixels;
# but the rows around a strip, which the blocks compute twice, should be few beside its own.
LR_PIXELS = 2**15
HR_PIXELS = 2**18
MIN_ROWS = 32
PART_ROWS = 4  # that are summed at once

# Halves of the HR pixels that a LR pixel becomes: upper or lower, left or right.
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


class ImageByImage(nn.Module, ABC):
    """Upscales the images of a batch one after the other, so that memory does not grow with their number."""

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """Upscales LR images.

        Args:
            x: Shape (N, num_in_ch, H, W), range [0, 1].

        Returns:
            Shape (N, num_out_ch, upscale * H, upscale * W), float32.
        """
        images = [self._upscale(img) for img in x.float().split(1)]
        return images[0] if len(images) == 1 else torch.cat(images)

    @abstractmethod
    def _upscale(self, x: Tensor) -> Tensor:
        """Upscales one image, (1, num_in_ch, H, W)."""


class StripwiseSrSENet(ImageByImage):
    """A trained SrSENet that runs in strips. Its result is that of the network within rounding.

    Args:
        net: The network. Its weights are copied.
        dtype: In which features are kept; the image itself stays in float32. Default: torch.float32.
        compute_dtype: In which convolutions compute. Default: ``dtype``.
        rows: LR rows of a strip, in the blocks and in the tail. Default: a fast number.
    """

    last_weight: Tensor

    def __init__(
        self,
        net: SrSENet,
        dtype: torch.dtype = torch.float32,
        compute_dtype: torch.dtype | None = None,
        rows: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.upscale = net.upscale
        self.dtype = dtype
        self.compute_dtype = compute_dtype = compute_dtype or dtype
        self.rows = rows
        self.num_out_ch = net.conv_last.out_channels
        self.upconv_image = copy.deepcopy(net.upconv_image).float()
        # Takes the image as it is: bf16 would round 8-bit values by up to half a step.
        self.conv_first = copy.deepcopy(net.conv_first).float().to(memory_format=torch.channels_last)
        slope = net.act.negative_slope
        self.act = nn.LeakyReLU(slope, inplace=True)
        self.body = nn.ModuleList(_Block(block, slope) for block in copy.deepcopy(net.body))
        self.phases = nn.ModuleList(_Conv(phase, slope) for phase in _phases(net.upconv))
        for modules in (self.body, self.phases):
            modules.to(compute_dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # (ky, kx, out, in): each HR pixel's share in the output pixels around it
        shares = net.conv_last.weight.detach().permute(2, 3, 0, 1).flatten(0, 2)
        self.register_buffer('last_weight', shares.to(compute_dtype).contiguous())
        self.last_bias = copy.deepcopy(net.conv_last.bias)
        self.requires_grad_(False)

    def _upscale(self, x: Tensor) -> Tensor:
        return self._tail(x, self._features(x))

    def _features(self, x: Tensor) -> Tensor:
        """The features after all blocks, (1, num_feat, H, W)."""
        height, width = x.shape[2:]
        num_feat = self.conv_first.out_channels
        feat = torch.empty(
            (1, num_feat, height, width), dtype=self.dtype, device=x.device, memory_format=torch.channels_last
        )
        body_rows = self.rows[0] if self.rows else max(LR_PIXELS // width, MIN_ROWS)
        for rows in strips(height, body_rows):
            window, inside = with_halo(rows, height, 1)
            feat[:, :, rows] = self.act(self.conv_first(x[:, :, window]))[:, :, inside]
        branch: deque[tuple[slice, Tensor]] = deque()
        gate = feat.new_empty(0)
        for block in self.body:
            assert isinstance(block, _Block)
            before, branch = branch, deque()
            sums = torch.zeros((1, num_feat), device=x.device)
            for rows in strips(height, body_rows):
                _add(feat, before, gate, rows.stop + 2)
                strip = block.convs(feat, rows)
                sums += _sums(strip)
                branch.append((rows, strip.to(self.dtype)))
            gate = block.se.gate((sums / (height * width)).to(self.compute_dtype)).to(self.dtype)
        _add(feat, branch, gate, height)
        return feat

    def _tail(self, x: Tensor, feat: Tensor) -> Tensor:
        """Enlarges image and features, (1, num_out_ch, upscale * H, upscale * W)."""
        height, width = x.shape[2:]
        out = torch.zeros((1, self.num_out_ch, self.upscale * height, self.upscale * width), device=x.device)
        tail_rows = self.rows[1] if self.rows else max(HR_PIXELS // (width * self.upscale**2), 1)
        for rows in strips(height, tail_rows):
            window, inside = with_halo(rows, height, 1, self.upscale)
            out[:, :, enlarged(rows, self.upscale)] += self.upconv_image(x[:, :, window])[:, :, inside]
            self._add_shares(out[0], self._shares(feat, rows), rows.start * self.upscale)
        return out if self.last_bias is None else out.add_(self.last_bias[:, None, None])

    def _shares(self, feat: Tensor, rows: slice) -> Tensor:
        """The nine shares of the HR pixels in a strip of LR rows, (3, 3, num_out_ch, HR rows, HR columns)."""
        height, width = feat.shape[2:]
        window, _ = with_halo(rows, height, 1)
        edges = (1, 1, int(window.start == rows.start), int(window.stop == rows.stop))
        padded = F.pad(feat[:, :, window].to(self.compute_dtype), edges)
        count = rows.stop - rows.start
        shares = padded.new_empty((len(self.last_weight), count, self.upscale, width, self.upscale))
        for (lower, right), phase in zip(CORNERS, self.phases):
            # One column more than the phase has: whole rows need not be copied.
            hr = phase(padded[:, :, lower : lower + count + 1]).permute(0, 2, 3, 1)
            own = self.last_weight @ hr.reshape(-1, feat.shape[1]).t()
            row, column = _places(lower, self.upscale), _places(right, self.upscale)
            own = own.view(-1, count, width + 1, len(row), len(column))[:, :, right : right + width]
            shares[:, :, row.start : row.stop, :, column.start : column.stop] = own.transpose(2, 3)
        return shares.view(3, 3, self.num_out_ch, count * self.upscale, width * self.upscale)

    @staticmethod
    def _add_shares(out: Tensor, shares: Tensor, start: int) -> None:
        """Adds the shares of HR rows from ``start`` to the output, each to the pixel that it belongs to."""
        height, width = out.shape[1:]
        for ky in range(3):
            for kx in range(3):
                share = shares[ky, kx]
                top, left = start + 1 - ky, 1 - kx
                first, last = max(top, 0), min(top + share.shape[1], height)
                begin, end = max(left, 0), min(left + share.shape[2], width)
                out[:, first:last, begin:end] += share[:, first - top : last - top, begin - left : end - left]


def _add(feat: Tensor, branch: deque[tuple[slice, Tensor]], gate: Tensor, stop: int) -> None:
    """Adds strips of a branch to the features, as far as they begin before a row.

    The next block does so as it goes on, and its strips take the memory. Freed all at once, it would go back to the
    system, which clears the pages anew.
    """
    while branch and branch[0][0].start < stop:
        rows, strip = branch.popleft()
        feat[:, :, rows].addcmul_(strip, gate)


def _sums(strip: Tensor) -> Tensor:
    """Sums over all pixels, in float32, (1, num_feat)."""
    # On processors torch copies bfloat16 into float32 first. The copy should fit into a core's own cache.
    parts = strip.split(PART_ROWS, 2) if strip.device.type == 'cpu' else [strip]
    return torch.stack([part.sum((2, 3), dtype=torch.float32) for part in parts]).sum(0)


class _Conv(nn.Module):
    """A convolution and its LeakyReLU, in one pass where torch has an operator for both."""

    def __init__(self, conv: nn.Conv2d, slope: float) -> None:
        super().__init__()
        self.weight, self.bias, self.slope = conv.weight, conv.bias, slope

    def forward(self, x: Tensor, padding: tuple[int, int] = (0, 0)) -> Tensor:
        if _has_fused_operator(x.device.type, x.dtype):
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.weight, self.bias, padding, [1, 1], [1, 1], 1, 'leaky_relu', [self.slope], ''
            )
        return F.leaky_relu_(F.conv2d(x, self.weight, self.bias, padding=padding), self.slope)


class _Block(nn.Module):
    """The layers of a SrSEBlock, with 3x3 convolutions of rows."""

    def __init__(self, block: nn.Module, slope: float) -> None:
        super().__init__()
        assert isinstance(block, SrSEBlock)
        self.conv1, self.conv2, self.se = _Conv(block.conv1, slope), _Conv(block.conv2, slope), block.se

    def convs(self, feat: Tensor, rows: slice) -> Tensor:
        """Rows of the branch that the gates scale, (1, num_feat, rows, W), from features of all rows."""
        height = feat.shape[2]
        seen, inner = (with_halo(rows, height, halo)[0] for halo in (2, 1))
        out = feat[:, :, seen].to(self.conv1.weight.dtype)
        for conv, given, wanted in ((self.conv1, seen, inner), (self.conv2, inner, rows)):
            at_edge = given.start == 0 or given.stop == height  # beyond which there are zeros
            out = conv(out, (int(at_edge), 1))
            if at_edge:
                start = wanted.start - given.start
                out = out[:, :, start : start + wanted.stop - wanted.start]
        return out


@cache
def _has_fused_operator(device_type: str, dtype: torch.dtype) -> bool:
    if device_type != 'cpu' or dtype not in (torch.float32, torch.bfloat16):
        return False
    conv = nn.Conv2d(1, 1, 1).to(dtype).requires_grad_(False)
    arguments = conv.weight, conv.bias, [0, 0], [1, 1], [1, 1], 1, 'leaky_relu', [0.0], ''
    try:
        torch.ops.mkldnn._convolution_pointwise(torch.ones((1, 1, 1, 1), dtype=dtype), *arguments)
    except (AttributeError, RuntimeError, TypeError):  # no such operator here, or one with other arguments
        return False
    return True


def _phases(upconv: nn.ConvTranspose2d) -> Iterator[nn.Conv2d]:
    """Splits a transposed convolution, of kernel at most twice the stride, into 2x2 convolutions of the LR image.

    LR row i adds to HR row o by row o + padding - stride * i of the kernel. The upper half of the HR rows that a LR row
    becomes sees that row and the one above it, the lower half that row and the one below; columns likewise. Each
    quarter is a convolution, whose output channels are those of its HR pixels in turn.
    """
    scale, padding, size = upconv.stride[0], int(upconv.padding[0]), upconv.kernel_size[0]
    weight = F.pad(upconv.weight.detach(), (0, 2 * scale - size, 0, 2 * scale - size))  # zero outside of the kernel
    for lower, right in CORNERS:
        rows, columns = (
            torch.tensor([[place + padding - scale * offset for offset in (half - 1, half)] for place in places])
            for half, places in ((half, _places(half, scale)) for half in (lower, right))
        )
        # (in, out, row places, row taps, column places, column taps)
        kernel = weight[:, :, rows][..., columns].permute(2, 4, 1, 0, 3, 5).flatten(0, 2)
        phase = nn.Conv2d(upconv.in_channels, len(kernel), 2, bias=upconv.bias is not None)
        phase.weight.data = kernel
        if upconv.bias is not None:
            phase.bias.data = upconv.bias.detach().repeat(len(rows) * len(columns))  # type: ignore[union-attr]
        yield phase


def _places(half: int, scale: int) -> range:
    """The places of a half among the HR rows, or columns, that a LR one becomes. The upper half has the odd one."""
    middle = (scale + 1) // 2
    return range(middle, scale) if half else range(middle)


def strips(height: int, count: int) -> Iterator[slice]:
    for start in range(0, height, count):
        yield slice(start, min(start + count, height))


def with_halo(rows: slice, height: int, halo: int, scale: int = 1) -> tuple[slice, slice]:
    """Rows with those around them, as far as there are any; and where the rows are in them, enlarged by the scale."""
    window = slice(max(rows.start - halo, 0), min(rows.stop + halo, height))
    start = (rows.start - window.start) * scale
    return window, slice(start, start + (rows.stop - rows.start) * scale)


def enlarged(rows: slice, scale: int) -> slice:
    return slice(rows.start * scale, rows.stop * scale)

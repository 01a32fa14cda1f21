"""SrSENet's forward pass in strips of rows: the same image, faster and in a fraction of the memory.

The SE layers take means over the whole image, so the network cannot be run on parts of it one after the other. All else
is convolutions. So each block runs strip by strip over two buffers of features at LR size, its input and what its gates
will scale, and adds up the means meanwhile. What follows the blocks is 64 channels at the size of the SR image, which
strips never hold in full: a transposed convolution is, for each phase of the HR grid, a 2x2 convolution of the LR
features, and the last convolution adds up nine numbers for each HR pixel.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srsenet_plugin.archs.srsenet_arch import SrSENet

# A strip's features should fit into a processor's cache, in the blocks those of LR pixels and in the tail of HR pixels;
# but the rows around a strip, which the blocks compute twice, should be few beside its own.
LR_PIXELS = 2**16
HR_PIXELS = 2**18
MIN_ROWS = 32


class Phases(NamedTuple):
    """HR pixels whose transposed convolution sees the same 2x2 LR pixels.

    Attributes:
        rows (range): Their places in the ``upscale`` rows that a LR pixel becomes.
        columns (range): The same in its columns.
        kernel (Tensor): Kernel of a convolution, (phases * num_feat, num_feat, 2, 2).
    """

    rows: range
    columns: range
    kernel: Tensor


class StripwiseSrSENet(nn.Module):
    """A trained SrSENet that runs in strips. Its result is that of the network within rounding.

    Args:
        net (SrSENet): The network. Its weights are copied.
        dtype (torch.dtype): In which features are kept; the image itself stays in float32. Default: torch.float32.
        compute_dtype (torch.dtype, optional): In which convolutions compute. Default: ``dtype``.
        rows (tuple[int, int], optional): LR rows of a strip, in the blocks and in the tail. Default: what is fast.
    """

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
        self.conv_first, self.body, self.act = (
            copy.deepcopy(module).to(compute_dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for module in (net.conv_first, net.body, net.act)
        )
        self.phases = list(_phases(net.upconv, compute_dtype))
        self.phase_bias = _bias(net.upconv, compute_dtype)
        # (ky, kx, out, in): each HR pixel's share in the output pixels around it
        self.last_weight = (
            net.conv_last.weight.detach().permute(2, 3, 0, 1).flatten(0, 2).to(compute_dtype).contiguous()
        )
        self.last_bias = _bias(net.conv_last, torch.float32)
        self.requires_grad_(False)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """Upscales LR images.

        Args:
            x (Tensor): Shape (N, num_in_ch, H, W), range [0, 1].

        Returns:
            Tensor: Shape (N, num_out_ch, upscale * H, upscale * W), float32.
        """
        return torch.cat([self._tail(img, self._features(img)) for img in x.float().split(1)])

    def _features(self, x: Tensor) -> Tensor:
        """The features after all blocks, (1, num_feat, H, W)."""
        height, width = x.shape[2:]
        num_feat = self.conv_first.out_channels
        feat, branch = (
            torch.empty(
                (1, num_feat, height, width), dtype=self.dtype, device=x.device, memory_format=torch.channels_last
            )
            for _ in range(2)
        )
        body_rows = self.rows[0] if self.rows else max(LR_PIXELS // width, MIN_ROWS)
        for rows in _strips(height, body_rows):
            window, inside = _with_halo(rows, height, 1)
            feat[:, :, rows] = self.act(self.conv_first(x[:, :, window].to(self.compute_dtype)))[:, :, inside]
        for block in self.body:
            sums = torch.zeros((1, num_feat), device=x.device)
            for rows in _strips(height, body_rows):
                window, inside = _with_halo(rows, height, 2)
                strip = block.convs(feat[:, :, window].to(self.compute_dtype))[:, :, inside]
                sums += strip.sum((2, 3), dtype=torch.float32)
                branch[:, :, rows] = strip
            means = sums / (height * width)
            feat.addcmul_(branch, block.se.gate(means.to(self.compute_dtype)).to(self.dtype))
        return feat

    def _tail(self, x: Tensor, feat: Tensor) -> Tensor:
        """Enlarges image and features, (1, num_out_ch, upscale * H, upscale * W)."""
        height, width = x.shape[2:]
        out = torch.zeros((1, self.num_out_ch, self.upscale * height, self.upscale * width), device=x.device)
        tail_rows = self.rows[1] if self.rows else max(HR_PIXELS // (width * self.upscale**2), 1)
        for rows in _strips(height, tail_rows):
            window, inside = _with_halo(rows, height, 1, self.upscale)
            out[:, :, _enlarged(rows, self.upscale)] += self.upconv_image(x[:, :, window])[:, :, inside]
            self._add_shares(out[0], self._shares(feat, rows), rows.start * self.upscale)
        return out if self.last_bias is None else out.add_(self.last_bias[:, None, None])

    def _shares(self, feat: Tensor, rows: slice) -> Tensor:
        """The nine shares of the HR pixels in a strip of LR rows, (3, 3, num_out_ch, HR rows, HR columns)."""
        height, width = feat.shape[2:]
        window, _ = _with_halo(rows, height, 1)
        edges = (1, 1, int(window.start == rows.start), int(window.stop == rows.stop))
        padded = F.pad(feat[:, :, window].to(self.compute_dtype), edges)
        count = rows.stop - rows.start
        shares = padded.new_empty((len(self.last_weight), count, self.upscale, width, self.upscale))
        for top, left, phases in zip((0, 0, 1, 1), (0, 1, 0, 1), self.phases):
            num_rows, num_columns = len(phases.rows), len(phases.columns)
            bias = None if self.phase_bias is None else self.phase_bias.repeat(num_rows * num_columns)
            seen = padded[:, :, top : top + count + 1, left : left + width + 1]
            hr = self.act(F.conv2d(seen, phases.kernel, bias)).permute(0, 2, 3, 1)
            own = self.last_weight @ hr.reshape(-1, feat.shape[1]).t()
            shares[:, :, phases.rows.start : phases.rows.stop, :, phases.columns.start : phases.columns.stop] = (
                own.view(-1, count, width, num_rows, num_columns).transpose(2, 3)
            )
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


def _bias(conv: nn.Conv2d | nn.ConvTranspose2d, dtype: torch.dtype) -> Tensor | None:
    return None if conv.bias is None else conv.bias.detach().to(dtype)


def _phases(upconv: nn.ConvTranspose2d, dtype: torch.dtype) -> Iterator[Phases]:
    """Splits a transposed convolution, of kernel at most twice the stride, into 2x2 convolutions of the LR image.

    LR row i adds to HR row o by row o + padding - stride * i of the kernel. The upper half of the HR rows that a LR row
    becomes sees that row and the one above it, the lower half that row and the one below.
    """
    scale, padding, size = upconv.stride[0], int(upconv.padding[0]), upconv.kernel_size[0]
    weight = upconv.weight.detach()
    weight = F.pad(weight, (0, 2 * scale - size, 0, 2 * scale - size))  # zero outside of the kernel
    halves = (range((scale + 1) // 2), range((scale + 1) // 2, scale))
    taps = [
        torch.tensor([[phase + padding - scale * offset for offset in (half - 1, half)] for phase in halves[half]])
        for half in range(2)
    ]
    for row_taps, rows in zip(taps, halves):
        for column_taps, columns in zip(taps, halves):
            # (in, out, row phases, row taps, column phases, column taps)
            kernel = weight[:, :, row_taps][..., column_taps]
            kernel = kernel.permute(2, 4, 1, 0, 3, 5).flatten(0, 2)
            yield Phases(rows, columns, kernel.to(dtype, memory_format=torch.channels_last))


def _strips(height: int, count: int) -> Iterator[slice]:
    for start in range(0, height, count):
        yield slice(start, min(start + count, height))


def _with_halo(rows: slice, height: int, halo: int, scale: int = 1) -> tuple[slice, slice]:
    """Rows with those around them, as far as there are any; and where the rows are in them, enlarged by the scale."""
    window = slice(max(rows.start - halo, 0), min(rows.stop + halo, height))
    start = (rows.start - window.start) * scale
    return window, slice(start, start + (rows.stop - rows.start) * scale)


def _enlarged(rows: slice, scale: int) -> slice:
    return slice(rows.start * scale, rows.stop * scale)

"""SrSENet's forward pass in 8-bit integers, in strips of rows.

Layers take and give codes: uint8, of which one stands for zero. Convolutions multiply them with int8 weights, add up in
int32, and put out codes again. Each value is computed from the same codes in the same way wherever a strip begins, so
the image does not depend on the strips. The first convolution and the image branch compute in float32, and the features
to which blocks add are kept in bfloat16: as codes, they would lose two thirds of all that is lost.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Barrier, Lock
from typing import Any

import cv2
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srsenet_plugin.archs.srsenet_arch import SrSEBlock, SrSENet
from srsenet_plugin.inference.stripwise import LR_PIXELS, MIN_ROWS, ImageByImage, enlarged, strips, with_halo
from srsenet_plugin.machine.precision import computes_in_int8
from srsenet_plugin.weights.codes import LARGEST_WEIGHT, Codes, activated, cell_weight, quantise
from srsenet_plugin.weights.ranges import Ranges, calibrate

# The tail's features of a strip should fit into a core's own cache.
HR_PIXELS = 2**17
LEAST_ROWS = 8  # of a strip that is one thread's share


@cache
def obstacle(device_type: str) -> str | None:
    """Why a device does not compute in int8 here, in words; or nothing."""
    if device_type != 'cpu':
        return f'int8 is for processors, not for {device_type}'
    if not computes_in_int8(device_type):
        return 'this processor has no units for int8 (VNNI of x86)'
    with torch.random.fork_rng(devices=[]):  # the numbers that a user draws do not depend on it
        net, image = SrSENet(num_feat=16, num_block=1).eval(), torch.rand(1, 1, 4, 4)
    try:
        Int8SrSENet(net, calibrate(net, [image]))(image)
    except (AttributeError, RuntimeError, TypeError):  # no such operator, or one with other arguments
        return f'torch {torch.__version__} lacks operators in int8: pip install -U torch'
    return None


class Int8SrSENet(ImageByImage):
    """A trained SrSENet that computes in 8-bit integers on processors.

    Args:
        net: The network. Its weights are copied.
        ranges: Of its features.
        rows: LR rows of a strip, in the blocks and in the tail. Default: a fast number.
    """

    def __init__(self, net: SrSENet, ranges: Ranges, rows: tuple[int, int] | None = None) -> None:
        super().__init__()
        net = copy.deepcopy(net).float().requires_grad_(False)
        self.upscale = net.upscale
        self.rows = rows
        self.act, self.conv_first, self.upconv_image = net.act, net.conv_first, net.upconv_image
        self.conv_first.to(memory_format=torch.channels_last)
        slope = net.act.negative_slope
        codes = Codes.over(*activated(ranges['conv_first'], slope))
        self.blocks = []
        for number, block in enumerate(net.body):
            assert isinstance(block, SrSEBlock)
            inner, branch = (Codes.over(*ranges[f'body.{number}.{layer}']) for layer in ('conv1', 'conv2'))
            self.blocks.append(_Block(block, codes, inner, branch, slope))
            codes = Codes.over(*ranges[f'body.{number}'])
        self.tail = _Tail(net, codes, Codes.over(*activated(ranges['upconv'], slope)))

    def _upscale(self, x: Tensor) -> Tensor:
        with _workers() as each:
            return self._enlarge(x, self._features(x, each), each)

    def _features(self, x: Tensor, each: _Each) -> Tensor:
        """The features after all blocks, (H, W, num_feat)."""
        height, width = x.shape[2:]
        feat, branch = (
            torch.empty((height, width, self.conv_first.out_channels), dtype=dtype)
            for dtype in (torch.bfloat16, torch.uint8)
        )
        usual_count = max(LR_PIXELS // width, MIN_ROWS)
        count = self.rows[0] if self.rows else _divided(usual_count, height)

        def first(rows: slice) -> None:
            window, inside = with_halo(rows, height, 1)
            feat[rows] = self.act(self.conv_first(x[:, :, window])).permute(0, 2, 3, 1)[0, inside]

        # The last bit of sums in float32 depends on the strip's size, which may not depend on the number of threads.
        each(first, strips(height, usual_count))
        for block in self.blocks:

            def convs(rows: slice, block: _Block = block) -> Tensor:
                window, inside = with_halo(rows, height, 2)
                return block.convs(feat[window], inside, branch[rows])

            # The sum of a strip fits into 32 bits, that of an image may not.
            gates = block.gates(torch.stack(each(convs, strips(height, count))).sum(0), height * width)

            def add(rows: slice, block: _Block = block, gates: Tensor = gates) -> None:
                block.add(feat[rows], branch[rows], gates)

            each(add, strips(height, count))
        return feat

    def _enlarge(self, x: Tensor, feat: Tensor, each: _Each) -> Tensor:
        """Enlarges image and features, (1, num_out_ch, upscale * H, upscale * W)."""
        height, width = x.shape[2:]
        scale, tail = self.upscale, self.tail
        usual_count = max(HR_PIXELS // (width * scale**2), 1)
        count = self.rows[1] if self.rows else _divided(usual_count, height)
        out = torch.zeros((1, tail.num_out_ch, scale * height, scale * width))
        lock = Lock()

        def add(rows: slice) -> None:
            first, sums = tail.sums(feat, rows)
            with lock:  # neighbours add to the same rows
                out[0, :, first : first + sums.shape[1]] += sums

        def finish(rows: slice) -> None:
            window, inside = with_halo(rows, height, 1, scale)
            own = out[:, :, enlarged(rows, scale)]
            own.mul_(tail.out_scales).add_(tail.out_bias).add_(self.upconv_image(x[:, :, window])[:, :, inside])

        each(add, strips(height + 1, count))
        each(finish, strips(height, usual_count))  # it sums in float32, as the first convolution does
        return out


def _divided(count: int, height: int) -> int:
    """Rows of a strip: fewer than ``count`` where threads would have none, but not many times those around it."""
    return min(count, max(math.ceil(height / torch.get_num_threads()), LEAST_ROWS))


_Each = Callable[[Callable[[slice], Any], Iterable[slice]], list[Any]]


@contextmanager
def _workers() -> Iterator[_Each]:
    """Calls a function with each of several strips, on as many threads as torch has here, and returns the results.

    Each thread computes a strip by itself. So they wait for each other less often than torch's own threads, which share
    each operator, and compute at the same time where an operator has one thread.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield lambda function, strips: list(map(function, strips))
        return
    ready = Barrier(threads + 1)

    def start() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # a thread takes, at its first call, the number that was set last
        ready.wait()

    with ThreadPoolExecutor(threads, initializer=start) as executor:
        try:
            for _ in range(threads):
                executor.submit(int)
            ready.wait()
        except RuntimeError:  # there may be no more threads
            ready.abort()
            raise
        torch.set_num_threads(threads)  # which threads to come will have: they take the number that was set last

        def each(function: Callable[[slice], Any], strips: Iterable[slice]) -> list[Any]:
            return list(executor.map(torch.inference_mode()(function), strips))

        yield each


class _Block:
    """The layers of a SrSEBlock. ``before`` are the codes of the features that it adds to."""

    def __init__(self, block: SrSEBlock, before: Codes, inner: Codes, branch: Codes, slope: float) -> None:
        self.se = block.se
        self.conv1 = _Conv(block.conv1, before, inner, slope)
        self.conv2 = _Conv(block.conv2, self.conv1.after, branch, slope)
        self.before, self.branch = before, self.conv2.after
        num_feat = block.conv1.in_channels
        self.identity = torch.ops.onednn.qlinear_prepack(LARGEST_WEIGHT * torch.eye(num_feat, dtype=torch.int8), None)
        self.zeros = torch.zeros(num_feat, dtype=torch.int32)

    def convs(self, feat: Tensor, rows: slice, branch: Tensor) -> Tensor:
        """Computes rows of the branch that the gates scale from features, (H, W, num_feat), and their codes' sums."""
        inner = self.conv1(self.before.of(feat))
        self.conv1.activate(inner, inner)
        self.conv2.activate(self.conv2(inner)[rows], branch)
        return torch.from_numpy(cv2.reduce(branch.flatten(0, 1).numpy(), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0])

    def gates(self, sums: Tensor, pixels: int) -> Tensor:
        """The gates of the branch whose codes have these sums."""
        means = (sums.double() / pixels - self.branch.zero) * self.branch.scale
        return self.se.gate(means.float()[None]).flatten()

    def add(self, feat: Tensor, branch: Tensor, gates: Tensor) -> None:
        """Adds the branch, scaled by the gates, to the features: one matrix product, whose weights' scales they are."""
        torch.ops.onednn.qlinear_pointwise.binary(
            branch.flatten(0, 1), *self.branch, self.identity, gates / LARGEST_WEIGHT, self.zeros, feat.flatten(0, 1),
            None, 1.0, 0, torch.bfloat16, 1.0, 0, 'sum', 1.0, 'none', [], '',
        )  # fmt: skip


class _Conv:
    """A 3x3 convolution and its LeakyReLU."""

    def __init__(self, conv: nn.Conv2d, before: Codes, linear: Codes, slope: float) -> None:
        self.before, self.linear = before, linear
        self.after, self.table = linear.activated(slope)
        weight, self.scales = quantise(conv.weight)
        self.weight = torch.ops.onednn.qconv_prepack(weight, self.scales, *before, [1, 1], [1, 1], [1, 1], 1, None)
        self.zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.bias = conv.bias

    def __call__(self, x: Tensor) -> Tensor:
        """Maps (H, W, num_feat) to the same shape, without the LeakyReLU."""
        return torch.ops.onednn.qconv2d_pointwise(
            x.permute(2, 0, 1)[None], *self.before, self.weight, self.scales, self.zeros, self.bias,
            [1, 1], [1, 1], [1, 1], 1, *self.linear, torch.uint8, 'none', [], '',
        )[0].permute(1, 2, 0)  # fmt: skip

    def activate(self, x: Tensor, out: Tensor) -> None:
        """LeakyReLU, by a table, which is many times faster than torch's own ways. ``out`` may be the input."""
        cv2.LUT(x.flatten(1).numpy(), self.table, out.flatten(1).numpy())


class _Tail:
    """The transposed convolution, its LeakyReLU and the last convolution, as two matrix products.

    The kernel of the transposed convolution is at most twice its stride. So four LR pixels, those around a corner,
    decide on a cell of upscale x upscale HR pixels, whose middle is the corner; and those add to upscale + 2 pixels of
    the SR image in each direction.
    """

    def __init__(self, net: SrSENet, before: Codes, hr: Codes) -> None:
        self.scale, self.slope = net.upscale, net.act.negative_slope
        self.before, self.hr = before, hr
        self.num_out_ch = net.conv_last.out_channels
        weight, self.scales = quantise(cell_weight(net.upconv))
        self.weight = torch.ops.onednn.qlinear_prepack(weight, None)
        self.bias = None if net.upconv.bias is None else net.upconv.bias.repeat(self.scale**2)
        last_weight, last_scales = quantise(net.conv_last.weight)
        shares = _last_weight(last_weight, self.scale)
        self.last_weight, self.ones = torch.ops.onednn.qlinear_prepack(shares, None), torch.ones(len(shares))
        self.zeros, self.last_zeros = (torch.zeros(len(own), dtype=torch.int32) for own in (weight, shares))
        self.out_scales = (last_scales * hr.scale)[:, None, None]
        self.out_bias = torch.zeros(1) if net.conv_last.bias is None else net.conv_last.bias[:, None, None]

    def sums(self, feat: Tensor, rows: slice) -> tuple[int, Tensor]:
        """The sums, in whole numbers, that cells of some rows add to an image, and the first row that they add to.

        There is one row of cells more than in the LR image.
        """
        scale = self.scale
        height, width, _ = feat.shape
        around = self._around_corners(feat, rows)
        count, columns = around.shape[:2]
        cells = torch.ops.onednn.qlinear_pointwise(
            around.flatten(2).flatten(0, 1), *self.before, self.weight, self.scales, self.zeros, self.bias,
            *self.hr, torch.uint8, 'leaky_relu', [self.slope], '',
        )  # fmt: skip
        self._clear_outside(cells.view(count, columns, scale, scale, -1), rows, height)
        shares = torch.ops.onednn.qlinear_pointwise(
            cells, 1.0, self.hr.zero, self.last_weight, self.ones, self.last_zeros, None,
            1.0, 0, torch.float32, 'none', [], '',
        )  # fmt: skip
        size = (count * scale + 2, columns * scale + 2)
        sums = F.fold(shares.t()[None], size, scale + 2, stride=scale)[0]
        top, left = rows.start * scale - scale // 2 - 1, scale // 2 + 1
        first, last = max(top, 0), min(top + size[0], height * scale)
        return first, sums[:, first - top : last - top, left : left + width * scale]

    def _around_corners(self, feat: Tensor, rows: slice) -> Tensor:
        """Codes of the four LR pixels around each corner in some rows of corners, (rows, W + 1, 2, 2, num_feat)."""
        height, width, num_feat = feat.shape
        count = rows.stop - rows.start
        around = torch.full((count, width + 1, 2, 2, num_feat), self.before.zero, dtype=torch.uint8)
        # LR row i lies below the corners of row i, and above those of row i + 1.
        seen = slice(max(rows.start - 1, 0), min(rows.stop, height))
        codes = self.before.of(feat[seen])
        for below in range(2):
            first, last = max(seen.start, rows.start - 1 + below), min(seen.stop, rows.stop - 1 + below)
            own = around[first + 1 - below - rows.start : last + 1 - below - rows.start, :, below]
            own[:, 1:, 0] = own[:, :-1, 1] = codes[first - seen.start : last - seen.start]
        return around

    def _clear_outside(self, cells: Tensor, rows: slice, height: int) -> None:
        """Sets HR pixels outside of the image to zero, as the last convolution's padding does."""
        half = self.scale // 2
        cells[:, 0, :, :half] = cells[:, -1, :, half:] = self.hr.zero
        if rows.start == 0:
            cells[0, :, :half] = self.hr.zero
        if rows.stop == height + 1:
            cells[-1, :, half:] = self.hr.zero


def _last_weight(weight: Tensor, scale: int) -> Tensor:
    """The weight that maps a cell to the pixels around it, (out * (scale + 2)^2, rows * columns * in)."""
    num_out, num_in = weight.shape[:2]
    shares = weight.new_zeros((num_out, scale + 2, scale + 2, scale, scale, num_in))
    for row in range(scale):
        for column in range(scale):
            # A pixel adds to the one above it by the kernel's last row.
            shares[:, row : row + 3, column : column + 3, row, column] = weight.flip(2, 3).permute(0, 2, 3, 1)
    return shares.flatten(3).flatten(0, 2)

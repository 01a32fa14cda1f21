"""Which program has made LR images is seen on their pixels: on Set5 and Set14, and on images that MATLAB made."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from srsenet_plugin.data.resizers import RESIZERS, Likeness, likenesses

# The same values for most images. At 3 each kernel of OpenCV's lies on one pixel, and so does torch's. BasicSR's port
# computes as MATLAB does with doubles; at 2 and 4 sums lie on halves, which its float32 moves.
SAME = [{'MATLAB with doubles', "BasicSR's port"}, {'OpenCV', 'torch'}]


@cache
def hr_images(folder: Path, scale: int) -> list[NDArray[np.uint8]]:
    images = [np.asarray(Image.open(path).convert('RGB')) for path in sorted(folder.glob('*.png'))]
    cropped = [img[: img.shape[0] // scale * scale, : img.shape[1] // scale * scale] for img in images]
    return [np.ascontiguousarray(img) for img in cropped]


def bit_for_bit(found: list[Likeness]) -> set[str]:
    assert [likeness.equal for likeness in found] == sorted((likeness.equal for likeness in found), reverse=True)
    return {likeness.resizer for likeness in found if likeness.equal == 1}


@pytest.mark.parametrize('scale', [2, 3, 4, 8])
@pytest.mark.parametrize('benchmark', ['Set5', 'Set14'])
def test_all_makers_are_told_apart(shared_datasets: Path, benchmark: str, scale: int) -> None:
    images = hr_images(shared_datasets / benchmark / 'HR', scale)[:5]  # the others of Set14 cost time alone
    for maker, resize in RESIZERS.items():
        found = bit_for_bit(likenesses([(img, resize(img, scale)) for img in images], scale))
        expected = {maker}
        if scale != 2:
            expected |= next((same for same in SAME if maker in same), set())
        assert {maker} <= found <= expected


@pytest.mark.parametrize(('scale', 'maker'), [(2, 'MATLAB'), (3, 'MATLAB'), (4, 'MATLAB'), (8, 'MATLAB with doubles')])
def test_lr_images_that_matlab_made(shared_datasets: Path, scale: int, maker: str) -> None:
    folder = shared_datasets / f'Set5/LR_bicubic_matlab/X{scale}'
    theirs = [np.asarray(Image.open(path)) for path in sorted(folder.glob('*.png'))]
    found = likenesses(list(zip(hr_images(shared_datasets / 'Set5/HR', scale), theirs)), scale)
    assert found[0].resizer == maker
    assert bit_for_bit(found) <= {maker, *(SAME[0] if scale == 8 else ())}


def test_clamped_edges_of_a_ramp() -> None:
    """Weights of MATLAB's kernel at 1/2 by hand: 8 taps, edge pixels repeated or mirrored, rounded after each pass."""
    x = np.arange(-3.5, 4) / 2
    near, far = 1.5 * abs(x) ** 3 - 2.5 * x**2 + 1, -0.5 * abs(x) ** 3 + 2.5 * x**2 - 4 * abs(x) + 2
    weights = np.where(abs(x) <= 1, near, far) / 2
    row = np.array([0, 40, 90, 250, 10, 60, 20, 80], np.uint8)
    img = np.repeat(row[None], 8, 0)
    for maker, taps in (('MATLAB', [2, 1, 0, 0, 1, 2, 3, 4]), ('MATLAB with clamped edges', [0, 0, 0, 0, 1, 2, 3, 4])):
        assert RESIZERS[maker](img, 2)[0, 0] == np.floor(weights @ row[taps] + 0.5)

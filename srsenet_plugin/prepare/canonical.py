"""Knows the images of Set5, Set14, B100 and Urban100 by their pixels: variants are why most figures differ.

``canonical.json`` holds, for each image, the digests of its pixels and of its crops to multiples of the usual scales.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

MULTIPLES = (1, 2, 3, 4, 8, 12)


def describe_variant(benchmark: str, img: NDArray[np.uint8]) -> str | None:
    """How an image differs from those that a benchmark has; None if it is one of them, or they are not known.

    Args:
        benchmark: BasicSR's name, such as ``Set14``.
        img: Shape (H, W) or (H, W, 3), RGB.
    """
    known = _known_digests().get(benchmark)
    if known is None:
        return None
    multiple = known.get(pixel_digest(img))
    if multiple == 1:
        return 'is grey: some papers take its values as Y, others convert it as RGB' if img.ndim == 2 else None
    if multiple:
        return f'is cropped to a multiple of {multiple}'
    height, width = img.shape[:2]
    if any(pixel_digest(img[: height // m * m, : width // m * m]) in known for m in MULTIPLES):
        return 'has more rows or columns than the usual image'
    return 'is not the usual image: another version, size or crop, or compressed with loss'


def find_benchmark(imgs: Iterable[NDArray[np.uint8]]) -> str | None:
    """BasicSR's name of the benchmark that most of some images are of; None if none is of any.

    Args:
        imgs: Shape (H, W) or (H, W, 3), RGB.
    """
    known = _known_digests()
    digests = {pixel_digest(img) for img in imgs}
    found = max(known, key=lambda benchmark: len(digests & known[benchmark].keys()))
    return found if digests & known[found].keys() else None


def pixel_digest(img: NDArray[np.uint8]) -> str:
    """Digest of the size and the pixels as RGB, in which a grey image equals one of three equal channels."""
    rgb = np.ascontiguousarray(np.broadcast_to(img[..., None], (*img.shape, 3)) if img.ndim == 2 else img)
    return hashlib.sha256(f'{rgb.shape}'.encode() + rgb.tobytes()).hexdigest()[:16]


@cache
def _known_digests() -> dict[str, dict[str, int]]:
    """By benchmark and digest the multiple of a crop, 1 for a whole image."""
    text = resources.files('srsenet_plugin.prepare').joinpath('canonical.json').read_text(encoding='utf-8')
    return {
        benchmark: {digest: int(multiple) for multiple, digests in crops.items() for digest in digests}
        for benchmark, crops in json.loads(text).items()
    }

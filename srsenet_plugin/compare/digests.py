"""Digests that tell whether rows of two comparisons have the same weights and the same images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from srsenet_plugin.compare.quality import Benchmark, read_bgr


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Changes with names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        digest.update(f'{name} {weight.dtype} {tuple(weight.shape)}'.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def images_digest(files: Mapping[str, Path]) -> str:
    """Changes with names and values of images, not with how their files hold them.

    Versions of libpng and of its compression write one image in different ways.

    Args:
        files: Files by names of images.
    """
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        try:
            img = read_bgr(path)
            content = f'{name} {img.shape}'.encode() + img.tobytes()
        except ValueError:  # damaged: another image than any other
            content = name.encode() + path.read_bytes()
        digest.update(content)
    return digest.hexdigest()


def benchmark_digests(benchmark: Benchmark) -> dict[str, str]:
    """Digests of the HR and of the LR images, as ``Set5 HR`` and ``Set5 LR``."""
    return {
        f'{benchmark.name} {kind}': images_digest({name: files[i] for name, files in benchmark.pairs.items()})
        for i, kind in enumerate(('HR', 'LR'))
    }

"""Which draw of a training a sample is, so that its crop and augmentation can follow from that alone."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from typing import Any

import torch


class Draw(int):
    """Index of a sample in its dataset, which also says which draw of the training it is.

    Attributes:
        key (tuple[int, int, int]): Seed of the run, epoch, and position in the epoch over all ranks.
    """

    key: tuple[int, int, int]

    def __new__(cls, index: int, key: tuple[int, int, int]) -> Draw:
        draw = super().__new__(cls, index)
        draw.key = key
        return draw

    def __getnewargs__(self) -> tuple[int, tuple[int, int, int]]:  # type: ignore[override]
        return int(self), self.key


@functools.cache
def apply() -> None:
    """Makes BasicSR's ``EnlargedSampler`` yield draws, which are its indices to any other dataset."""
    from basicsr.data.data_sampler import EnlargedSampler

    stock_iter = EnlargedSampler.__iter__

    @functools.wraps(stock_iter)
    def iterate_draws(self: Any) -> Iterator[Draw]:
        seed = torch.initial_seed() - self.rank  # BasicSR seeds each rank with manual_seed + rank
        for i, index in enumerate(stock_iter(self)):
            yield Draw(index, (seed, self.epoch, i * self.num_replicas + self.rank))

    EnlargedSampler.__iter__ = iterate_draws


def random_of(index: int) -> Any:
    """What to draw a sample's crop and augmentation from: a generator that follows from the draw alone.

    For a plain index it is the module ``random``, which BasicSR's transforms use.
    """
    if not isinstance(index, Draw):
        return random
    seed, epoch, position = index.key
    return random.Random(seed << 64 | epoch << 32 | position)

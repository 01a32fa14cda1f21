"""Which draw of a training a sample is, so that its crop and augmentation can follow from that alone."""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable
from typing import Any


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


class Position:
    """How far the training of this process has come in its epoch.

    Attributes:
        epoch (int): The epoch.
        samples (int): Samples of it that were trained on, over all ranks. Who trains counts them.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.samples = 0
        self._sampler: Callable[[], Any] = lambda: None

    def follow(self, sampler: Any) -> None:
        """Makes this the position of a new training, whose sampler has just been made."""
        self._sampler = weakref.ref(sampler)
        sampler.resumed = (0, 0)

    def start(self, sampler: Any) -> None:
        """Begins an epoch."""
        self.epoch, self.samples = sampler.epoch, skipped_samples(sampler)

    def resume(self, epoch: int, samples: int) -> None:
        """Goes on within an epoch: the sampler leaves out its first samples, which were trained on before."""
        self.epoch, self.samples = epoch, samples
        sampler = self._sampler()
        if sampler is not None:
            sampler.resumed = (epoch, samples)


position = Position()


def skipped_samples(sampler: Any) -> int:
    """How many samples of its epoch a sampler leaves out, over all ranks."""
    epoch, samples = sampler.resumed
    return samples if epoch == sampler.epoch else 0


def random_of(index: int) -> Any:
    """What to draw a sample's crop and augmentation from: a generator that follows from the draw alone.

    For a plain index it is the module ``random``, which BasicSR's transforms use.
    """
    if not isinstance(index, Draw):
        return random
    seed, epoch, place = index.key
    return random.Random(seed << 64 | epoch << 32 | place)

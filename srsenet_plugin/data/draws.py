"""Which draw of a training a sample is, so that its crop and augmentation can follow from that alone."""

from __future__ import annotations

import random
from typing import Any, ClassVar


class Draw(int):
    """Index of a sample in its dataset, which also says which draw of the training it is.

    Attributes:
        key: Seed of the run, epoch, and position in the epoch over all ranks.
    """

    key: tuple[int, int, int]

    def __new__(cls, index: int, key: tuple[int, int, int]) -> Draw:
        draw = super().__new__(cls, index)
        draw.key = key
        return draw

    def __getnewargs__(self) -> tuple[int, tuple[int, int, int]]:  # type: ignore[override]
        return int(self), self.key


class Position:
    """How far a training has come in its epoch. The sampler has it; the model counts.

    Attributes:
        latest: Of the sampler made last, where a model that is built finds it: BasicSR does not introduce them.
        epoch: The epoch.
        samples: Samples of it that were trained on, over all ranks. A sampler that begins the epoch leaves them out.
    """

    latest: ClassVar[Position]

    def __init__(self) -> None:
        self.epoch = 0
        self.samples = 0

    def begin(self, epoch: int) -> None:
        """Begins an epoch, unless the training goes on within it."""
        if epoch != self.epoch:
            self.resume(epoch, 0)

    def resume(self, epoch: int, samples: int) -> None:
        """Goes on within an epoch, after some of its samples."""
        self.epoch, self.samples = epoch, samples


Position.latest = Position()


def random_of(index: int) -> Any:
    """What to draw a sample's crop and augmentation from: a generator that follows from the draw alone.

    For a plain index it is the module ``random``, which BasicSR's transforms use.
    """
    if not isinstance(index, Draw):
        return random
    seed, epoch, place = index.key
    return random.Random(seed << 64 | epoch << 32 | place)

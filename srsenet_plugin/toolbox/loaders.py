"""What is changed in BasicSR's data loading: the sampler's indices, and the start of the workers."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any

import torch

from srsenet_plugin.data.draws import Draw, Position


def yield_draws() -> tuple[bool, str]:
    """Makes BasicSR's ``EnlargedSampler`` yield draws, which are its indices to any other dataset."""
    from basicsr.data.data_sampler import EnlargedSampler

    stock_init, stock_iter = EnlargedSampler.__init__, EnlargedSampler.__iter__
    stock_set_epoch = EnlargedSampler.set_epoch

    @functools.wraps(stock_init)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        stock_init(self, *args, **kwargs)
        self.position = Position.latest = Position()

    @functools.wraps(stock_iter)
    def iterate_draws(self: Any) -> Iterator[Draw]:
        seed = torch.initial_seed() - self.rank  # BasicSR seeds each rank with manual_seed + rank
        skipped = self.position.samples if self.position.epoch == self.epoch else 0
        for i, index in enumerate(stock_iter(self)):
            place = i * self.num_replicas + self.rank
            if place >= skipped:
                yield Draw(index, (seed, self.epoch, place))

    @functools.wraps(stock_set_epoch)
    def set_epoch(self: Any, epoch: int) -> None:
        stock_set_epoch(self, epoch)
        self.position.begin(epoch)

    EnlargedSampler.__init__ = init
    EnlargedSampler.__iter__ = iterate_draws
    EnlargedSampler.set_epoch = set_epoch
    return True, 'the sampler says which draw of the training an index is'


def shield_workers() -> tuple[bool, str]:
    """Keeps signals that go to the group of a training, from torchrun or a terminal, from BasicSR's loader workers: the
    death of one would end the training at once. They still end with their parent."""
    from basicsr import data

    stock = data.worker_init_fn

    @functools.wraps(stock)
    def leave_group_and_initialize(*args: Any, **kwargs: Any) -> None:
        if hasattr(os, 'setpgid'):
            os.setpgid(0, 0)
        stock(*args, **kwargs)

    data.worker_init_fn = leave_group_and_initialize
    return True, 'loader workers leave the group of the training'

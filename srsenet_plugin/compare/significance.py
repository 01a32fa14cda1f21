"""Whether two methods differ in PSNR: the means of paired differences, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import combinations
from math import isfinite, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 10_000
LEVEL = 0.95
REFERENCE = 'SrSENet'
"""The method that others are compared with, if it has figures; otherwise it is the first that has."""

Figures = Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]
"""PSNR and SSIM by method, benchmark and image."""


class Difference(NamedTuple):
    """The mean difference of PSNR between two methods, on the images of a benchmark that both have.

    Attributes:
        first: A method.
        second: Another.
        benchmark: Such as ``Set5``.
        images: Number of images.
        mean: Mean PSNR of the first less that of the second, in dB.
        low: Lower end of the 95 % interval in dB; None for one image, which says nothing of others.
        high: Upper end.
    """

    first: str
    second: str
    benchmark: str
    images: int
    mean: float
    low: float | None
    high: float | None

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def __str__(self) -> str:
        interval = 'one image' if self.low is None else f'{self.low:+.2f}, {self.high:+.2f}'
        verdict = 'distinguishable' if self.distinguishable else 'not distinguishable'
        return f'{self.first} - {self.second} on {self.benchmark}: {self.mean:+.2f} dB [{interval}]: {verdict}'


def all_pairs(figures: Figures, benchmarks: Iterable[str]) -> list[Difference]:
    """The differences between all methods, by benchmark, each pair once."""
    return _differences(list(combinations(figures, 2)), figures, benchmarks)


def with_reference(figures: Figures, benchmarks: Iterable[str]) -> list[Difference]:
    """The differences between the reference and each other method, by benchmark."""
    scored = [method for method in figures if figures[method]]
    reference = REFERENCE if REFERENCE in scored else next(iter(scored), '')
    pairs = [(reference, method) for method in scored if method != reference]
    return _differences(pairs, figures, benchmarks)


def _differences(pairs: Sequence[tuple[str, str]], figures: Figures, benchmarks: Iterable[str]) -> list[Difference]:
    found = (_difference(*pair, benchmark, figures) for benchmark in benchmarks for pair in pairs)
    return [difference for difference in found if difference]


def _difference(first: str, second: str, benchmark: str, figures: Figures) -> Difference | None:
    """None if they have no image in common."""
    ours, theirs = (figures[method].get(benchmark, {}) for method in (first, second))
    differences = [ours[image][0] - theirs[image][0] for image in ours if image in theirs]
    values = np.array([value for value in differences if isfinite(value)])  # a perfect image has infinite PSNR
    if not values.size:
        return None
    return Difference(first, second, benchmark, len(values), float(values.mean()), *interval(values))


def interval(values: NDArray[np.float64]) -> tuple[float, float] | tuple[None, None]:
    """The 95 % interval of the mean of all images, of which these are some.

    The ends are quantiles of the means of resamples, always the same ones. For few images plain quantiles lie too near
    to each other: of five normal values, the interval misses the mean in one case of six. So they lie as much further
    out as Student's t does (the expanded percentile interval: Hesterberg, What Teachers Should Know About the
    Bootstrap, 2015).

    Args:
        values: Shape (N,), a value for each image.

    Returns:
        Both ends; None for one image.
    """
    if len(values) < 2:
        return None, None
    degrees = len(values) - 1
    tail = stats.norm.cdf(sqrt(len(values) / degrees) * stats.t.ppf((1 - LEVEL) / 2, degrees))
    low, high = np.quantile(_resampling(len(values)) @ values, (tail, 1 - tail))
    return float(low), float(high)


@cache
def _resampling(size: int) -> NDArray[np.float64]:
    """The share of each value in the means of the resamples, shape (RESAMPLES, size)."""
    return np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), RESAMPLES) / size

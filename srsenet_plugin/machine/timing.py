"""Times of things that are compared with each other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from tqdm import tqdm


def interleaved_medians(ways: Mapping[str, Callable[[], object]], rounds: int, label: str) -> dict[str, float]:
    """Median seconds of each way, by name.

    The ways take turns, so that all see the same machine. A first round warms up and does not count.

    Args:
        ways: Functions, by name.
        rounds: Rounds that count.
        label: Name for the progress bar.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    turns = [name for _ in range(1 + rounds) for name in ways]
    for name in tqdm(turns, label, unit='run', leave=False):
        start = time.perf_counter()
        ways[name]()
        seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(own[1:]) for name, own in seconds.items()}

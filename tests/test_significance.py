"""Differences between methods, and their intervals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from srsenet_plugin.compare import significance


@pytest.mark.parametrize(('size', 'least'), [(5, 0.91), (14, 0.925), (100, 0.93)])
def test_intervals_hold_the_mean_as_often_as_they_say(size: int, least: float) -> None:
    """Of plain quantiles, 84 % do for five images."""
    samples = np.random.default_rng(1).normal(0.03, 0.05, (1000, size))
    held = [low <= 0.03 <= high for low, high in map(significance.interval, samples)]
    assert least < np.mean(held) < 0.97


def test_intervals_of_many_images_are_those_of_students_t() -> None:
    values = np.random.default_rng(2).normal(0.1, 0.2, 400)
    expected = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert significance.interval(values) == pytest.approx(expected, abs=2e-3)


def test_intervals_of_three_images_are_those_of_all_resamples() -> None:
    values = np.array([0.1, 0.2, 0.6])
    low, high = significance.interval(values)
    means = [np.mean(resample) for resample in itertools.product(values, repeat=3)]
    assert (low, high) == pytest.approx((min(means), max(means)))


def test_the_same_interval_each_time() -> None:
    values = np.array([0.01, -0.02, 0.05, 0.03, 0.02])
    before = significance.interval(values)
    significance._resampling.cache_clear()
    assert significance.interval(values) == before


def figures(**psnr: list[float]) -> significance.Figures:
    images = {method: {f'{i}': (value, 0.9) for i, value in enumerate(values)} for method, values in psnr.items()}
    return {method: {'Set5': scores} if scores else {} for method, scores in images.items()}


def test_differences_as_lines() -> None:
    found = figures(
        A=[30.0, 31.0, 32.0, 33.0, 34.0],
        B=[29.9, 31.05, 31.95, 33.1, 33.95],
        SrSENet=[31.0, 32.1, 33.0, 34.1, 35.0],
        C=[31.0, 32.1, 33.0, 34.1, 35.0],
        Unscored=[],
    )
    lines = [str(line) for line in significance.with_reference(found, ['Set5', 'Set14'])]
    assert lines[0].startswith('SrSENet - A on Set5: +1.04 dB [+')
    assert lines[0].endswith(']: distinguishable')
    assert lines[1].startswith('SrSENet - B on Set5: +1.05 dB [+')
    assert lines[2:] == ['SrSENet - C on Set5: +0.00 dB [+0.00, +0.00]: not distinguishable']
    pairs = significance.all_pairs(found, ['Set5'])
    assert [(pair.first, pair.second) for pair in pairs] == list(itertools.combinations(['A', 'B', 'SrSENet', 'C'], 2))
    assert str(pairs[0]).endswith(': not distinguishable')
    assert significance.with_reference(figures(A=[30.0, 31.0], B=[29.0, 30.5]), ['Set5'])[0].first == 'A'


def test_pairs_are_of_the_images_that_both_have() -> None:
    found = figures(A=[30.0, 31.0, 40.0], B=[29.0, 30.0])
    (difference,) = significance.all_pairs(found, ['Set5'])
    assert (difference.images, difference.mean) == (2, 1.0)


def test_one_image_and_perfect_images_tell_nothing() -> None:
    (one,) = significance.all_pairs(figures(A=[30.0], B=[29.0]), ['Set5'])
    assert str(one) == 'A - B on Set5: +1.00 dB [one image]: not distinguishable'
    perfect = figures(A=[float('inf')] * 2, B=[float('inf'), 30.0])
    assert significance.all_pairs(perfect, ['Set5']) == []

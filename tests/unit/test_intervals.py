"""Intervals hold the truth as often as they say, and are what the formula gives where it can be worked out by hand."""

from __future__ import annotations

import interval_coverage
import numpy as np
import pytest

from longspec.analysis import claim_thresholds, intervals, repetition

PLAIN = np.array([[4.0, 1.0, 4.0, 3.0], [4.0, 0.6, 4.0, 1.0]])


@pytest.mark.parametrize("size", interval_coverage.SIZES)
@pytest.mark.parametrize("name", interval_coverage.POPULATIONS)
def test_95_in_100_intervals_hold_the_truth(name, size):
    draw = interval_coverage.POPULATIONS[name]
    held = interval_coverage.coverage(draw, interval_coverage.truth(draw), size, intervals.paired, 2500)
    assert 0.93 <= held <= 0.97


def test_the_fastest_of_eight_is_in_its_own_interval_too_rarely_and_in_the_corrected_one_as_often_as_it_says():
    rows = {row["variants"]: row for row in interval_coverage.selection(1000, (1, 8))}
    assert rows[1]["coverage"] == rows[1]["corrected"]
    assert rows[8]["coverage"] < 0.8
    assert 0.93 <= rows[8]["corrected"] <= 0.97


def test_a_kind_of_prompt_that_is_one_in_ten_is_missed_by_few_prompts():
    """Why a claim needs so many."""
    draw = interval_coverage.kinds(0.1, 3)
    true = interval_coverage.truth(draw)
    few, enough = (
        interval_coverage.coverage(draw, true, size, intervals.paired, 2000)
        for size in (8, claim_thresholds.LEAST_PROMPTS)
    )
    assert few < 0.85
    assert enough > 0.89


@pytest.mark.slow
@pytest.mark.parametrize("name", interval_coverage.POPULATIONS)
def test_a_bca_bootstrap_of_12_samples_does_not(name):
    """Why it is not used."""
    draw = interval_coverage.POPULATIONS[name]
    held = interval_coverage.coverage(draw, interval_coverage.truth(draw), 12, interval_coverage.bootstrap("BCa"), 300)
    assert held < 0.92


def test_two_pairs_by_hand():
    """Speedups 3 and 5/3 alone, so logs l1 and l2; the jackknife's variance is (l1 - l2)^2 / 4, freedom 1."""
    low, high = intervals.paired(PLAIN)
    apart = np.log(3) - np.log(5 / 3)
    assert (low * high) ** 0.5 == pytest.approx(2.5)
    assert np.log(high / low) == pytest.approx(2 * 12.706205 * apart / 2)


def test_samples_that_agree_leave_no_doubt():
    low, high = intervals.paired(np.array([[4.0, 1.0, 4.0, 2.0]] * 5) * np.arange(1, 6)[:, None])
    assert (low, high) == (pytest.approx(2), pytest.approx(2))


def test_one_sample_has_no_interval_nor_have_samples_without_time():
    assert np.isnan(intervals.paired(PLAIN[:1])).all()
    assert np.isnan(intervals.paired(np.array([[4.0, 1.0, 4.0, 1.0], [0.0, 0.0, 0.0, 1.0]]))).all()
    assert np.isnan(intervals.paired(np.zeros((0, 4)))).all()


def test_a_sample_with_nothing_to_decode_changes_nothing():
    assert intervals.paired(np.vstack([PLAIN, np.zeros((1, 4))])) == intervals.paired(PLAIN)


def test_one_long_sample_widens_the_interval():
    rng = np.random.default_rng(0)
    pairs = interval_coverage.stalls(20, rng)
    longer = pairs * np.where(np.arange(20) == 3, 50, 1)[:, None]
    (low, high), (wide_low, wide_high) = intervals.paired(pairs), intervals.paired(longer)
    assert wide_high / wide_low > 2 * high / low


def test_halves_that_are_no_pairs():
    """Welch: two groups of two; equal groups have ratio 1 inside the interval."""
    ours, theirs = np.array([[1.0, 2.0], [1.0, 2.2]]), np.array([[1.0, 2.1], [1.0, 2.1]])
    low, high = intervals.apart(ours, theirs)
    assert low < 1 < high
    assert np.isnan(intervals.apart(ours[:1], theirs)).all()


@pytest.mark.parametrize(
    ("outputs", "share"),
    [
        ([[1, 2, 3]], None),
        ([[1, 2, 3, 4, 5]], 0.0),
        ([[1, 2, 3, 4] * 10], 1 - 4 / 37),
        ([[7] * 12], 1 - 1 / 9),
        ([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]], 0.0),  # a turn that repeats another is no loop
        ([], None),
    ],
)
def test_the_share_of_repeated_4_grams(outputs, share):
    assert repetition.share(outputs) == (None if share is None else pytest.approx(share))

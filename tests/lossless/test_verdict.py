"""The verdict (a tie, a fault, or engines that differ) that follows from the figures of a comparison."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from test_gate import verdict

from longspec.analysis import verdict as verdicts
from longspec.core.records import Comparison
from longspec.decoding import gumbel


def test_one_fault_among_ties_is_enough():
    tied = Comparison("a", 0, False, 0, 5, 1e-5, 2e-5, False, scale=9.0)
    assert verdict([tied])["verdict"] == "ties only"
    wrong = Comparison("b", 0, False, 0, 9, 3e-5, 2e-5, False, scale=9.0)
    row = verdict([tied, wrong])
    assert (row["verdict"], row["worst_sample"], row["first_divergence_position"], row["ties"]) == (
        "not lossless", "b", 5, 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gap", "rounding", "flips", "tie"),
    [
        (0.1, 0.2, False, True),
        (0.2, 0.2, False, True),
        (0.21, 0.2, False, False),
        (-0.3, 0.2, False, False),
        (-0.3, 0.2, True, False),
        (-0.1, 0.2, True, True),
        (0.3, 0.2, True, False),
        (None, 0.2, True, True),
        (None, 0.2, False, False),
        (None, None, None, False),
        (0.0, 0.0, False, False),
        (0.1, 1.1, True, False),  # more than the format explains, whatever the replay says
        (None, 1.1, True, False),
        (0.1, float("nan"), True, False),
    ],
)
@pytest.mark.parametrize("dtype", verdicts.EPS)
def test_what_a_tie_is(gap, rounding, flips, tie, dtype):
    """In shares of what the number format explains; a comparison without a scale is no tie."""
    limit = verdicts.bound(dtype, 7.0, verdicts.WITHIN)
    gap, rounding = (None if share is None else share * limit for share in (gap, rounding))
    found = Comparison("a", 0, False, 0, 5, gap, rounding, flips, scale=7.0)
    assert verdicts.tie(found, dtype) == tie
    assert not verdicts.tie(replace(found, scale=None), dtype)


@pytest.mark.parametrize(
    ("gap", "rounding", "apart", "said"),
    [
        (-0.2, 0.1, 0.9, "ties only"),  # its own engine's choice, and the engines are as near as the format asks
        (0.0, 0.0, 0.9, "ties only"),
        (0.1, 0.1, 0.9, "ties only"),
        (0.2, 0.1, 0.9, "not lossless"),  # not what its own engine chooses
        (1.1, 2.0, 0.9, "not lossless"),
        (None, 0.1, 0.9, "not lossless"),
        (-0.2, 0.1, 1.1, "engines differ"),
        (0.2, 0.1, 1.1, "engines differ"),
        (-1.1, 0.1, 0.9, "engines differ"),  # vanilla's token is not what either engine chooses now
        (-0.2, 9.0, 1.1, "engines differ"),  # however much its own forwards differ
        (-0.2, 0.1, float("nan"), "engines differ"),
    ],
)
@pytest.mark.parametrize("dtype", verdicts.EPS)
def test_what_is_said_of_a_peer(gap, rounding, apart, said, dtype):
    limit = verdicts.bound(dtype, 7.0, verdicts.BETWEEN)
    gap = None if gap is None else gap * limit
    found = Comparison("a", 0, False, 0, 5, gap, rounding * limit, False, scale=7.0, engines_apart=apart * limit)
    assert verdicts.judge(found, dtype) == said
    assert verdict([found], dtype=dtype)["verdict"] == said


def test_a_large_gap_in_float32_is_a_fault_whatever_the_replay_says():
    assert verdict([Comparison("a", 0, False, 0, 5, 0.3, 7.1, True, scale=30.0)])["verdict"] == "not lossless"


def test_the_stated_power_is_the_power():
    """Quantiles with the stated shift are called not lossless about as often as stated."""
    count, found = 2000, 0
    _, shift = verdicts.uniform([0.5] * count)
    for number in range(60):
        draws = gumbel.Draws(number)
        moved = [
            u + 0.5 if u < 0.5 and draws.uniform() < 2 * shift else u for u in (draws.uniform() for _ in range(count))
        ]
        found += verdicts.uniform(moved)[0] < verdicts.LEVEL
    assert found / 60 > verdicts.POWER - 0.12


@pytest.mark.parametrize("repeats", [2, 60])
def test_repeats_of_a_draw_are_no_further_evidence(repeats):
    """A repeat draws the same tokens: what it says of the distribution is what the first one said."""
    draws = random.Random(3)
    once = [Comparison(f"s{n}", 0, False, quantiles=[draws.random() for _ in range(50)]) for n in range(8)]
    again = [replace(c, repeat=number) for number in range(repeats) for c in once]
    alone, repeated = (verdicts._drawn(found, "float32") for found in (once, again))
    assert repeated == alone
    assert alone["verdict"] == "same distribution"
    assert alone["tokens_tested"] == 400
    lost_first = [c for c in again if (c.sample_id, c.repeat) != ("s0", 0)]
    assert verdicts._drawn(lost_first, "float32") == alone

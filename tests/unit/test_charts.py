"""Charts: what each mark means is readable without colour and without sight."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from refusals import says

from longspec.report import charts, svg

BARS = pd.DataFrame(
    [
        {"model": "m", "dataset": d, "method": name, "speedup": 1.5, "speedup_low": 1.2, "speedup_high": 1.9,
         "verdict": "identical", "noise_floor": 1.02, "peer": int(name.startswith("hf"))}
        for d in "de"
        for name in ("chain", "hf")
    ]
)  # fmt: skip
TITLES = {"chain": "chain", "hf": "hf (peer)"}


def hatched(svg: str) -> list[str]:
    """Styles of the areas that are filled with a pattern."""
    return re.findall(r'<path [^>]*style="([^"]*fill: url\([^"]*)"', svg)


@pytest.mark.parametrize("peers", [0, 1])
def test_a_peers_bars_are_hollow_and_hatched_and_its_name_says_so(peers):
    svg = charts.speedup_bars(BARS.assign(peer=BARS["peer"] * peers), TITLES, "vanilla")
    assert len(hatched(svg)) == peers * 3, "a bar a data set, and the legend's"
    assert ">hf (peer)</text>" in svg
    assert says(re.search(r"<desc[^>]*>(.*?)</desc>", svg)[1], "d", "e", "chain 1.50×", "hf (peer) 1.50×")


def test_two_methods_of_one_colour_differ_in_their_hatch_peers_too():
    numbers = range(len(svg.PALETTE) * len(svg.HATCHES))
    for look in (svg.fill, svg.hollow):
        assert len({tuple(sorted(look(number).items())) for number in numbers}) == len(numbers)

"""Charts: what each mark means is readable without colour and without sight."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from markupsafe import Markup
from refusals import says
from report_page import chart, section
from results_folder import write_all
from test_report import render

from longspec.report import charts
from longspec.report.charts import speed, svg
from longspec.report.charts.data import ChartData

BARS = pd.DataFrame(
    [
        {"model": "m", "dataset": d, "method": name, "baseline": "vanilla", "speedup": 1.5, "speedup_low": 1.2,
         "speedup_high": 1.9, "verdict": "identical", "noise_floor": 1.02, "peer": int(name.startswith("hf")),
         "number_format": None, "same_as_baseline": 0}
        for d in "de"
        for name in ("chain", "hf")
    ]
)  # fmt: skip
TITLES = {"chain": "chain", "hf": "hf (peer)"}


def bars(table: pd.DataFrame) -> str:
    return speed.bars(ChartData({"speedup": table}, [("m", "d"), ("m", "e")], "vanilla", TITLES, TITLES))


def hatched(svg: str) -> list[str]:
    """Styles of the areas that are filled with a pattern."""
    return re.findall(r'<path [^>]*style="([^"]*fill: url\([^"]*)"', svg)


@pytest.mark.parametrize("peers", [0, 1])
def test_a_peers_bars_are_hollow_and_hatched_and_its_name_says_so(peers):
    drawn = bars(BARS.assign(peer=BARS["peer"] * peers))
    assert len(hatched(drawn)) == peers * 3, "a bar a data set, and the legend's"
    assert ">hf (peer)</text>" in drawn
    assert says(re.search(r"<desc[^>]*>(.*?)</desc>", drawn)[1], "d", "e", "chain 1.50×", "hf (peer) 1.50×")


def test_the_legend_has_the_colours_of_the_bars():
    for number in (0, 1):
        assert bars(BARS).lower().count(svg.colour(number).lower()) >= 3, "a bar a data set, and the legend's"


def test_an_interval_that_is_cut_ends_in_an_arrowhead_and_names_its_end():
    assert 'id="speedup-over-vanilla-by-data-set-cut"' not in bars(BARS)
    wide = BARS["speedup_high"].where(BARS.index != 0, 88.47)
    drawn = bars(BARS.assign(speedup_high=wide))
    assert drawn.count('id="speedup-over-vanilla-by-data-set-cut"') == 1
    assert ">1.50×, to 88.47</text>" in drawn


def test_two_methods_of_one_colour_differ_in_their_hatch_peers_too():
    numbers = range(len(svg.PALETTE) * len(svg.HATCHES))
    for look in (svg.fill, svg.hollow):
        assert len({tuple(sorted(look(number).items())) for number in numbers}) == len(numbers)


def test_a_chart_is_one_entry(tmp_path, monkeypatch):
    """Its function is given the tables; the page finds the place, escapes the caption, and skips what draws nothing."""
    drawing = '<svg xmlns="http://www.w3.org/2000/svg"><title>t</title></svg>'

    def draw(data: charts.ChartData) -> Markup:
        return Markup(drawing) if len(data.table("costs")) else Markup()

    for name in ("top", "audit", "costs"):
        entry = charts.Chart(f"new-{name}", name, "<Costs> over {baseline}", draw)
        monkeypatch.setattr(charts, "CHARTS", (*charts.CHARTS, entry))
    nothing = charts.Chart("nothing", "audit", "", lambda data: Markup())
    monkeypatch.setattr(charts, "CHARTS", (*charts.CHARTS, nothing))
    page = render(write_all(tmp_path))
    assert 'id="chart-nothing"' not in page
    places = {"top": page.split("<main>")[0], "audit": section(page, "audit"), "costs": section(page, "costs")}
    for name, place in places.items():
        assert drawing in chart(place, f"new-{name}")
        assert page.count(f'id="chart-new-{name}"') == 1
        assert "<figcaption>&lt;Costs&gt; over vanilla</figcaption>" in place

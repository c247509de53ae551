"""The report's charts. To add one, write its function and add its entry to CHARTS: the page does the rest.

Contract: each chart is drawn from one table, which holds every number of it. What has nothing to show is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from longspec.report.charts import acceptance, costs, load, speed, training
from longspec.report.charts.data import ChartData


@dataclass(frozen=True)
class Chart:
    """A chart: its id on the page, the section whose first part it is ("top" is the page's head), a caption, in which
    {baseline} stands for what speedups are over, and what draws it: an <svg> element, or nothing without data."""

    name: str
    section: str
    caption: str
    draw: Callable[[ChartData], Markup]
    panels: bool = True  # several side by side, which may scroll on a phone


@dataclass(frozen=True)
class Drawing:
    """A chart that has something to show, as it enters the page."""

    chart: Chart
    caption: str
    svg: Markup


CHARTS = (
    Chart(
        "speedup",
        "top",
        "Bars: speedup over {baseline}. Lines on them: 95% interval; one that ends in an arrowhead goes on to the "
        "second number. Right of the dashed line a method is faster than {baseline}. Grey band: the noise floor, "
        "where it was measured. Hollow, hatched bars: peers, which are other libraries' own decoding.",
        speed.bars,
        panels=False,
    ),
    Chart(
        "load",
        "engines",
        "Speedup by requests in flight. Filled marks: tokens a second of the whole server over those of the same "
        "engine without speculation, with 95% intervals over windows of admissions. Hollow marks: the same ratio as "
        "one request feels it, from its first chunk to its last. Above the dashed line speculation pays.",
        load.curves,
    ),
    Chart(
        "positions",
        "acceptance",
        "Share of drafted tokens that the target accepted, of those that it checked, by their position in the draft.",
        acceptance.by_position,
    ),
    Chart(
        "output_position",
        "acceptance",
        "Tokens that a step yields, by the length of the output when the step began.",
        acceptance.along_output,
    ),
    Chart(
        "context_tokens",
        "acceptance",
        "Tokens that a step yields, by the length of prompt and output together when the step began.",
        acceptance.along_context,
    ),
    Chart(
        "shapes",
        "acceptance",
        "The shape of each method's draft as configured: a circle a token, a row a depth. The numbers, and how full "
        "the circles are: the share of steps that accepted a token at this depth, over all data sets, from the table "
        "of acceptance by position. Which token of a depth it was is not recorded.",
        acceptance.shapes,
    ),
    Chart(
        "parts",
        "costs",
        "Milliseconds of a step by part, from extra answers after the measured ones: drafting (draft), the target's "
        "forward pass (forward), choosing tokens (verify), keeping them in the cache (commit), and the rest (other).",
        costs.step_parts,
    ),
    Chart(
        "times",
        "samples",
        "A mark a sample. Below the dashed line the method was faster than {baseline}; hollow marks were slower.",
        speed.times,
    ),
    Chart(
        "training",
        "training",
        "The training of each drafter; training.csv beside its weights has the numbers.",
        training.curves,
    ),
)


def drawn(data: ChartData) -> list[Drawing]:
    """Draw the charts that have something to show, in the order of CHARTS."""
    made = ((chart, chart.draw(data)) for chart in CHARTS)
    return [Drawing(chart, chart.caption.format(baseline=data.over), svg) for chart, svg in made if svg]

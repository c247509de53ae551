"""The speedup table as one puts it into a paper: LaTeX with booktabs rules, and Markdown.

Contract: it is made of summary.json, acceptance.csv and speedup.csv alone; a figure whose claim is withheld is marked,
in both. Where served engines ran, each row names its baseline, and an engine without speculation has a row that says
that it is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from tabulate import tabulate

from longspec.report.results import Claim, Summary, by_names, checked, rows_of

HEAD = ["model", "data set", "method", "speedup", "over reference", "end to end", "acceptance length", "n", "outputs"]
ENGINES = {3: "baseline", 5: "throughput"}
"""Columns that stand there only where served engines ran, by place."""
MARKS = {"withheld": "†", "no difference shown": "*"}
LATEX_MARKS = {"†": r"\textsuperscript{\textdagger}", "*": r"\textsuperscript{*}"}
NOTES = {
    "†": "no claim: perhaps not the model's output, an audit finding, too few prompts, a busy machine, no noise floor",
    "*": "no difference shown: the interval includes 1 or does not clear the noise floor",
}
CAPTION = "Speedup over {}{} with 95% intervals, paired by prompt; n prompts."
OF_ENGINES = (
    " Over reference, of an engine: over {}. Throughput: of the whole server, over that of the engine without "
    "speculation; name@N: with N requests in flight."
)


@dataclass(frozen=True)
class Row:
    """A row of speedup.csv, as far as it is printed beside what summary.json says of it."""

    model: str
    dataset: str
    method: str
    baseline: str
    verdict: str
    prompts_paired: int
    over_reference: float | None
    over_reference_low: float | None
    over_reference_high: float | None
    throughput_speedup: float | None = None
    throughput_speedup_low: float | None = None
    throughput_speedup_high: float | None = None


def markdown(summary: Mapping[str, object], acceptance: pd.DataFrame, speedups: pd.DataFrame) -> str:
    """Write the table and the claims; `summary` as in summary.json, the tables are acceptance.csv and speedup.csv."""
    made = checked("summary.json", Summary, summary)
    head, table = _table(made, acceptance, speedups)
    text = tabulate(table, head, "github", disable_numparse=True)
    claims = [f"- {claim.claim or claim.withheld}" for claim in made.claims]
    return "\n".join([_caption(made, head), "", text, "", *_notes(head, table), "", *claims]) + "\n"


def latex(summary: Mapping[str, object], acceptance: pd.DataFrame, speedups: pd.DataFrame) -> str:
    """Write the table with its caption, for \\input; it needs the package booktabs. Arguments as for `markdown`."""
    made = checked("summary.json", Summary, summary)
    head, table = _table(made, acceptance, speedups)
    body = tabulate(table, head, "latex_booktabs", disable_numparse=True)
    notes = " ".join(note.strip() for note in _notes(head, table))
    caption = _caption(made, head).replace("%", r"\%").replace("_", r"\_")
    text = (
        "\n".join([r"\begin{table}", rf"\caption{{{caption} {notes}}}".replace(" }", "}"), body, r"\end{table}"]) + "\n"
    )
    for mark, command in LATEX_MARKS.items():
        text = text.replace(mark, command)
    return text


def _table(made: Summary, acceptance: pd.DataFrame, speedups: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Write the head, and the cells as text, marks included: a row for each claim, and for each engine's baseline."""
    lengths = by_names(acceptance, "acceptance_length")
    claims = {(claim.model, claim.dataset, claim.method): claim for claim in made.claims}
    found = rows_of(speedups, Row, "speedup.csv")
    rows = []
    for row in found:
        names = (row.model, row.dataset, row.method)
        if row.method == row.baseline or names in claims:
            rows.append(_cells(row, claims.get(names), lengths.get(names)))
    if all(row.method != row.baseline for row in found):
        return HEAD, [[cell for place, cell in enumerate(row) if place not in ENGINES] for row in rows]
    head = list(HEAD)
    for place, name in ENGINES.items():
        head.insert(place, name)
    return head, rows


def _cells(row: Row, claim: Claim | None, length: float | None) -> list[str]:
    """Write one row; `claim`: None of an engine without speculation."""
    over = _figure(row.over_reference, row.over_reference_low, row.over_reference_high)
    throughput = _figure(row.throughput_speedup, row.throughput_speedup_low, row.throughput_speedup_high)
    text = "" if length is None else f"{length:.2f}"
    if claim is None or row.method == row.baseline:
        names = [row.model, row.dataset, row.method]
        return [*names, "", "baseline of its group", "", over, "", text, str(row.prompts_paired), row.verdict]
    return [
        *(row.model, row.dataset, claim.name, row.baseline),
        _figure(claim.speedup, claim.speedup_low, claim.speedup_high) + MARKS.get(claim.kind, ""),
        throughput,
        over,
        _figure(claim.end_to_end_speedup, claim.end_to_end_speedup_low, claim.end_to_end_speedup_high),
        *(text, str(claim.prompts_paired), claim.verdict),
    ]


def _figure(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")


def _caption(summary: Summary, head: list[str]) -> str:
    named = sorted({row.reference for row in summary.references})
    reference = "".join(f" and over the reference {name}" for name in named)
    if head == HEAD:
        return CAPTION.format(summary.baseline, reference)
    return CAPTION.format("the baseline of each row", reference) + OF_ENGINES.format(summary.baseline)


def _notes(head: list[str], table: list[list[str]]) -> list[str]:
    used = "".join(row[head.index("speedup")] for row in table)
    return [f"{mark} {note}  " for mark, note in NOTES.items() if mark in used]

"""The speedup table as one puts it into a paper: LaTeX with booktabs rules, and Markdown.

Contract: it is made of summary.json and acceptance.csv alone; a figure whose claim is withheld is marked, in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from tabulate import tabulate

from longspec.report.results import Claim, Summary, by_names, checked

HEAD = ["model", "data set", "method", "speedup", "over reference", "end to end", "acceptance length", "n", "outputs"]
MARKS = {"withheld": "†", "no difference shown": "*"}
LATEX_MARKS = {"†": r"\textsuperscript{\textdagger}", "*": r"\textsuperscript{*}"}
NOTES = {
    "†": "no claim: perhaps not the model's output, an audit finding, too few prompts, a busy machine, no noise floor",
    "*": "no difference shown: the interval includes 1 or does not clear the noise floor",
}
CAPTION = "Speedup over {}{} with 95% intervals, paired by prompt; n prompts."


def markdown(summary: Mapping[str, object], acceptance: pd.DataFrame) -> str:
    """Write the table and the claims; `summary` as in summary.json, `acceptance` is acceptance.csv."""
    made = checked("summary.json", Summary, summary)
    table = _rows(made.claims, acceptance)
    text = tabulate(table, HEAD, "github", disable_numparse=True)
    claims = [f"- {claim.claim or claim.withheld}" for claim in made.claims]
    return "\n".join([_caption(made), "", text, "", *_notes(table), "", *claims]) + "\n"


def latex(summary: Mapping[str, object], acceptance: pd.DataFrame) -> str:
    """Write the table with its caption, for \\input; it needs the package booktabs. Arguments as for `markdown`."""
    made = checked("summary.json", Summary, summary)
    table = _rows(made.claims, acceptance)
    body = tabulate(table, HEAD, "latex_booktabs", disable_numparse=True)
    notes = " ".join(note.strip() for note in _notes(table))
    caption = _caption(made).replace("%", r"\%").replace("_", r"\_")
    text = (
        "\n".join([r"\begin{table}", rf"\caption{{{caption} {notes}}}".replace(" }", "}"), body, r"\end{table}"]) + "\n"
    )
    for mark, command in LATEX_MARKS.items():
        text = text.replace(mark, command)
    return text


def _rows(claims: Sequence[Claim], acceptance: pd.DataFrame) -> list[list[str]]:
    """Write the cells as text, a row for each claim, marks included."""
    lengths = by_names(acceptance, "acceptance_length")
    made = []
    for claim in claims:
        length = lengths.get((claim.model, claim.dataset, claim.method))
        figures = [
            _figure(claim.speedup, claim.speedup_low, claim.speedup_high) + MARKS.get(claim.kind, ""),
            _figure(claim.over_reference, claim.over_reference_low, claim.over_reference_high),
            _figure(claim.end_to_end_speedup, claim.end_to_end_speedup_low, claim.end_to_end_speedup_high),
            "" if length is None else f"{length:.2f}",
        ]
        made.append([claim.model, claim.dataset, claim.name, *figures, str(claim.prompts_paired), claim.verdict])
    return made


def _figure(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")


def _caption(summary: Summary) -> str:
    named = sorted({row.reference for row in summary.references})
    return CAPTION.format(summary.baseline, "".join(f" and over the reference {name}" for name in named))


def _notes(table: list[list[str]]) -> list[str]:
    used = "".join(row[3] for row in table)
    return [f"{mark} {note}  " for mark, note in NOTES.items() if mark in used]

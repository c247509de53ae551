"""The speedup table as one puts it into a paper: LaTeX with booktabs rules, and Markdown.

It knows the tables and nothing else; a figure whose claim is withheld is marked, in both.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from tabulate import tabulate

from longspec.analysis.claims import labelled
from longspec.analysis.tables import NAMES

HEAD = ["model", "data set", "method", "speedup", "over reference", "end to end", "acceptance length", "n", "outputs"]
MARKS = {"withheld": "†", "no difference shown": "*"}
LATEX_MARKS = {"†": r"\textsuperscript{\textdagger}", "*": r"\textsuperscript{*}"}
NOTES = {
    "†": "no claim: perhaps not the model's output, an audit finding, too few prompts, a busy machine, no noise floor",
    "*": "no difference shown: the interval includes 1 or does not clear the noise floor",
}
CAPTION = "Speedup over {}{} with 95% intervals, paired by prompt; n prompts."


def rows(summary: dict[str, Any], acceptance: pd.DataFrame) -> list[list[str]]:
    """The cells as text, one row a claim, marks included."""
    lengths = acceptance.set_index(NAMES)["acceptance_length"]
    made = []
    for claim in summary["claims"]:
        names = [claim[name] for name in NAMES]
        length = lengths.get(tuple(names))  # by the names as the tables have them
        names[2] = labelled(names[2], claim["number_format"]) + " (peer)" * claim["peer"]
        speedup = _figure(claim, "speedup") + MARKS.get(claim["kind"], "")
        figures = [speedup, _figure(claim, "over_reference"), _figure(claim, "end_to_end_speedup")]
        accepted = "" if length is None or pd.isna(length) else f"{length:.2f}"
        made.append([*names, *figures, accepted, str(claim["prompts_paired"]), claim["verdict"]])
    return made


def _figure(claim: dict[str, Any], key: str) -> str:
    if claim[key] is None:
        return ""
    low, high = claim[f"{key}_low"], claim[f"{key}_high"]
    return f"{claim[key]:.2f}" + ("" if low is None else f" [{low:.2f}, {high:.2f}]")


def markdown(summary: dict[str, Any], acceptance: pd.DataFrame) -> str:
    """The table and the claims."""
    table = rows(summary, acceptance)
    text = tabulate(table, HEAD, "github", disable_numparse=True)
    claims = [f"- {claim['claim'] or _withheld(claim)}" for claim in summary["claims"]]
    caption = _caption(summary)
    return "\n".join([caption, "", text, "", *_notes(table), "", *claims]) + "\n"


def _caption(summary: dict[str, Any]) -> str:
    named = {row["reference"] for row in summary["references"]}
    return CAPTION.format(summary["baseline"], "".join(f" and over the reference {name}" for name in sorted(named)))


def _withheld(claim: dict[str, Any]) -> str:
    name = labelled(claim["method"], claim["number_format"])
    return f"{name} on {claim['dataset']} with {claim['model']}: {claim['reason']}."


def _notes(table: list[list[str]]) -> list[str]:
    used = "".join(row[3] for row in table)
    return [f"{mark} {note}  " for mark, note in NOTES.items() if mark in used]


def latex(summary: dict[str, Any], acceptance: pd.DataFrame) -> str:
    """The table with its caption, for \\input; needs the package booktabs."""
    table = rows(summary, acceptance)
    body = tabulate(table, HEAD, "latex_booktabs", disable_numparse=True)
    notes = " ".join(note.strip() for note in _notes(table))
    caption = _caption(summary).replace("%", r"\%").replace("_", r"\_")
    text = (
        "\n".join([r"\begin{table}", rf"\caption{{{caption} {notes}}}".replace(" }", "}"), body, r"\end{table}"]) + "\n"
    )
    for mark, command in LATEX_MARKS.items():
        text = text.replace(mark, command)
    return text

"""Whether what is made last says what the tables give: summary.json, tables.md, tables.tex, the report's claims, and
tuning.csv where something was tuned.

Contract: everything is made again from the tables that the audit made of the raw files, and compared; a file that is
not there is not judged. Of index.html, whose bytes depend on a configuration that an outsider may not have, it asks
only whether it holds every claim, every reason and the verdict line. It writes nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import escape

from longspec.analysis import runs, summary, tables, tuning_table
from longspec.report import publication
from longspec.report.results import MOST_CLAIMS
from longspec.verify import audit_rules


def findings(grid: runs.Grid, results: Path, reports: Path, made: dict[str, pd.DataFrame]) -> dict[Path, str]:
    """Each file that is there, and what it says that the tables `made` do not; empty where it holds."""
    places = [
        *(results / name for name in ("tuning.csv", "summary.json")),
        *(reports / name for name in ("tables.md", "tables.tex", "index.html")),
    ]
    stored = {place: place.read_text(encoding="utf-8", errors="replace") for place in places if place.is_file()}
    if "speedup" not in made:
        return dict.fromkeys(stored, "cannot be made from the files, as the audit says")
    read = {name: tables.again(made[name]) for name in {*summary.READ, *tuning_table.READ}}
    again, tuned = summary.build(grid, results, read), tables.text(tuning_table.build(grid, results, read))
    return {place: _finding(place.name, text, again, tuned, read["acceptance"]) for place, text in stored.items()}


def _finding(name: str, stored: str, again: dict[str, Any], tuned: str, acceptance: pd.DataFrame) -> str:
    if name == "tuning.csv":
        return audit_rules.lines(stored, tuned)
    if name == "summary.json":
        try:
            return audit_rules.difference(json.loads(stored), again)
        except ValueError as error:
            return f"is not JSON ({error})"
    if name == "index.html":
        return _missing(stored, again)
    return audit_rules.lines(
        stored, (publication.latex if name == "tables.tex" else publication.markdown)(again, acceptance)
    )


def _missing(page: str, again: dict[str, Any]) -> str:
    """The first sentence that should stand on the page."""
    judged = (claim["claim"] or f"{claim['reason']}." for claim in again["claims"][:MOST_CLAIMS])
    sentences = (*judged, *again["verdict"].values())
    return next((f"does not say {text!r}" for text in sentences if escape(text) not in page), "")

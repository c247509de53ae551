"""Hold what is made last against the tables: summary.json, tables.md, tables.tex, the report's claims, and tuning.csv.

Contract: everything is made again by the code that made it, from the tables that the audit made of the raw files, and
compared; a file that is not there is not judged. Of index.html, whose bytes depend on a configuration that an outsider
may not have, it asks only whether it holds every claim, every reason and the verdict line. It writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from markupsafe import escape

from longspec.core.spec import Grid
from longspec.report import summary
from longspec.report.results import MOST_CLAIMS
from longspec.verify import differences


def findings(grid: Grid, results: Path, reports: Path, folder: Path) -> dict[Path, str]:
    """Map each published file that is there to what it says that the audit's tables in `folder` do not; empty where
    it holds."""
    places = [
        *(results / name for name in ("tuning.csv", "summary.json")),
        *(reports / name for name in ("tables.md", "tables.tex", "index.html")),
    ]
    stored = {place: place.read_text(encoding="utf-8", errors="replace") for place in places if place.is_file()}
    if not (folder / "speedup.csv").is_file():
        return dict.fromkeys(stored, "cannot be made from the files, as the audit says")
    tuned = folder / "tuning.csv"  # not made where nothing was tuned
    again = {"tuning.csv": tuned.read_text(encoding="utf-8") if tuned.is_file() else ""}
    again |= summary.build(grid, results, folder)
    return {place: _finding(place.name, text, again) for place, text in stored.items()}


def _finding(name: str, stored: str, again: Mapping[str, str]) -> str:
    if name == "summary.json":
        try:
            return differences.of_json(json.loads(stored), json.loads(again[name]))
        except ValueError as error:
            return f"is not JSON ({error})"
    if name == "index.html":
        return _missing(stored, again["summary.json"])
    return differences.of_texts(stored, again[name])


def _missing(page: str, judged: str) -> str:
    """Name the first sentence that should stand on the page and does not."""
    again = json.loads(judged)
    sentences = (claim["claim"] or f"{claim['reason']}." for claim in again["claims"][:MOST_CLAIMS])
    said = (*sentences, *again["verdict"].values())
    return next((f"does not say {text!r}" for text in said if escape(text) not in page), "")

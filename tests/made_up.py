"""Made-up results, analysed as the workflow does it, for tests that change something and look who notices."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import analysis_steps
import pandas as pd
import synthetic

from longspec.analysis.claim_thresholds import LEAST_PROMPTS
from longspec.cli import report
from longspec.verify import audit

CELLS = {"m": ["d", "e"]}
GRID: dict[str, Any] = {
    "cells": CELLS,
    "methods": list(synthetic.METHODS),
    "baseline": "vanilla",
    "reference": "hf-generate",
}


def make(place: Path) -> Path:
    """Two data sets, as many prompts as a claim needs, two repeats; the tables made."""
    synthetic.write(place, CELLS, LEAST_PROMPTS, limit=24, repeats=2)
    analyse(place)
    return place


def analyse(place: Path, grid: dict[str, Any] = GRID) -> None:
    """The tables, as the workflow makes them."""
    analysis_steps.run(place, grid, "metrics", "lossless", "speedup")


def failures(place: Path, grid: dict[str, Any] = GRID) -> pd.DataFrame:
    """The broken rules of the symmetry audit."""
    with TemporaryDirectory() as folder:
        table = audit.build(grid, place, Path(folder))
    return table[table["verdict"] == "fail"]


def publish(place: Path, grid: dict[str, Any] = GRID, audit: bool = True, pages: bool = True) -> None:
    """The audit, the claims and, in `reports`, what is printed of them, as the workflow makes them."""
    analysis_steps.run(place, grid, *(["audit"] if audit else []), "summary")
    if pages:
        config = {"methods": {name: {"method": entry["method"]} for name, entry in synthetic.METHODS.items()}}
        arguments = ["--grid", json.dumps(grid), "--results", str(place)]
        report.main([*arguments, "--config", json.dumps(config), "--reports", str(place / "reports")])


def claims(place: Path, grid: dict[str, Any] = GRID) -> dict[tuple[str, str], dict[str, Any]]:
    """The judged claims of finished tables, by data set and method."""
    publish(place, grid, pages=False)
    made = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    return {(claim["dataset"], claim["method"]): claim for claim in made["claims"]}


def edit_samples(place: Path, method: str, change: Any, dataset: str = "d") -> Path:
    """Change each row of a job's samples.jsonl; the file."""
    file = place / "m" / dataset / method / "samples.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        change(row)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def edit_run(place: Path, method: str, change: Any, dataset: str = "d") -> None:
    """Change a job's run.json."""
    file = place / "m" / dataset / method / "run.json"
    facts = json.loads(file.read_text())
    change(facts)
    file.write_text(json.dumps(facts))

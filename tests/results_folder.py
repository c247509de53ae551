"""A small results folder with real records, so few that every figure can be worked out by hand.

Vanilla: a 4 tokens in 3 s, b (two turns) 2 + 2 tokens in 0.5 + 0.5 s: 8 decoded tokens in 4 s; 11 output tokens
in 6 s with the prefill. Chain: the same tokens in 1.6 s of decoding and 3.8 s in all; its sample b differs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import tables
from longspec.analysis import verdict as verdicts
from longspec.core.records import SCHEMA_VERSION, Comparison, Prompt, Sample, Turn, read_records, to_line
from longspec.core.records import prompts_sha256 as hashed
from longspec.core.run_record import RunRecord
from longspec.measure.entries import Start
from longspec.measure.journal import NAME, Journal, Outputs
from longspec.measure.order import Line

GRID: dict[str, Any] = {"cells": {"m": ["d"]}, "methods": ["vanilla", "chain"], "baseline": "vanilla"}
CONDITIONS: dict[str, Any] = {
    "sampling": "greedy",
    "verification": "keyed",
    "seed": 0,
    "dtype": "float32",
    "attention": "tree",
    "engine": "eager",
    "device": "a CPU",
    "threads": 2,
    "max_new_tokens": 5,
    "context_tokens": 64,
    "warmup": 1,
    "repeats": 1,
}
PROMPTS = [Prompt("a", ["hi"], [1], True), Prompt("b", ["hi", "and?"], [1], True)]
HOSTILE = "<script>alert(1)</script>"
TEXTS = [f"{HOSTILE} & <b>bold</b>"]


def turn(ids: list[int], steps: list[tuple[int, int, int]], prefill: float, drafter: float, decode: float) -> Turn:
    return Turn(10, "h", ids, steps, prefill, drafter, decode, "limit")


VANILLA = [
    Sample("a", 0, [turn([1, 2, 3, 4, 5], [(0, 0, 0)] * 4, 1.0, 0.0, 3.0)], TEXTS),
    Sample("b", 0, [turn([1, 2, 3], [(0, 0, 0)] * 2, 1.0, 0.0, 0.5), turn([1, 2, 3], [(0, 0, 0)] * 2, 0.0, 0.0, 0.5)]),
]
CHAIN = [
    Sample("a", 0, [turn([1, 2, 3, 4, 5], [(3, 3, 2), (3, 1, 0)], 1.0, 0.1, 1.0)], TEXTS),
    Sample("b", 0, [turn([1, 2, 9], [(3, 2, 1)], 1.0, 0.1, 0.3), turn([1, 2, 3], [(3, 2, 1)], 0.0, 0.0, 0.3)]),
]


def unfinished(folder: Path) -> Path:
    """Turn one job's outputs into the journal that they were split from; returns its path."""
    outputs = Outputs(folder / "samples.jsonl", folder / "run.json")
    samples, method = read_records(outputs.samples, Sample), folder.name
    lines = [Line(0, sample.repeat, Prompt(sample.sample_id, [], [], False)) for sample in samples]
    journal = Journal(folder / NAME, "k", {method: outputs}, lines)
    journal.begin({method: Start({}, {})})
    for sample in samples:
        journal.append(sample)
    for output in outputs:
        output.unlink()
    return journal.path


def facts_of(method: str, dataset: str = "d", **conditions: Any) -> dict[str, Any]:
    """One job's run.json."""
    entry = {"name": method, "method": "vanilla"}
    if method.startswith("chain"):
        entry = {"name": method, "method": "sequential", "drafter": "ngram"}
    return {
        "schema_version": SCHEMA_VERSION,
        "model": "m",
        "dataset": dataset,
        "method": method,
        "spec": {"method": entry},
        "conditions": {**CONDITIONS, "prompts_sha256": hashed(PROMPTS), **conditions},
        "peak_memory_bytes": 2**20,
        "started": "2026-01-01T10:00:00+00:00",
        "environment": {"device_name": f"a CPU {HOSTILE}", "packages": {"torch": "2.14.1"}},
        "pieces": [
            {
                "host": "here",
                "first_sample": 0,
                "environment": {"device_name": f"a CPU {HOSTILE}"},
                "engine_checks": {"target": {"engine": CONDITIONS["engine"], "distance": 2e-6, "bound": 2e-4}},
            }
        ],
        "failures": [],
    }


def record(method: str = "chain", fields: dict[str, Any] | None = None, **conditions: Any) -> RunRecord:
    """One job's run.json as it is read, with other `fields` and conditions."""
    return RunRecord.model_validate({**facts_of(method, **conditions), **(fields or {})})


def write_run(results: Path, method: str, samples: list[Sample], dataset: str = "d", **conditions: Any) -> None:
    """One job's files."""
    folder = results / "m" / dataset / method
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "samples.jsonl").write_text("".join(map(to_line, samples)), encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(facts_of(method, dataset, **conditions)), encoding="utf-8")


def write_prompts(results: Path, ids: list[str], dataset: str = "d") -> None:
    """Write one data set's prompts and their summary."""
    folder = results / "m" / dataset
    folder.mkdir(parents=True, exist_ok=True)
    prompts = [prompt for prompt in PROMPTS if prompt.sample_id in ids]
    (folder / "prompts.jsonl").write_text("".join(map(to_line, prompts)), encoding="utf-8")
    summary = {"kept": len(ids), "too_short": 31, "too_long": 41, "truncated": 1, "data": f"owner/{dataset}@{'0' * 40}"}
    (folder / "prompts_summary.json").write_text(json.dumps(summary), encoding="utf-8")


def write_gate(results: Path, comparisons: list[Comparison], method: str = "chain", dataset: str = "d") -> None:
    """Write one job's gate.jsonl."""
    place = results / "m" / dataset / method / "gate.jsonl"
    place.write_text("".join(map(to_line, comparisons)), encoding="utf-8")


def write_verdicts(results: Path, verdict: str = "ties only", grid: dict[str, Any] = GRID) -> None:
    """Write lossless.csv, with one verdict for all."""
    names = [(m, d, n) for m, ds in grid["cells"].items() for d in ds for n in grid["methods"] if n != grid["baseline"]]
    rows = [{**dict(zip(tables.NAMES, name, strict=True)), "verdict": verdict} for name in names]
    tables.write(pd.DataFrame(rows, columns=verdicts.COLUMNS), results / "lossless.csv")


def write_all(results: Path, dataset: str = "d", **conditions: Any) -> Path:
    """Write the files of vanilla and chain on one data set."""
    write_verdicts(results)
    write_prompts(results, ["a", "b"], dataset)
    write_run(results, "vanilla", VANILLA, dataset, **conditions)
    write_run(results, "chain", CHAIN, dataset, **conditions)
    return results

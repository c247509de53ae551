"""Made-up results of an experiment that has served engines beside our own loop, at two loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pandas as pd
import synthetic

from longspec.analysis import tables
from longspec.cli import report
from longspec.core.spec import labelled, load_of

ENGINES = {
    "vllm": {"method": "vllm"},
    "vllm-ngram": {"method": "vllm", "speculation": {"method": "ngram", "num_speculative_tokens": 4}},
    "llamacpp": {"method": "llamacpp", "gguf": "models/own & <b>.gguf"},
    "llamacpp-ngram": {"method": "llamacpp", "gguf": "models/own & <b>.gguf", "speculation": {"spec-type": "ngram"}},
}
LOADS = (1, 4)
LABELS = [labelled(name, load) for name in ENGINES for load in LOADS]
BASELINES = {label: labelled(load_of(label)[0].removesuffix("-ngram"), load_of(label)[1]) for label in LABELS}
GRID: dict[str, Any] = {**made_up.GRID, "methods": [*made_up.GRID["methods"], *LABELS], "baselines": BASELINES}
VERSIONS = {"vllm": "vLLM 0.32.0", "llamacpp": "llama.cpp b11434"}
FIGURES = {"vllm-ngram": (1.62, 1.55, 1.7), "vllm-ngram@4": (0.96, 0.9, 1.03), "llamacpp-ngram": (1.2, 1.1, 1.31),
           "llamacpp-ngram@4": (1.15, 1.06, 1.24)}  # fmt: skip
"""Throughput speedups with their intervals."""


def make(place: Path) -> Path:
    """Results of our loop and peers as the workflow makes them, and beside them those of engines."""
    made_up.make(place)
    made_up.publish(place, pages=False)
    for dataset in made_up.CELLS["m"]:
        for label in LABELS:
            _job(place, dataset, label)
    for name in ("timings", "throughput", "acceptance", "lossless", "speedup"):
        table = tables.read(place / f"{name}.csv")
        table = pd.concat([table, *(_rows(name, table, label) for label in LABELS)])
        tables.write(table.sort_values(["model", "dataset"], kind="stable"), place / f"{name}.csv")
    cells = [(model, dataset) for model, datasets in made_up.CELLS.items() for dataset in datasets]
    load = pd.DataFrame([_load(*cell, label) for cell in cells for label in LABELS])
    tables.write(load, place / "load.csv")
    _judge(place)
    return place


def publish(place: Path, grid: dict[str, Any] = GRID) -> Path:
    """Both pages; the folder that they are in."""
    config = {"seed": 0, "methods": {**synthetic.METHODS, **ENGINES}}
    arguments = ["--grid", json.dumps(grid), "--results", str(place), "--config", json.dumps(config)]
    report.main([*arguments, "--reports", str(place / "reports")])
    return place / "reports"


def at_one_load(results: Path, place: Path) -> Path:
    """The same results, had only one load been asked for."""
    shutil.copytree(results, place)
    for name in ("timings", "throughput", "acceptance", "lossless", "speedup", "load"):
        table = tables.read(place / f"{name}.csv")
        tables.write(table[~table["method"].str.contains("@")], place / f"{name}.csv")
    summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    summary["claims"] = [claim for claim in summary["claims"] if "@" not in claim["method"]]
    (place / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return place


def _like(label: str) -> str:
    """The method whose made-up samples an engine's are."""
    return "chain" if BASELINES[label] != label else "vanilla-again"


def _job(place: Path, dataset: str, label: str) -> None:
    folder = place / "m" / dataset
    shutil.copytree(folder / _like(label), folder / label)
    name, load = load_of(label)
    entry = ENGINES[name]

    def change(facts: dict[str, Any]) -> None:
        facts |= {"method": label, "profile": None}
        facts["spec"]["method"] = {"name": label, **entry}
        facts["conditions"] |= {"loop": VERSIONS[entry["method"]], "concurrency": load, "model": "org/m@0123"}
        facts["conditions"]["server"] = ["--max-num-seqs", "4"]
        command = [entry["method"], "serve", "/models/<m> x", "--port", "1234"]
        facts["pieces"][0] |= {"server_command": command, "engine_checks": None}

    made_up.edit_run(place, label, change, dataset)


def _rows(name: str, table: pd.DataFrame, label: str) -> pd.DataFrame:
    rows = table[table["method"] == _like(label)].assign(method=label)
    if name == "throughput":
        fast = {"vllm": 50.0, "llamacpp": 70.0}[BASELINES[label].partition("@")[0]]
        return rows.assign(throughput_tokens_per_second=fast / load_of(label)[1])
    if name == "speedup":
        return _speedup(rows, label)
    return rows


def _speedup(rows: pd.DataFrame, label: str) -> pd.DataFrame:
    over = {"over_reference": 2.5, "over_reference_low": 2.4, "over_reference_high": 2.6, "reference": "vanilla"}
    rows = rows.assign(baseline=BASELINES[label], same_as_baseline=0, fastest=0, variants=1, peer=0, **over)
    if BASELINES[label] == label:
        empty = [name for name in rows if "speedup" in name or name.startswith("simultaneous")]
        return rows.assign(**dict.fromkeys(empty, np.nan), noise_floor=1.01)
    value, low, high = FIGURES[label]
    ends = {"throughput_speedup": value, "throughput_speedup_low": low, "throughput_speedup_high": high}
    return rows.assign(fastest=1, noise_floor=1.01, **ends)


SAME = ("makespan_seconds", "makespan_tokens_per_second", "ttft_p50_seconds", "ttft_p95_seconds", "tpot_p50_seconds",
        "tpot_p95_seconds", "server_decode_seconds", "client_decode_seconds", "server_over_client",
        "client_cores")  # fmt: skip
ACCEPTED = ("acceptance_rate", "acceptance_rate_per_request", "acceptance_length", "acceptance_length_per_request")


def _load(model: str, dataset: str, label: str) -> dict[str, Any]:
    known = dict.fromkeys(ACCEPTED, 2.25 if BASELINES[label] != label else np.nan)
    load = load_of(label)[1]
    names = {"model": model, "dataset": dataset, "method": label, "concurrency": load}
    rate = {"requests": 48, "window_tokens_per_second": 321.0 * load}
    return {**names, **rate, **dict.fromkeys(SAME, 0.5), **known}


def _judge(place: Path) -> None:
    """Claims of the engines' variants, like that of the chain."""
    summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    for claim in [claim for claim in summary["claims"] if claim["method"] == "chain"]:
        for label in LABELS:
            if BASELINES[label] != label:
                said = f"{label} decodes {claim['dataset']} at 1.5× over {BASELINES[label]}."
                made = {"method": label, "baseline": BASELINES[label], "variants": 1, "fastest": 1, "claim": said}
                summary["claims"].append({**claim, **made, "kind": "faster", "reason": None})
    (place / "summary.json").write_text(json.dumps(summary), encoding="utf-8")

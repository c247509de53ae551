"""Judge each speedup: one sentence that can be pasted into a paper, or the reason why there is none.

Contract: a sentence stands only where the output is the model's (lossless.csv), the audit of files found nothing in
the job, its baseline or the tables (audit.csv), there are prompts enough, with several requests in flight also windows
of admissions enough, and few tainted pairs (claim_thresholds.py), and the interval clears both 1 and the noise floor:
see `against`. The floor is the interval of the baseline against a variant with the same entry (vanilla against
vanilla), taken as a factor both ways. The fastest of several variants was chosen for what was measured: its interval is
the one that holds for all of them at once. Pure: tables and facts in, plain data out.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from longspec.analysis import verdict
from longspec.analysis.claim_thresholds import LEAST_PROMPTS, LEAST_WINDOWS, TAINTED_AT_MOST
from longspec.analysis.tables import NAMES
from longspec.core.run_record import Conditions
from longspec.core.spec import load_of

SCHEMA_VERSION = 1
"""Version of summary.json (workflow/schemas/summary.schema.json)."""
DRIFT = 0.05
"""A run's steps that become this much slower or faster are worth a word, if the interval excludes 1."""
Row = dict[str, Any]


def floor(low: float, high: float) -> float:
    """Return the factor within which two equal sides differ, from the interval of their ratio; NaN without one."""
    return max(high, 1 / low) if low > 0 else float("nan")


def judge(row: Row, audit: pd.DataFrame, drift: dict[str, float], conditions: Conditions) -> Row:
    """Make one entry of summary.json's `claims`. `row`: of speedup.csv; `drift`: by method, of those that drifted."""
    broken = findings(row, audit)
    code, reason = against(row, broken)
    if code is None:
        kind, claim = "faster" if interval(row)[0] > 1 else "slower", sentence(row, drift, conditions)
    else:
        kind, claim = "withheld" if code in WITHHELD else "no difference shown", None
    facts = {key: _plain(row[key]) for key in KEPT}
    judged = {"audit": "fail" if broken else "pass", "kind": kind, "claim": claim}
    return {**facts, **judged, "reason": reason, "reason_code": code}


WITHHELD = (
    "not lossless",
    "engines differ",
    verdict.NOT_INVARIANT,
    "other number format",
    "audit",
    "too few samples",
    "busy machine",
    "noise not measured",
)


def interval(row: Row) -> tuple[float, float]:
    """Return the interval that a claim rests on: of the fastest of several, the one that knows of the choice."""
    kind = "simultaneous" if row["fastest"] and row["variants"] > 1 else "speedup"
    return row[f"{kind}_low"], row[f"{kind}_high"]


def against(row: Row, broken: list[str]) -> tuple[str | None, str | None]:
    """Return what stands against a claim of a row, as a code and in words; (None, None) where nothing does."""
    (low, high), limit = interval(row), row["noise_floor"]
    if row["verdict"] == "not lossless":
        return "not lossless", "its output is not the model's (lossless.csv)"
    if row["verdict"] == "engines differ":
        return "engines differ", "our engine and another library's do not say the same of one text (lossless.csv)"
    if row["verdict"] == verdict.NOT_INVARIANT:
        return (
            verdict.NOT_INVARIANT,
            f"{row['baseline']} does not give its own tokens again when asked alone (gate.jsonl)",
        )
    if row["verdict"] == "other number format":
        return "other number format", f"it ran in {row['number_format']}: a reference of speed alone"
    if broken:
        return "audit", f"the audit of files failed: {broken[0]} (audit.csv)"
    if math.isnan(low):
        return "too few samples", "too few samples with decoded tokens for an interval"
    if row["prompts_paired"] < LEAST_PROMPTS:
        return "too few samples", f"{row['prompts_paired']} paired prompts, fewer than {LEAST_PROMPTS}"
    if load_of(row["method"])[1] > 1 and not row["windows_paired"] >= LEAST_WINDOWS:
        return "too few samples", f"all slots were busy in {row['windows_paired']} windows, fewer than {LEAST_WINDOWS}"
    if row["tainted_pairs"] > TAINTED_AT_MOST * row["samples_paired"]:
        pairs = f"{row['tainted_pairs']} of {row['samples_paired']} pairs were timed while the machine was busy"
        return "busy machine", f"{pairs}, more than {TAINTED_AT_MOST:.0%}"
    if math.isnan(limit):
        return "noise not measured", "the noise floor was not measured: no second variant with the baseline's entry"
    nothing = f"no difference shown: the interval {_range(low, high)}"
    if low <= 1 <= high:
        return "includes 1", f"{nothing} includes 1"
    if low <= limit if low > 1 else high >= 1 / limit:
        return "noise floor", f"{nothing} does not clear the noise floor of {limit:.2f}×"
    return None, None


KEPT = (
    *NAMES,
    "concurrency",
    "baseline",
    "speedup",
    "speedup_low",
    "speedup_high",
    "variants",
    "fastest",
    "simultaneous_low",
    "simultaneous_high",
    "end_to_end_speedup",
    "end_to_end_speedup_low",
    "end_to_end_speedup_high",
    "equal_length_speedup",
    "prompts_paired",
    "samples_paired",
    "identical_outputs",
    "samples_slower",
    "noise_floor",
    "looping_pairs",
    "looping_differs",
    "verdict",
    "peer",
    "number_format",
    "reference_format",
    "reference",
    "over_reference",
    "over_reference_low",
    "over_reference_high",
    "tainted_pairs",
    "throughput_speedup",
    "throughput_speedup_low",
    "throughput_speedup_high",
    "windows_paired",
)


def findings(row: Row, audit: pd.DataFrame) -> list[str]:
    """List what the audit found in this job, in its baseline, or in a table."""
    failed = audit[audit["verdict"] == "fail"]
    here = (failed["model"] == row["model"]) & (failed["dataset"] == row["dataset"])
    mine = here & failed["method"].isin([row["method"], row["baseline"]])
    found = failed[mine | failed["method"].isna() | (failed["method"] == "")]
    return [f"{rule}: {finding}" for rule, finding in zip(found["rule"], found["finding"], strict=True)]


def sentence(row: Row, drift: dict[str, float], conditions: Conditions) -> str:
    """Write the claim."""
    name = labelled(row["method"], row["number_format"])
    parts = [
        f"{name} decodes {row['dataset']} with {row['model']} at {row['speedup']:.2f}× "
        f"(95% interval {_of_choice(row)}, n = {row['prompts_paired']}, paired by prompt) over {row['baseline']}, "
        f"{conditions.sampling}, {conditions.dtype}, {_load(conditions)}, "
        f"at most {conditions.max_new_tokens} new tokens, on {conditions.device} ({conditions.threads} threads)",
        *_throughput(row),
        *_over_reference(row),
        f"end to end {row['end_to_end_speedup']:.2f}× "
        f"({_range(row['end_to_end_speedup_low'], row['end_to_end_speedup_high'])})",
        outputs(row),
    ]
    if row["looping_pairs"]:  # they draft well in any method: whoever has none wants the other figure
        parts.append(
            f"the {row['looping_pairs']} pairs with looping outputs {_times(row['looping_speedup'])}, "
            f"the others {_times(row['other_speedup'])}"
        )
    parts += [
        f"{name}'s steps took {value:.2f} times as long in the second half of its run" for name, value in drift.items()
    ]
    if row["tainted_pairs"]:
        parts.append(f"{row['tainted_pairs']} of {row['samples_paired']} pairs timed while the machine was busy")
    parts.append(f"noise floor {row['noise_floor']:.2f}×")
    return "; ".join(parts) + "."


def _load(conditions: Conditions) -> str:
    """Say how many texts were decoded at once, and by which engine if it is not our loop."""
    if conditions.server is None:
        return "batch 1"
    several = "s" if conditions.concurrency != 1 else ""
    return f"by {conditions.loop}, {conditions.concurrency} request{several} in flight"


def _throughput(row: Row) -> list[str]:
    """Write what all requests in flight gain together, where there are several."""
    if load_of(row["method"])[1] == 1 or math.isnan(row["throughput_speedup"]):
        return []
    ends = _range(row["throughput_speedup_low"], row["throughput_speedup_high"])
    figure = f"tokens a second with all slots busy {row['throughput_speedup']:.2f}× ({ends}"
    return [f"{figure}, {int(row['windows_paired'])} windows of admissions)"]


def _of_choice(row: Row) -> str:
    """Write the interval, and the choice that it is corrected for."""
    chosen = f", corrected for being the fastest of {row['variants']} variants"
    return _range(*interval(row)) + (chosen if row["fastest"] and row["variants"] > 1 else "")


def _times(speedup: float) -> str:
    return "–" if math.isnan(speedup) else f"{speedup:.2f}×"


def _over_reference(row: Row) -> list[str]:
    """Write the second speedup, which stands beside the first wherever a reference ran."""
    if math.isnan(row["over_reference"]) or row["method"] == row["reference"]:
        return []
    interval = _range(row["over_reference_low"], row["over_reference_high"])
    return [f"{row['over_reference']:.2f}× ({interval}) over {labelled(row['reference'], row['reference_format'])}"]


def labelled(name: str, number_format: Any) -> str:
    """Return a method's name, with its number format where that is not the baseline's."""
    return name if number_format is None or pd.isna(number_format) else f"{name} ({number_format})"


def references(speedups: pd.DataFrame) -> list[Row]:
    """Divide the baseline's throughput by the reference's, by model and data set: is the baseline weak?"""
    rows = speedups[(speedups["method"] == speedups["reference"]) & (speedups["speedup"] > 0)]
    return [
        {
            "model": row["model"],
            "dataset": row["dataset"],
            "reference": labelled(row["reference"], row["reference_format"]),
            "baseline_over_reference": 1 / row["speedup"],
            "low": _plain(1 / row["speedup_high"]),
            "high": _plain(1 / row["speedup_low"]),
        }
        for row in rows.to_dict("records")
    ]


def outputs(row: Row) -> str:
    """Say in words how the outputs compare with the baseline's."""
    if row["verdict"] == "identical":
        return "outputs identical"
    if row["verdict"] == "ties only":
        return (
            f"outputs identical up to rounding ties ({row['identical_outputs']} of {row['samples_paired']} identical)"
        )
    return str(row["verdict"])


def drifted(throughput: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Find the jobs whose steps became slower or faster on the way, from throughput.csv."""
    moved = (throughput["drift"] - 1).abs() > DRIFT
    sure = (throughput["drift_low"] > 1) | (throughput["drift_high"] < 1)
    rows = throughput[moved & sure]
    return {(str(r["model"]), str(r["dataset"]), str(r["method"])): float(r["drift"]) for r in rows.to_dict("records")}


def engines(speedups: pd.DataFrame) -> list[Row]:
    """List each served engine without speculation: its rate over our loop's baseline, and if both say the same."""
    kept = (
        *NAMES,
        "concurrency",
        "verdict",
        "reference",
        "over_reference",
        "over_reference_low",
        "over_reference_high",
    )
    rows = speedups[speedups["method"] == speedups["baseline"]].to_dict("records")
    return [{key: _plain(row[key]) for key in kept} for row in rows]


def verdict_line(claims: list[Row], audit: pd.DataFrame, references: list[Row], engines: list[Row]) -> dict[str, str]:
    """Write four short answers for the top of a report: lossless? audit? noise? is the baseline weak?"""
    judged = [*claims, *engines]
    lossy = [row for row in judged if row["verdict"] in verdict.NOT_THE_MODEL]
    failed = int((audit["verdict"] == "fail").sum())
    limits = [claim["noise_floor"] for claim in claims if claim["noise_floor"] is not None]
    kinds = sorted({row["verdict"] for row in judged})
    widest = f"at most {max(limits):.2f}×" if limits else "not measured"
    return {
        "lossless": f"no: {len(lossy)} of {len(judged)} methods" if lossy else ", ".join(kinds) or "nothing to compare",
        "audit": f"{failed} of {len(audit)} checks failed" if failed else f"all {len(audit)} checks passed",
        "noise": widest,
        "baseline": _weak(references),
    }


def _weak(references: list[Row]) -> str:
    if not references:
        return "not compared with another library's"
    factors = [row["baseline_over_reference"] for row in references]
    spread = f"{min(factors):.2f}" if len(factors) == 1 else f"{min(factors):.2f} to {max(factors):.2f}"
    return f"{spread}× as fast as {references[0]['reference']}"


def _range(low: float, high: float) -> str:
    return f"{low:.2f} to {high:.2f}"


def _plain(value: Any) -> Any:
    """JSON's own: no NaN, no numpy."""
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value

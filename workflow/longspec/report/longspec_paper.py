"""The page beside LongSpec's published figures: its cells, ours of the same model and data set, and its counting.

Contract: a cell of ours stands beside theirs only if the configuration names the same repository and task and decodes
greedily; it is empty where nothing was run. Every figure by LongSpec's rules is computed again from timings.csv.
The published figures are data (templates/longspec.csv; arXiv 2502.17421, temperature 0, one A100).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from longspec.analysis import runs, tables
from longspec.analysis.timings import SUMMED, finished
from longspec.core import registry
from longspec.report import page

TARGETS = {
    "V-7B": "lmsys/vicuna-7b-v1.5-16k",
    "V-13B": "lmsys/vicuna-13b-v1.5-16k",
    "LC-7B": "lmsys/longchat-7b-v1.5-32k",
    "LC-13B": "lmsys/longchat-13b-16k",
    "L-8B": "gradientai/Llama-3-8B-Instruct-262k",
    "QwQ-32B": "Qwen/QwQ-32B-Preview",
}
"""The paper's names and the repositories that its scripts load."""
PUBLISHED = page.TEMPLATES / "longspec.csv"
"""LongSpec's published figures."""
AIME = "AI-MO/aimo-validation-aime"
BASE, TREE = "vanilla_fa", "longspec_tree"
Rows = list[dict[str, Any]]


def render(grid: runs.Grid, config: dict[str, Any], results: Path) -> str:
    """The page as text."""
    table = pd.read_csv(PUBLISHED)
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    acceptance = tables.read(results / "acceptance.csv")
    throughput = tables.read(results / "throughput.csv")
    timings = tables.read(results / "timings.csv")
    ours = _ours(config, summary, acceptance, throughput)
    return page.template("paper.html.j2").render(
        summary=summary,
        theirs=beside(table, ours),
        matched=sum(map(len, ours.values())),
        counting=counting(timings, grid, config)[: page.MOST_ROWS],
        settings=table[~table["setting"].isin([BASE, TREE])].to_dict("records"),
    )


def _ours(
    config: dict[str, Any], summary: dict[str, Any], acceptance: pd.DataFrame, throughput: pd.DataFrame
) -> dict[tuple[str, str], Rows]:
    """(repository, task) to our figures, of models and data sets that are LongSpec's, decoded greedily."""
    if config.get("sampling", {}).get("temperature", 0) > 0:
        return {}
    lengths = acceptance.set_index(tables.NAMES)["acceptance_length"]
    rates = throughput.set_index(tables.NAMES)["throughput_tokens_per_second"]
    found: dict[tuple[str, str], Rows] = {}
    for claim in summary["claims"]:
        names = (claim["model"], claim["dataset"], claim["method"])
        hub, task = _identity(config, *names[:2])
        if hub in TARGETS.values() and task:
            row = {**claim, "acceptance_length": lengths[names], "tokens_per_second": rates[names]}
            found.setdefault((hub, task), []).append(row)
    return found


def _identity(config: dict[str, Any], model: str, dataset: str) -> tuple[str, str]:
    """What a model and a data set of the configuration are, whatever they are called."""
    entry = config.get("datasets", {}).get(dataset, {})
    task = entry.get("task") or ("aime24" if entry.get("repository") == AIME else "")
    return str(config.get("models", {}).get(model, {}).get("hub", "")), str(task)


def beside(published: pd.DataFrame, ours: dict[tuple[str, str], Rows]) -> Rows:
    """One row a published cell of LongSpec's own method, and one more for each further method of ours."""
    base = published[published["setting"] == BASE].set_index(["model", "dataset"])["tokens_per_second"]
    rows = []
    for row in published[published["setting"] == TREE].to_dict("records"):
        cell = (row["model"], row["dataset"])
        theirs = {
            "model": row["model"],
            "dataset": row["dataset"],
            "LongSpec: vanilla, tokens per second": base[cell],
            "LongSpec: tree, tokens per second": row["tokens_per_second"],
            "LongSpec: acceptance length": row["acceptance_length"],
            "LongSpec: speedup": row["speedup"],
        }
        mine = ours.get((TARGETS[row["model"]], row["dataset"]), [])
        rows += [{**theirs, **_cells(claim)} for claim in mine] or [{**theirs, **_cells({})}]
    return rows


def _cells(claim: dict[str, Any]) -> dict[str, Any]:
    low, high = claim.get("speedup_low"), claim.get("speedup_high")
    return {
        "ours: method": claim.get("method"),
        "ours: tokens per second": claim.get("tokens_per_second"),
        "ours: acceptance length": claim.get("acceptance_length"),
        "ours: speedup": claim.get("speedup"),
        "ours: 95% interval": f"{low:.2f} to {high:.2f}" if low is not None and high is not None else None,
        "ours: verdict": claim.get("verdict"),
    }


def counting(timings: pd.DataFrame, grid: runs.Grid, config: dict[str, Any]) -> Rows:
    """Acceptance length, tokens per second and speedup of each method that drafts: by our rule and by theirs.

    Theirs is the rule of the method's kind and of the experiment's temperature; its vanilla counts a token a step."""
    summed = [*SUMMED, "turns"]
    sums = finished(timings).groupby(tables.NAMES, sort=False)[summed].sum().to_dict("index")
    sampled = config.get("sampling", {}).get("temperature", 0) > 0
    rows = []
    for names, job in sums.items():
        model, dataset, method = map(str, names if isinstance(names, tuple) else (names,))
        base = sums.get((model, dataset, grid["baseline"]))
        if not job["drafted_tokens"] or base is None or not base["decode_seconds"]:
            continue
        seconds, decoded = job["decode_seconds"], job["output_tokens"] - job["prefill_tokens"]
        vanilla = (base["output_tokens"] - base["prefill_tokens"]) / base["decode_seconds"]
        rules = {"ours": (decoded, job["verification_steps"])}
        if entry := config["methods"].get(method):  # of one that the configuration no longer has, no rule is known
            rules |= _theirs(job, registry.branches(entry["method"]), sampled)
        for rule, (tokens, steps) in rules.items():
            rows.append(
                {
                    "model": model,
                    "dataset": dataset,
                    "method": method,
                    "rule": rule,
                    "acceptance length": tokens / steps,
                    "tokens per second": tokens / seconds,
                    "speedup": tokens / seconds / vanilla,
                    "moves the speedup by": f"{100 * (tokens / decoded - 1):+.0f} %",
                }
            )
    return rows


def _theirs(job: dict[Any, Any], tree: bool, sampled: bool) -> dict[str, tuple[float, float]]:
    """LongSpec's rule by name: the tokens and the steps that it counts (its scripts at 15e4998, run on a CPU).

    With A accepted drafts, S steps and P prefills: a chain counts A + S tokens in S steps; a tree P more of both; above
    temperature 0 a tree's accepted list holds the root as well, which is S tokens more that nobody generated."""
    accepted, steps, prefills = job["accepted_tokens"], job["verification_steps"], job["turns"]
    if not tree:
        return {"LongSpec's, of a chain": (accepted + steps, steps)}
    if not sampled:
        return {"LongSpec's, of a tree at temperature 0: prefill's": (accepted + steps + prefills, steps + prefills)}
    name = "LongSpec's, of a tree above temperature 0: prefill's, and a phantom token a step"
    return {name: (accepted + 2 * steps + prefills, steps + prefills)}

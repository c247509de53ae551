"""The page beside LongSpec's published figures: its cells, ours of the same model and data set, and its counting.

Contract: a figure of ours stands beside theirs only if the configuration names the same repository and task and decodes
greedily; its place is empty where nothing was run. Every figure by LongSpec's rules is computed again from timings.csv.
The published figures are data (templates/longspec.csv; arXiv 2502.17421, temperature 0, one A100).
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from longspec.analysis import tables
from longspec.analysis.timings import SUMMED, finished
from longspec.core import registry
from longspec.report import page
from longspec.report.results import Claim, Config, Results, by_names, rows_of

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
HEADS = {
    "vanilla_tokens_per_second": "LongSpec: vanilla, tokens per second",
    "tree_tokens_per_second": "LongSpec: tree, tokens per second",
    "acceptance_length": "LongSpec: acceptance length",
    "speedup": "LongSpec: speedup",
    "our_method": "ours: method",
    "our_tokens_per_second": "ours: tokens per second",
    "our_acceptance_length": "ours: acceptance length",
    "our_speedup": "ours: speedup",
    "our_interval": "ours: 95% interval",
    "our_verdict": "ours: verdict",
}
"""Headings of a comparison's columns."""


@dataclass(frozen=True)
class Published:
    """A row of longspec.csv."""

    model: str
    setting: str
    dataset: str
    acceptance_length: float
    tokens_per_second: float
    speedup: float | None


@dataclass(frozen=True)
class Ours:
    """One method's figures of this experiment; all None where nothing was run."""

    our_method: str | None = None
    our_tokens_per_second: float | None = None
    our_acceptance_length: float | None = None
    our_speedup: float | None = None
    our_interval: str | None = None
    our_verdict: str | None = None


@dataclass(frozen=True)
class JobSums:
    """What the samples of one job come to together."""

    model: str
    dataset: str
    method: str
    turns: int
    output_tokens: int
    prefill_tokens: int
    verification_steps: int
    drafted_tokens: int
    accepted_tokens: int
    decode_seconds: float

    @property
    def decoded_tokens(self) -> int:
        """Tokens after those of prefill."""
        return self.output_tokens - self.prefill_tokens


@dataclass(frozen=True)
class Counted:
    """One method's figures by one counting rule."""

    model: str
    dataset: str
    method: str
    rule: str
    acceptance_length: float
    tokens_per_second: float
    speedup: float
    moves_the_speedup_by: str


def render(results: Results) -> str:
    """Write the page."""
    published = pd.read_csv(PUBLISHED)
    ours = _ours(results)
    return page.template("paper.html.j2").render(
        summary=results.summary,
        theirs=beside(rows_of(published, Published, PUBLISHED.name), ours),
        matched=sum(map(len, ours.values())),
        counting=pd.DataFrame(counting(results)),
        settings=published[~published["setting"].isin([BASE, TREE])],
    )


def _ours(results: Results) -> dict[tuple[str, str], list[Ours]]:
    """(repository, task) to our figures, of models and data sets that are LongSpec's, decoded greedily."""
    found: dict[tuple[str, str], list[Ours]] = {}
    if results.config.sampling.temperature > 0:
        return found
    lengths = by_names(results.tables["acceptance"], "acceptance_length")
    rates = by_names(results.tables["throughput"], "throughput_tokens_per_second")
    for claim in results.summary.claims:
        if claim.method in results.served:
            continue  # LongSpec's scripts time a loop of their own, as ours do
        hub, task = _identity(results.config, claim.model, claim.dataset)
        if hub in TARGETS.values() and task:
            names = (claim.model, claim.dataset, claim.method)
            found.setdefault((hub, task), []).append(_figures(claim, rates.get(names), lengths.get(names)))
    return found


def _identity(config: Config, model: str, dataset: str) -> tuple[str, str]:
    """Identify a model and a data set of the configuration by where they come from, not by their names."""
    hub = config.models[model].hub if model in config.models else None
    entry = config.datasets.get(dataset)
    task = (entry.task or ("aime24" if entry.repository == AIME else "")) if entry else ""
    return hub or "", task


def _figures(claim: Claim, rate: float | None, length: float | None) -> Ours:
    low, high = claim.speedup_low, claim.speedup_high
    interval = None if low is None or high is None else f"{low:.2f} to {high:.2f}"
    return Ours(claim.method, rate, length, claim.speedup, interval, claim.verdict)


def beside(published: list[Published], ours: dict[tuple[str, str], list[Ours]]) -> pd.DataFrame:
    """Make a row for each published cell of LongSpec's own method, and one more for each further method of ours."""
    base = {(row.model, row.dataset): row.tokens_per_second for row in published if row.setting == BASE}
    rows = []
    for row in (row for row in published if row.setting == TREE):
        theirs = {
            "model": row.model,
            "dataset": row.dataset,
            "vanilla_tokens_per_second": base[row.model, row.dataset],
            "tree_tokens_per_second": row.tokens_per_second,
            "acceptance_length": row.acceptance_length,
            "speedup": row.speedup,
        }
        mine = ours.get((TARGETS[row.model], row.dataset)) or [Ours()]
        rows += [{**theirs, **vars(one)} for one in mine]
    return pd.DataFrame(rows).rename(columns=HEADS)


def counting(results: Results) -> list[Counted]:
    """Count each method that drafts by our rule and by theirs: acceptance length, tokens per second, speedup.

    Theirs is the rule of the method's kind and of the experiment's temperature; its vanilla counts a token a step."""
    config, grid = results.config, results.grid
    summed = finished(results.tables["timings"]).groupby(tables.NAMES, sort=False)[[*SUMMED, "turns"]].sum()
    jobs = rows_of(summed.reset_index(), JobSums, "timings.csv")
    baselines = {(job.model, job.dataset): job for job in jobs if job.method == grid["baseline"]}
    rows = []
    for job in jobs:
        if job.method in results.served:
            continue
        base = baselines.get((job.model, job.dataset))
        if not job.drafted_tokens or base is None or not base.decode_seconds:
            continue
        vanilla = base.decoded_tokens / base.decode_seconds
        rules = {"ours": (job.decoded_tokens, job.verification_steps)}
        if entry := config.methods.get(job.method):  # of one that the configuration no longer has, no rule is known
            rules |= _theirs(job, registry.branches(entry.method), config.sampling.temperature > 0)
        rows += [_counted(job, rule, *counts, vanilla) for rule, counts in rules.items()]
    return rows


def _counted(job: JobSums, rule: str, tokens: int, steps: int, vanilla: float) -> Counted:
    """One method's figures from the tokens and steps that a rule counts; `vanilla` in tokens per second."""
    rate = tokens / job.decode_seconds
    moved = f"{100 * (tokens / job.decoded_tokens - 1):+.0f} %"
    return Counted(job.model, job.dataset, job.method, rule, tokens / steps, rate, rate / vanilla, moved)


def _theirs(job: JobSums, tree: bool, sampled: bool) -> dict[str, tuple[int, int]]:
    """LongSpec's rule by name: the tokens and the steps that it counts (its scripts at 15e4998, run on a CPU).

    With A accepted drafts, S steps and P prefills: a chain counts A + S tokens in S steps; a tree P more of both; above
    temperature 0 a tree's accepted list holds the root as well, which is S tokens more that nobody generated."""
    accepted, steps, prefills = job.accepted_tokens, job.verification_steps, job.turns
    if not tree:
        return {"LongSpec's, of a chain": (accepted + steps, steps)}
    if not sampled:
        return {"LongSpec's, of a tree at temperature 0: prefill's": (accepted + steps + prefills, steps + prefills)}
    name = "LongSpec's, of a tree above temperature 0: prefill's, and a phantom token a step"
    return {name: (accepted + 2 * steps + prefills, steps + prefills)}

"""Rules of the audit of files: are two sides of a speedup the same in all but the method?

Contract: each rule is a question to the files alone, answered by an empty text (it holds) or by a finding that names
what breaks it. Nothing is asked of the code that made them, so that a fault there cannot hide itself. It does not know
methods; `unlike` conditions are findings here, where the step `speedup` refuses them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import zip_longest

from longspec.analysis.runs import Run
from longspec.analysis.speedup import unlike
from longspec.core import registry
from longspec.core.records import Comparison, Sample, Turn, first_divergence, ids_sha256
from longspec.core.run_record import Conditions, RunRecord
from longspec.verify import audit_served

COLUMNS = ["model", "dataset", "method", "rule", "verdict", "finding"]
GROUPS = {
    "same sampling": ("sampling", "verification", "seed"),
    "same limits": ("max_new_tokens", "context_tokens", "stop_ids"),
    "same number format, attention and device": ("dtype", "attention", "engine", "device", "threads"),
}
"""Which conditions each rule compares; those in no rule belong to `same other conditions`."""
OWN = ("prompts_sha256", "warmup")
WRITTEN = "samples are those that the run wrote"
WHOLE_SHARE = 0.02
"""By how much the parts of a time may miss the whole, where a whole is recorded."""
TICK = 0.001
"""Seconds between the readings of two clocks that are no fault."""


def job(run: Run, baseline: Run) -> dict[str, str]:
    """Ask every rule of one job: rule to finding; the baseline is audited beside itself."""
    ours, theirs = run.record, baseline.record
    differ = unlike(ours, theirs)
    listed = {key for keys in GROUPS.values() for key in keys} | set(OWN)
    stops = _stop_ids(run) | _stop_ids(baseline) | set(ours.conditions.stop_ids)
    return {
        "same prompts": _named(differ, ("prompts_sha256",)) or _prompts(run, baseline),
        **{rule: _named(differ, keys) for rule, keys in GROUPS.items()},
        "same other conditions": _named([d for d in differ if d[0] not in listed], None),
        "same warm-up": _named(differ, ("warmup",)) or _warm_up(ours, theirs),
        "same code, so the same clock and counting": _code(ours, theirs),
        "same end of text": _first(run, lambda turn: _end(turn, ours.conditions, stops)),
        "no output cut": _cut(run),
        "tokens are those of the steps": _first(run, _tokens),
        "accepted ≤ offered ≤ drafted": _first(run, _order),
        "times are whole": _first(run, _times),
        WRITTEN: _written(run),
        "the engine was checked against transformers": _engine(ours),
        **(_served(run, baseline) if ours.served else {}),
    }


def _served(run: Run, baseline: Run) -> dict[str, str]:
    """Ask the rules of a served engine's answers."""
    return {
        "times are those of the chunks": _first(run, audit_served.chunks),
        "drafts are those of the tokens": _first(run, audit_served.counts),
        "requests in flight are the load's, in one order": audit_served.load(run, baseline),
        "the server had the flags that are compared": audit_served.command(run.record),
    }


def _named(differ: list[tuple[str, object, object]], keys: tuple[str, ...] | None) -> str:
    found = [
        f"{key}: {ours!r}, the baseline's {theirs!r}" for key, ours, theirs in differ if keys is None or key in keys
    ]
    return "; ".join(found)


def _first(run: Run, question: Callable[[Turn], str]) -> str:
    """Return the first finding among the turns, with its place."""
    for sample in run.samples:
        for number, turn in enumerate(sample.turns):
            if finding := question(turn):
                return f"sample {sample.sample_id}, repeat {sample.repeat}, turn {number}: {finding}"
    return ""


def _prompts(run: Run, baseline: Run) -> str:
    """Check that first turns are those of prompts.jsonl, and later ones the baseline's after equal answers."""
    expected = {key: (len(p.prompt_ids), ids_sha256(p.prompt_ids)) for key, p in run.prompts.items()}
    theirs = {(s.sample_id, s.repeat): s.turns for s in baseline.samples}
    for sample in run.samples:
        where = f"sample {sample.sample_id}, repeat {sample.repeat}"
        others = theirs.get((sample.sample_id, sample.repeat), [])
        for number, turn in enumerate(sample.turns):
            asked = (turn.prompt_tokens, turn.prompt_sha256)
            if number == 0 and asked != expected[sample.sample_id]:
                return f"{where}: its prompt is not the one in prompts.jsonl"
            if (
                number
                and number < len(others)
                and asked != (others[number].prompt_tokens, others[number].prompt_sha256)
            ):
                return f"{where}, turn {number}: after equal answers its prompt is not the baseline's"
            if number >= len(others) or turn.output_ids != others[number].output_ids:
                break
    return ""


def _warm_up(run: RunRecord, baseline: RunRecord) -> str:
    ours, theirs = ([(s.prompt_tokens, s.output_tokens) for s in side.warmup_samples] for side in (run, baseline))
    if ours == theirs and len(ours) == run.conditions.warmup:
        return ""
    return f"(prompt, output) tokens of the warm-up: {ours}, the baseline's {theirs}"


def _code(run: RunRecord, baseline: RunRecord) -> str:
    """Check that both runs were made by the same commit and libraries, so that one loop timed and counted for both."""
    keys = ("git_commit", "packages", "python")
    found = [(key, getattr(run.environment, key), getattr(baseline.environment, key)) for key in keys]
    differ = [f"{key}: {ours!r}, the baseline's {theirs!r}" for key, ours, theirs in found if ours != theirs]
    return "; ".join(differ) + ("; generate both again" if differ else "")


def _stop_ids(run: Run) -> set[int]:
    """Collect the ids at which texts ended."""
    return {t.output_ids[-1] for s in run.samples for t in s.turns if t.stop_reason == "eos" and t.output_ids}


def _engine(run: RunRecord) -> str:
    """Check that each process of our loop had a record of the check of the engine that it ran, or fell back from."""
    if registry.decodes(run.spec["method"]["method"]) != "methods":
        return ""  # transformers' models as they are, or an engine of somebody else's
    for piece in run.pieces:
        records = piece.engine_checks or {}
        record = records.get("target")
        if record is None:
            return f"the process on {piece.host} has no record of a check"
        ran = run.conditions.engine
        if ran not in (record.engine, "eager" if record.engine == "graphs" else None):
            return f"engine {ran} ran; the check was of {record.engine}"
        for model, found in records.items():
            if not found.distance <= found.bound:
                return f"{model}: its logits are {found.distance} from transformers', bound {found.bound}"
    return ""


def _end(turn: Turn, conditions: Conditions, stops: set[int]) -> str:
    """Check that a text goes on to a stop id, the limit or the end of the context, and not a token further."""
    ids, unlimited = turn.output_ids, float("inf")
    limit, context = conditions.max_new_tokens or unlimited, conditions.context_tokens or unlimited
    if turn.failed:
        return ""
    if not ids:
        return "no output"
    early = next((n for n, token in enumerate(ids[:-1]) if token in stops), None)
    if early is not None:
        return f"goes on for {len(ids) - 1 - early} tokens after id {ids[early]}, at which other texts end"
    if len(ids) > limit:
        return f"{len(ids)} tokens, where {limit} are the limit"
    if turn.stop_reason != "eos" and ids[-1] in stops:
        return f"ends with id {ids[-1]}, at which other texts end, and calls that {turn.stop_reason!r}"
    if turn.stop_reason == "limit" and len(ids) < limit:
        return f"ends by the limit after {len(ids)} tokens; the limit is {limit}"
    if turn.stop_reason == "context" and turn.prompt_tokens + len(ids) - 1 < context:
        return f"ends by the context at {turn.prompt_tokens + len(ids) - 1} of {context} tokens"
    return ""


def _cut(run: Run) -> str:
    """Check that no sample failed and every turn has its answer: else two sides did different work."""
    for sample in run.samples:
        if sample.failed:
            return f"sample {sample.sample_id}, repeat {sample.repeat}: ended by {sample.turns[-1].stop_reason!r}"
        missing = len(run.prompts[sample.sample_id].turns) - len(sample.turns)
        if missing:
            return f"sample {sample.sample_id}, repeat {sample.repeat}: {missing} turns without an answer"
    return ""


def _tokens(turn: Turn) -> str:
    """Check that tokens are those of prefill + sum of (accepted + 1) over steps; a drafted end has no bonus token.

    Of an engine that tells totals alone, audit_served.py asks that of them."""
    if turn.failed or (turn.served is not None and not turn.steps):
        return ""
    counted = turn.prefill_tokens + sum(step[2] + 1 for step in turn.steps)
    ends_drafted = bool(turn.steps) and turn.steps[-1][2] > 0
    if len(turn.output_ids) == counted or (ends_drafted and len(turn.output_ids) == counted - 1):
        return ""
    return f"{len(turn.output_ids)} tokens stored; the steps account for {counted}"


def _order(turn: Turn) -> str:
    for number, (drafted, offered, accepted) in enumerate(turn.steps):
        if not 0 <= accepted <= offered <= drafted or offered > accepted + 1:
            return f"step {number}: {drafted} drafted, {offered} offered, {accepted} accepted"
    return ""


def _times(turn: Turn) -> str:
    """Check that seconds are numbers and not below zero, steps took time, and parts make the whole that is recorded."""
    parts = (turn.prefill_seconds, turn.drafter_prefill_seconds, turn.decode_seconds)
    if not all(math.isfinite(part) and part >= 0 for part in parts):
        return f"seconds are {parts}"
    if turn.steps and not turn.decode_seconds and not turn.failed:
        return f"{len(turn.steps)} steps in no time"
    whole = turn.total_seconds
    if whole and abs(sum(parts) - whole) > max(WHOLE_SHARE * whole, TICK):
        return f"the parts sum to {sum(parts)} s; the whole is {whole} s"
    return ""


def _written(run: Run) -> str:
    """Check that samples.jsonl has the hash that run.json holds, as its job left it."""
    said = run.record.samples_sha256
    return "" if said == run.samples_sha256 else f"hashes to {run.samples_sha256}; run.json says {said}"


def gate(comparisons: list[Comparison], samples: list[Sample], baseline: Run) -> str:
    """Find out whether a gate compared these samples with the baseline's, as they stand now."""
    theirs = {(s.sample_id, s.repeat): s for s in baseline.samples}
    for found, sample in zip_longest(comparisons, samples):
        other = sample and theirs.get((sample.sample_id, sample.repeat))
        if found is None or other is None or (found.sample_id, found.repeat) != (sample.sample_id, sample.repeat):
            return "its samples are not those of samples.jsonl"
        said = None if found.identical else (found.turn, found.position)
        parted = first_divergence(sample, other)
        # Under the residual rule the gate does not say where outputs part.
        if said != parted and not (found.quantiles and (said is None) == (parted is None)):
            return f"sample {sample.sample_id}: parts from the baseline at {said}; samples.jsonl says {parted}"
    return ""

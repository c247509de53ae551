"""Compare a method's outputs with vanilla's; where they part, measure whether the target's choice was a tie.

Contract: one Comparison per sample. Without divergences neither torch nor a model is loaded, and no server is started;
how one is measured is divergence.py's, of two outputs of one served engine served_divergence.py's.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from longspec.core import registry
from longspec.core.errors import UserError
from longspec.core.records import Comparison, Prompt, Sample, first_divergence
from longspec.core.run_record import RunRecord
from longspec.core.spec import GenerateSpec

RECORDED = ("engine", "numerics", "dtype")
"""What `auto` came to in a job, so that the gate runs the engine that answered and not the one of this machine."""


def as_recorded(spec: GenerateSpec, run: RunRecord, vanilla: RunRecord) -> GenerateSpec:
    """Put the engine that a job's comparison is about into its spec: its own of our loop's, else vanilla's; and where
    both sides are a served engine's, the other side's whole variant, by whose server they are judged."""
    if served(run) and served(vanilla):
        found = {"method": vanilla.spec["method"], "dtype": vanilla.conditions.dtype}
        return cast(GenerateSpec, {**spec, **found})
    own = registry.decodes(spec["method"]["method"]) == "methods"
    conditions = (run if own else vanilla).conditions.stated()
    recorded = {key: value for key, value in conditions.items() if key in RECORDED}
    return cast(GenerateSpec, {**spec, **recorded})


def served(run: RunRecord) -> bool:
    """Tell if a job's samples are a served engine's."""
    return registry.decodes(run.spec["method"]["method"]) == "served"


def compare(
    spec: GenerateSpec,
    prompts: list[Prompt],
    ours: list[Sample],
    vanilla: list[Sample],
    nodes: int,
    measured: bool = True,
    logs: Path | None = None,
) -> list[Comparison]:
    """Make one Comparison for each of our samples; unless `measured`, it only says where outputs part.

    `logs`: where both sides are one served engine's, the folder for the log of the server that judges."""
    theirs = {(s.sample_id, s.repeat): s for s in vanilla}
    missing = [s for s in ours if (s.sample_id, s.repeat) not in theirs]
    if missing:
        raise UserError(
            f"sample {missing[0].sample_id!r}, repeat {missing[0].repeat}",
            "no output of vanilla's to be compared with",
            "one in vanilla's samples.jsonl",
        )
    pairs = [(sample, theirs[sample.sample_id, sample.repeat]) for sample in ours]
    known = [pair for pair in pairs if not (pair[0].lost or pair[1].lost)]
    found = iter(_compared(spec, prompts, known, nodes, logs) if measured else [_located(*pair) for pair in known])
    return [
        Comparison(mine.sample_id, mine.repeat, False, lost=True) if mine.lost or other.lost else next(found)
        for mine, other in pairs
    ]


def _compared(
    spec: GenerateSpec, prompts: list[Prompt], pairs: list[tuple[Sample, Sample]], nodes: int, logs: Path | None
) -> list[Comparison]:
    drawn = registry.verification(spec) != "keyed"
    if not pairs or (not drawn and all(first_divergence(*pair) is None for pair in pairs)):
        return [Comparison(sample.sample_id, sample.repeat, identical=True) for sample, _ in pairs]
    from longspec.verify import divergence, served_divergence  # torch and models, where something is to be measured
    from longspec.verify.engine.jobs import with_engine

    if logs is not None and not drawn:
        return served_divergence.measure(spec, prompts, pairs, logs)
    if logs is not None:  # samples of a distribution are held against the target's, by an engine of ours
        spec = with_engine(spec)
    return divergence.measure(spec, prompts, pairs, nodes, drawn)


def _located(ours: Sample, vanilla: Sample) -> Comparison:
    parted = first_divergence(ours, vanilla)
    return Comparison(ours.sample_id, ours.repeat, parted is None, *(parted or ()))


def most_nodes(samples: list[Sample]) -> int:
    """Find the size of the largest tree that was verified, root included."""
    return 1 + max((step[0] for s in samples for turn in s.turns for step in turn.steps), default=0)

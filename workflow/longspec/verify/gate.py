"""Is one method's output vanilla's, and where it is not, was the target's choice a tie there?

Contract: one Comparison per sample. Without divergences neither torch nor a model is loaded; how one is measured is
divergence.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from longspec.core import registry
from longspec.core.errors import UserError
from longspec.core.records import Comparison, Prompt, Sample, first_divergence
from longspec.core.spec import GenerateSpec

RECORDED = ("engine", "numerics", "dtype")
"""What `auto` came to in a job, so that the gate runs the engine that answered and not the one of this machine."""


def as_recorded(spec: GenerateSpec, facts: Mapping[str, Any], vanilla: Mapping[str, Any]) -> GenerateSpec:
    """A job's spec with the engine of ours that its comparison is about, from the run.json of the job and of vanilla:
    its own, or where a peer answered, vanilla's."""
    peer = registry.decodes(spec["method"]["method"]) == "peers"
    conditions = (vanilla if peer else facts)["conditions"]
    recorded = {key: value for key, value in conditions.items() if key in RECORDED}
    return cast(GenerateSpec, {**spec, **recorded})


def compare(
    spec: GenerateSpec,
    prompts: list[Prompt],
    ours: list[Sample],
    vanilla: list[Sample],
    nodes: int,
    measured: bool = True,
) -> list[Comparison]:
    """One Comparison for each of our samples; unless `measured`, only where outputs part is said."""
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
    found = iter(_compared(spec, prompts, known, nodes) if measured else [_located(*pair) for pair in known])
    return [
        Comparison(mine.sample_id, mine.repeat, False, lost=True) if mine.lost or other.lost else next(found)
        for mine, other in pairs
    ]


def _compared(
    spec: GenerateSpec, prompts: list[Prompt], pairs: list[tuple[Sample, Sample]], nodes: int
) -> list[Comparison]:
    drawn = registry.verification(spec) != "keyed"
    if not pairs or (not drawn and all(first_divergence(*pair) is None for pair in pairs)):
        return [Comparison(sample.sample_id, sample.repeat, identical=True) for sample, _ in pairs]
    from longspec.verify import divergence  # torch and the model, where something is to be measured

    return divergence.measure(spec, prompts, pairs, nodes, drawn)


def _located(ours: Sample, vanilla: Sample) -> Comparison:
    parted = first_divergence(ours, vanilla)
    return Comparison(ours.sample_id, ours.repeat, parted is None, *(parted or ()))


def most_nodes(samples: list[Sample]) -> int:
    """The largest tree that was verified, root included."""
    return 1 + max((step[0] for s in samples for turn in s.turns for step in turn.steps), default=0)

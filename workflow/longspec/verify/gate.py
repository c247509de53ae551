"""Is one method's output vanilla's, and where it is not, was the target's choice a tie there?

Contract: one Comparison per sample. Without divergences neither torch nor a model is loaded; how one is measured is
divergence.py's.
"""

from __future__ import annotations

from typing import Any

from longspec.core import registry
from longspec.core.errors import UserError
from longspec.core.records import Comparison, Prompt, Sample, first_divergence


def compare(
    spec: dict[str, Any], prompts: list[Prompt], ours: list[Sample], vanilla: list[Sample], nodes: int
) -> list[Comparison]:
    """One Comparison for each of our samples."""
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
    found = iter(_compared(spec, prompts, known, nodes))
    return [
        Comparison(mine.sample_id, mine.repeat, False, lost=True) if mine.lost or other.lost else next(found)
        for mine, other in pairs
    ]


def _compared(
    spec: dict[str, Any], prompts: list[Prompt], pairs: list[tuple[Sample, Sample]], nodes: int
) -> list[Comparison]:
    drawn = registry.rule_name(spec) != "keyed"
    if not pairs or (not drawn and all(first_divergence(*pair) is None for pair in pairs)):
        return [Comparison(sample.sample_id, sample.repeat, identical=True) for sample, _ in pairs]
    from longspec.verify import divergence  # torch and the model, where something is to be measured

    return divergence.measure(spec, prompts, pairs, nodes, drawn)


def most_nodes(samples: list[Sample]) -> int:
    """The largest tree that was verified, root included."""
    return 1 + max((step[0] for s in samples for turn in s.turns for step in turn.steps), default=0)

"""Compute how many drafts the target accepted, four ways, and how that changes along a text.

Formulas, over the verification steps of the samples that did not fail (decoded tokens are output tokens without
those of prefill): acceptance rate = accepted / drafted; acceptance length = decoded tokens / steps; conditional
acceptance at position i = steps that accepted i drafts / steps that had an i-th draft to check; accepted per depth =
accepted / (steps * depth), where depth is the longest path that any step of the job had to check. A wide tree lowers
the first by construction, a deep one the last.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from longspec.analysis.runs import Run
from longspec.analysis.tables import NAMES

POSITION_COLUMNS = [*NAMES, "position", "offered", "accepted", "acceptance_rate"]
CURVE_COLUMNS = [
    *NAMES,
    "axis",
    "at_least",
    "below",
    "verification_steps",
    "decoded_tokens",
    "acceptance_length",
    "drafted_tokens",
    "accepted_tokens",
    "acceptance_rate",
]
FIRST_BIN = {"output_position": 16, "context_tokens": 128}
"""Where the first bin of a curve ends; each later one ends at twice the end before."""
Ints = NDArray[np.int64]


class Steps:
    """The verification steps of a run that did not fail, in arrays [steps]. `position`, `context`: output tokens, and
    tokens of the whole text, that stood when a step began; `decoded`: tokens that it gave."""

    def __init__(self, run: Run) -> None:
        turns = [turn for sample in run.samples if not sample.failed for turn in sample.turns]
        counts = _array([len(turn.steps) for turn in turns])
        flat = chain.from_iterable(chain.from_iterable(turn.steps for turn in turns))
        triples = np.fromiter(flat, np.int64, int(counts.sum()) * 3).reshape(-1, 3)
        self.drafted, self.offered, self.accepted = triples.T
        turn_of = np.repeat(np.arange(len(turns)), counts)
        emitted = self.accepted + 1
        in_turn = pd.Series(emitted).groupby(turn_of).cumsum().to_numpy() - emitted
        self.position: Ints = _array([turn.prefill_tokens for turn in turns])[turn_of] + in_turn
        self.context: Ints = _array([turn.prompt_tokens for turn in turns])[turn_of] + self.position
        # A text's last step may give one token less: an accepted stop id has no bonus token behind it.
        left = _array([len(turn.output_ids) for turn in turns])[turn_of] - self.position
        self.decoded: Ints = np.minimum(emitted, left)


def _array(counts: list[int]) -> Ints:
    return np.array(counts, np.int64)


def row(run: Run, drafts: bool, steps: Steps) -> dict[str, object]:
    """Make one row of acceptance.csv; a method without a drafter has empty counts, and not 0."""
    count, drafted, accepted = len(steps.drafted), int(steps.drafted.sum()), int(steps.accepted.sum())
    depth = int(steps.offered.max(initial=0))
    facts = {
        "drafted_tokens": drafted,
        "accepted_tokens": accepted,
        "acceptance_rate": accepted / drafted if drafted else None,
        "acceptance_length": int(steps.decoded.sum()) / count if count else None,
        "verification_steps": count,
        "drafted_per_step": drafted / count if count else None,
        "depth": depth,
        "accepted_per_depth": accepted / (count * depth) if depth else None,
    }
    return {**run.record.names, **(facts if drafts else dict.fromkeys(facts))}


def by_position(run: Run, steps: Steps) -> pd.DataFrame:
    """Make the rows of acceptance_by_position.csv: conditional acceptance at each position of the draft."""
    depth = int(steps.offered.max(initial=0))
    offered, accepted = _reaching(steps.offered, depth), _reaching(steps.accepted, depth)
    rows = [
        (*run.record.names.values(), i, int(offered[i]), int(accepted[i]), accepted[i] / offered[i])
        for i in range(1, depth + 1)
    ]
    return pd.DataFrame(rows, columns=POSITION_COLUMNS)


def _reaching(counts: Ints, depth: int) -> Ints:
    """Count the steps whose count is at least i, for each i from 0 to `depth`."""
    exactly = np.bincount(counts, minlength=depth + 1)
    return np.asarray(exactly[::-1].cumsum()[::-1])


def curves(run: Run, steps: Steps) -> pd.DataFrame:
    """Make the rows of acceptance_curves.csv: acceptance by output position and by context, in bins that double."""
    counts = pd.DataFrame({"decoded": steps.decoded, "drafted": steps.drafted, "accepted": steps.accepted})
    rows: list[tuple[object, ...]] = []
    for axis, values in (("output_position", steps.position), ("context_tokens", steps.context)):
        first = FIRST_BIN[axis]
        bins = counts.groupby(np.ceil(np.log2(np.maximum((values + 1) / first, 1))).astype(int))
        sizes, sums = bins.size(), bins.sum()
        numbered = zip(sizes.index.tolist(), sizes.tolist(), sums.to_numpy().tolist(), strict=True)
        for number, size, (decoded, drafted, accepted) in numbered:
            start, end = (0 if number == 0 else first << (number - 1)), first << number
            rate = accepted / drafted if drafted else None
            figures = (size, decoded, decoded / size, drafted, accepted, rate)
            rows.append((*run.record.names.values(), axis, start, end, *figures))
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)

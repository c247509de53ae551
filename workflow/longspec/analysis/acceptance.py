"""Compute how many drafts the target accepted, four ways, and how that changes along a text.

Formulas, over the verification steps of the samples that did not fail (decoded tokens are output tokens without
those of prefill): acceptance rate = accepted / drafted; acceptance length = decoded tokens / steps; conditional
acceptance at position i = steps that accepted i drafts / steps that had an i-th draft to check; accepted per depth =
accepted / (steps * depth), where depth is the longest path that any step of the job had to check. A wide tree lowers
the first by construction, a deep one the last.

Of a served engine the first two are over the requests whose counts it tells (`told`); the others are empty unless it
tells each step of them. Where its counts of some texts are not known, `uncounted_turns` says of how many.
"""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

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


class Counts(NamedTuple):
    """What is known of one turn, or the sum over several."""

    decoded: int
    steps: int
    drafted: int
    accepted: int


def told(run: Run) -> tuple[list[Counts], int]:
    """List the counts of each turn of a served run that has them, and say how many turns have none.

    An engine may tell the counts of a text that ended in a certain way only if it accepted nothing there
    (backends/accounting.py). To take these alone would favour them, so that none that ended that way is taken, unless
    each of its steps is told."""
    turns = [turn for sample in run.samples if not sample.failed for turn in sample.turns]
    partly = {turn.stop_reason for turn in turns if turn.counts is None}
    found = [
        Counts(len(turn.output_ids) - turn.prefill_tokens, *turn.counts)
        for turn in turns
        if turn.counts is not None and (turn.steps or turn.stop_reason not in partly)
    ]
    return found, len(turns) - len(found)


def counted(run: Run, steps: Steps) -> tuple[Counts, int]:
    """Sum up a run's turns, and say how many are not in the sum."""
    if run.record.served:
        found, missing = told(run)
        return Counts(*(sum(part) for part in zip(*found, strict=True))) if found else Counts(0, 0, 0, 0), missing
    sums = (int(part.sum()) for part in (steps.drafted, steps.accepted))
    return Counts(int(steps.decoded.sum()), len(steps.drafted), *sums), 0


def each_step(run: Run, steps: Steps) -> bool:
    """Tell whether every step that is counted is known by itself, as needed for positions."""
    return len(steps.drafted) == counted(run, steps)[0].steps


def row(run: Run, drafts: bool, steps: Steps) -> dict[str, object]:
    """Make one row of acceptance.csv; a method without a drafter has empty counts, and not 0."""
    (decoded, count, drafted, accepted), uncounted = counted(run, steps)
    depth = int(steps.offered.max(initial=0)) if len(steps.drafted) == count else None
    facts = {
        "drafted_tokens": drafted,
        "accepted_tokens": accepted,
        "acceptance_rate": accepted / drafted if drafted else None,
        "acceptance_length": decoded / count if count else None,
        "verification_steps": count,
        "drafted_per_step": drafted / count if count else None,
        "depth": depth,
        "accepted_per_depth": accepted / (count * depth) if depth else None,
        "uncounted_turns": uncounted,
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

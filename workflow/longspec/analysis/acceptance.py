"""How many drafts the target accepted, four ways, and how that changes along a text.

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
    """The verification steps of a run in arrays [steps]: drafted, offered, accepted, where each began, what it gave."""

    def __init__(self, run: Run) -> None:
        turns = [turn for sample in run.samples if not sample.failed for turn in sample.turns]
        counts = np.fromiter((len(turn.steps) for turn in turns), np.int64, len(turns))
        flat = chain.from_iterable(chain.from_iterable(turn.steps for turn in turns))
        triples = np.fromiter(flat, np.int64, int(counts.sum()) * 3).reshape(-1, 3)
        self.drafted, self.offered, self.accepted = triples.T
        turn_of = np.repeat(np.arange(len(turns)), counts)
        lengths = np.fromiter((len(turn.output_ids) for turn in turns), np.int64, len(turns))
        prompts = np.fromiter((turn.prompt_tokens for turn in turns), np.int64, len(turns))
        before = np.cumsum(self.accepted + 1) - (self.accepted + 1)
        first = np.cumsum(counts) - counts
        known = np.fromiter((turn.prefill_tokens for turn in turns), np.int64, len(turns))
        self.position: Ints = known[turn_of] + before - np.append(before, 0)[np.minimum(first, len(before))][turn_of]
        """Output tokens that stood there when the step began."""
        self.context: Ints = prompts[turn_of] + self.position
        # A text's last step may give one token less: an accepted stop id has no bonus token behind it.
        self.decoded: Ints = np.minimum(self.accepted + 1, lengths[turn_of] - self.position)


def row(run: Run, drafts: bool, steps: Steps) -> dict[str, object]:
    """One row of acceptance.csv; a method without a drafter has empty counts, and not 0."""
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
    return {**run.names, **(facts if drafts else dict.fromkeys(facts))}


def by_position(run: Run, steps: Steps) -> pd.DataFrame:
    """Conditional acceptance at each position of the draft."""
    depth = int(steps.offered.max(initial=0))
    # Steps that reached position i are those with a count of at least i.
    reached = [
        np.bincount(counts, minlength=depth + 1)[::-1].cumsum()[::-1] for counts in (steps.offered, steps.accepted)
    ]
    rows = [
        (*run.names.values(), i, int(reached[0][i]), int(reached[1][i]), reached[1][i] / reached[0][i])
        for i in range(1, depth + 1)
    ]
    return pd.DataFrame(rows, columns=POSITION_COLUMNS)


def curves(run: Run, steps: Steps) -> pd.DataFrame:
    """Acceptance by output position and by context length, in bins that double."""
    rows: list[tuple[object, ...]] = []
    for axis, values in (("output_position", steps.position), ("context_tokens", steps.context)):
        first = FIRST_BIN[axis]
        number = np.ceil(np.log2(np.maximum((values + 1) / first, 1))).astype(int)
        for n in np.unique(number):
            mine = number == n
            count, decoded = int(mine.sum()), int(steps.decoded[mine].sum())
            drafted, accepted = int(steps.drafted[mine].sum()), int(steps.accepted[mine].sum())
            start = 0 if n == 0 else first << (int(n) - 1)
            rows.append(
                (*run.names.values(), axis, start, first << int(n), count, decoded, decoded / count,
                 drafted, accepted, accepted / drafted if drafted else None)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)

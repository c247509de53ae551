"""Cut a served engine's run into windows of admissions, and count the tokens that arrived in each: windows.csv.

With C requests in flight, C consecutive samples of a repeat, in the order of their admission, are a window: they share
their seconds, so that they are one observation (docs/decisions/0018). Formulas at C > 1: a window lasts from the
admission of its first sample to that of the next window's first, the last one of a repeat until the repeat's last
chunk; tokens = tokens of all chunks that arrived meanwhile, whichever window admitted their request; busy = 1 if
another window follows (the last one drains) and requests were in flight for at least BUSY of C * seconds.

At C = 1 nothing is in flight between two samples, and other methods may run: a window is one sample, and its seconds
are those of its own requests, each from sending to its last chunk.

Contract: no seconds where they are not known: where the first sample was lost, or another process went on before the
next window, since each process has a clock of its own. A label's windows hold the same samples as its baseline's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from longspec.analysis.runs import Run
from longspec.analysis.tables import NAMES
from longspec.core.records import Sample

COLUMNS = [*NAMES, "repeat", "window", "requests", "tokens", "seconds", "busy"]
BUSY = 0.95
"""Share of the slots' seconds. In a closed loop the rest is what the client takes to send the next request."""


@dataclass(frozen=True)
class Request:
    """One turn as seen from outside, in seconds of its process's clock. `chunks`: (time of arrival, tokens)."""

    sent: float
    chunks: list[tuple[float, int]]

    @property
    def ended(self) -> float:
        """Time of the last chunk."""
        return self.chunks[-1][0]


def numbers(run: Run) -> list[int]:
    """List the number of each sample's window within its repeat."""
    before: dict[int, int] = {}
    found = []
    for sample in run.samples:
        place = before.get(sample.repeat, 0)
        before[sample.repeat] = place + 1
        found.append(place // run.record.concurrency)
    return found


def requests(sample: Sample) -> list[Request]:
    """List a sample's requests, one a turn; of a turn without an outcome nothing is known."""
    return [
        Request(
            turn.served.sent_seconds,
            [
                (turn.served.sent_seconds + seconds, tokens)
                for tokens, seconds in zip(turn.served.chunk_tokens, turn.served.chunk_seconds, strict=True)
            ],
        )
        for turn in sample.turns
        if turn.served is not None and turn.served.chunk_tokens
    ]


def table(run: Run) -> pd.DataFrame:
    """Make a run's rows of windows.csv; none unless a served engine answered."""
    cut = _alone if run.record.concurrency == 1 else _among_others
    rows = [(*run.record.names.values(), *row) for row in cut(run)] if run.record.served else []
    return pd.DataFrame(rows, columns=COLUMNS).astype({"tokens": "Int64", "seconds": float})


def _alone(run: Run) -> Iterator[tuple[object, ...]]:
    """(repeat, window, requests, tokens, seconds, busy) of each sample."""
    for sample, number in zip(run.samples, numbers(run), strict=True):
        asked = requests(sample)
        known = bool(asked) and not sample.failed
        tokens = sum(tokens for request in asked for _, tokens in request.chunks)
        seconds = sum(request.ended - request.sent for request in asked)
        yield sample.repeat, number, len(asked), *((tokens, seconds, 1) if known else (None, None, 0))


def _among_others(run: Run) -> Iterator[tuple[object, ...]]:
    """(repeat, window, requests, tokens, seconds, busy) of each window."""
    processes, asked = _processes(run), [requests(sample) for sample in run.samples]
    windows: dict[tuple[int, int], list[int]] = {}
    streams: dict[tuple[int, int], list[Request]] = {}
    for line, (sample, number) in enumerate(zip(run.samples, numbers(run), strict=True)):
        windows.setdefault((sample.repeat, number), []).append(line)
        streams.setdefault((sample.repeat, processes[line]), []).extend(asked[line])
    seen = {key: _Stream(found) for key, found in streams.items() if found}
    for (repeat, number), lines in windows.items():
        stream = seen.get((repeat, processes[lines[0]]))
        begins, following = _admission(run.samples[lines[0]]), windows.get((repeat, number + 1))
        ends = stream.ended if stream is not None else None
        if following is not None:
            same = processes[following[0]] == processes[lines[0]]
            ends = _admission(run.samples[following[0]]) if same else None
        admitted = sum(len(asked[line]) for line in lines)
        if stream is None or begins is None or ends is None or ends <= begins:
            yield repeat, number, admitted, None, None, 0
            continue
        seconds, drains = ends - begins, following is None
        held = stream.in_flight(begins, ends) >= BUSY * run.record.concurrency * seconds
        yield repeat, number, admitted, stream.tokens(begins, ends, drains), seconds, int(held and not drains)


class _Stream:
    """All requests of one repeat and process."""

    def __init__(self, requests: list[Request]) -> None:
        self.sent = np.array([request.sent for request in requests])
        self.last = np.array([request.ended for request in requests])
        self.times, self.sizes = np.array([chunk for request in requests for chunk in request.chunks]).T
        self.ended = float(self.last.max())

    def in_flight(self, begins: float, ends: float) -> float:
        """Sum up the seconds between two times that requests were in flight."""
        spans = np.minimum(self.last, ends) - np.maximum(self.sent, begins)
        return float(spans[spans > 0].sum())

    def tokens(self, begins: float, ends: float, closed: bool) -> int:
        """Count the tokens that arrived from `begins` on, before `ends` or, if `closed`, by then."""
        before = self.times <= ends if closed else self.times < ends
        return int(self.sizes[(self.times >= begins) & before].sum())


def _admission(sample: Sample) -> float | None:
    """Return when a sample was admitted; None where its first turn has no outcome."""
    first = sample.turns[0].served if sample.turns else None
    return first.sent_seconds if first is not None else None


def _processes(run: Run) -> list[int]:
    """List the number of the process that made each sample."""
    firsts = [piece.first_sample for piece in run.record.pieces]
    return [sum(first <= line for first in firsts) for line in range(len(run.samples))]

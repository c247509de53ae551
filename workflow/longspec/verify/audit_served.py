"""Rules of the audit of files for the answers of served engines: chunks, clocks, counts of drafts, and the load.

Contract: as audit_rules.py's. A step of an engine gives its accepted drafts and one token more, so that decoded tokens
(those after the first chunk) = verification steps + accepted drafts; one less where a text ends within the drafts of
its last step, as an accepted end has no token behind it. By so much, and no more, a text's counts may be off: one
accepted draft counted past an end is not seen by this rule, two are. Histograms are the engine's own, and may count
drafts past the end, but not fewer than were accepted; steps without a draft are not in them.
"""

from __future__ import annotations

import math
from itertools import pairwise

from longspec.analysis.runs import Run
from longspec.analysis.windows import requests
from longspec.core.records import Served, Turn
from longspec.core.run_record import RunRecord

NEAR = 1e-6
"""Seconds by which sums and differences of recorded times may miss each other."""


def chunks(turn: Turn) -> str:
    """Check that the chunks hold the answer's tokens, one after the other, and that the turn's seconds are theirs."""
    served = turn.served
    if turn.failed:
        return ""
    if served is None:
        return "no chunks are recorded"
    sizes, times = served.chunk_tokens, served.chunk_seconds
    if len(sizes) != len(times) or not sizes or min(sizes) < 1:
        return f"{len(sizes)} chunks of {sizes} tokens at {len(times)} times"
    if sum(sizes) != len(turn.output_ids):
        return f"the chunks hold {sum(sizes)} tokens; {len(turn.output_ids)} are stored"
    if sizes[0] != turn.prefill_tokens:
        return f"the first chunk holds {sizes[0]} tokens; {turn.prefill_tokens} are prefill's"
    if not all(math.isfinite(time) for time in times) or any(b <= a for a, b in pairwise(times)):
        return "the chunks' times do not rise"
    for name, said, follows in (
        ("prefill_seconds", turn.prefill_seconds, times[0]),
        ("decode_seconds", turn.decode_seconds, times[-1] - times[0]),
    ):
        if abs(said - follows) > NEAR:
            return f"{name} is {said}; by the chunks it is {follows}"
    return ""


def counts(turn: Turn) -> str:
    """Check that the totals of an answer agree with its tokens, and the engine's histogram with the totals."""
    served = turn.served
    if turn.failed or served is None:
        return ""
    decoded = len(turn.output_ids) - turn.prefill_tokens
    steps, drafted, accepted = served.verification_steps, served.drafted, served.accepted
    if drafted is not None and accepted is not None and accepted > drafted:
        return f"{accepted} drafts accepted of {drafted}"
    if turn.steps and (steps, drafted, accepted) != turn.counts:
        return f"{steps} steps, {drafted} drafted, {accepted} accepted; the steps sum to {turn.counts}"
    if steps is not None and accepted is not None and decoded - steps - accepted not in (0, -1 if accepted else 0):
        return (
            f"{decoded} tokens after the first chunk; {steps} steps and {accepted} accepted drafts account for others"
        )
    return _histogram(served)


def _histogram(served: Served) -> str:
    """Check an engine's histogram; a first chunk of several tokens may hold steps, which are in it alone."""
    told, in_first = served.accepted_histogram, served.chunk_tokens[0] - 1
    if told is None:
        return ""
    if served.verification_steps is not None and sum(told) > served.verification_steps + in_first:
        return f"its histogram has {sum(told)} steps; there were {served.verification_steps}"
    accepted = sum(number * steps for number, steps in enumerate(told))
    if served.accepted is not None and accepted < served.accepted:
        return f"its histogram has {accepted} accepted drafts; {served.accepted} are counted"
    return ""


def load(run: Run, baseline: Run) -> str:
    """Check that as many requests were in flight as the label says, in the order of the baseline's."""
    said, label = run.record.conditions.concurrency, run.record.concurrency
    if said != label:
        return f"its label says {label} requests in flight, its run {said}"
    order, theirs = ([(s.sample_id, s.repeat) for s in side.samples] for side in (run, baseline))
    if label > 1 and order != theirs:
        place = next((n for n, (a, b) in enumerate(zip(order, theirs, strict=False)) if a != b), len(theirs))
        return f"sample number {place} was admitted in another order than the baseline's"
    most = max((_in_flight(run, *part) for part in _processes(run)), default=0)
    return f"{most} requests in flight; {label} are its load" if most > label else ""


def _processes(run: Run) -> list[tuple[int, int]]:
    """List the (first, end) line of the samples of each process, each of which has a clock of its own."""
    firsts = sorted({piece.first_sample for piece in run.record.pieces})
    return list(zip(firsts, [*firsts[1:], len(run.samples)], strict=True))


def _in_flight(run: Run, first: int, end: int) -> int:
    """Find the most requests that were in flight at once; one that ends as another is sent makes room for it."""
    asked = [request for sample in run.samples[first:end] for request in requests(sample)]
    events = sorted([(request.sent, 1) for request in asked] + [(request.ended, -1) for request in asked])
    most = now = 0
    for _, change in events:
        now += change
        most = max(most, now)
    return most


def command(run: RunRecord) -> str:
    """Check that each process started the server with the flags that the run was compared by."""
    for piece in run.pieces:
        words = piece.server_command
        missing = (
            [] if words is None else [w for w in run.conditions.server or [] if w.startswith("-") and w not in words]
        )
        if missing:
            return f"the server on {piece.host} was started without {', '.join(missing)}"
    return ""

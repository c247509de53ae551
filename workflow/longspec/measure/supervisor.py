"""The process of a generate job that runs the worker, which holds the device, and outlives it. No torch.

Contract: it ends the worker when a sample takes too long, records the samples that have no outcome, and starts it
again; it is asleep while the worker measures.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from longspec.core import program, watchdog
from longspec.core.errors import UserError
from longspec.core.records import LOST
from longspec.measure.job import Job
from longspec.measure.journal import Journal
from longspec.measure.messages import Begins, Ends, Fails, Message

Work = Callable[[Job, Connection], None]
"""What a worker does: measures what the job's journal lacks, and says over the connection how far it is. A function of
a module, which the worker's process finds by its name."""
DEATHS_IN_A_ROW = 4
"""So many workers ended by failures without a sample in between, and the fault is not one sample's."""
SECONDS_TO_END = 60.0
"""What a worker may take to leave the device once it has said its last word."""
log = logging.getLogger("longspec.generate")


@dataclass
class Outcome:
    """How a worker ended: `code` is negative for a signal; the line that it was at and why it failed, if it did."""

    code: int = 0
    at: int | None = None
    cause: str | None = None
    message: str = ""
    peak_memory_bytes: int = 0


def watch(work: Work, job: Job) -> Outcome:
    """Run a worker to its end, and kill it when one sample takes longer than the job's timeout, if that is not 0."""
    context = multiprocessing.get_context("spawn")  # a fork of this process could not use CUDA
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_be_the_worker, args=(work, job, theirs, os.getpid()))
    process.start()
    theirs.close()
    outcome = Outcome()
    try:
        _listen(ours, process, job.timeout, outcome)
        if outcome.cause is None:
            process.join(SECONDS_TO_END)
    finally:
        ours.close()
        process.kill()
        process.join()
    outcome.code = process.exitcode or 0
    return outcome


def _be_the_worker(work: Work, job: Job, connection: Connection, supervisor: int) -> None:
    """In the worker's process: end with the supervisor, and end as every command of this package does."""
    watchdog.end_with_parent(supervisor)
    program.run(functools.partial(work, job, connection))


def _listen(connection: Connection, process: BaseProcess, timeout: float, outcome: Outcome) -> None:
    """Take in what a worker says until it has ended, has failed, or is silent for too long about a sample."""
    left: float | None = None
    while ready := wait([connection, process.sentinel], left):
        if connection not in ready:
            return
        try:
            message: Message = connection.recv()
        except (EOFError, OSError):  # it ended, perhaps in the middle of a message
            return
        match message:
            case Begins(line):
                outcome.at, left = line, timeout or None
            case Ends(peak_memory_bytes):
                outcome.at, outcome.peak_memory_bytes, left = None, peak_memory_bytes, None
            case Fails(cause, text):
                outcome.cause, outcome.message = cause, text
                return
    outcome.cause, outcome.message = "timeout", f"no answer within {timeout:g} seconds"


class Supervisor:
    """One job, from whatever an earlier process left to its complete journal."""

    def __init__(self, job: Job, work: Work) -> None:
        self.job, self.work = job, work
        self.killed_at: int | None = None
        self.deaths = 0

    def run(self) -> Journal:
        """Start workers until every sample stands. SystemExit with a worker's code if it refused."""
        while not (before := self.job.journal()).complete:
            outcome = watch(self.work, self.job)
            if outcome.cause is None and outcome.code > 0:
                raise SystemExit(outcome.code)  # it has said why
            after = self.job.journal()
            if outcome.peak_memory_bytes:
                after.note_peak(outcome.peak_memory_bytes)
            if outcome.cause is None and outcome.code == 0:
                assert after.complete, "a worker ended in order without an end"
                return after
            if after.complete:  # ended in the profiled pass: the samples stand, where their time goes stays unknown
                log.error("no profile: %s", outcome.cause or "killed")
                return after
            self.deaths = 1 if after.done > before.done else self.deaths + 1
            self.judge(outcome, after)
        return before

    def judge(self, outcome: Outcome, journal: Journal) -> None:
        """Record the sample that ended a worker as lost, or stop; one that was killed gets a second chance."""
        cause = outcome.cause or "killed"
        message = outcome.message or f"its process was ended by {signal.Signals(-outcome.code).name}"
        where = journal.where() if outcome.at is not None else "before a sample began"
        log.error("%s: %s (%s)", where, cause, message)
        if self.deaths >= DEATHS_IN_A_ROW:
            raise UserError(
                where,
                f"{self.deaths} processes in a row ended without a result, the last: {cause} ({message})",
                "one to answer a sample; the log says how each ended",
            )
        if outcome.at is None or (cause == "killed" and self.killed_at != journal.done):
            self.killed_at = journal.done
            return
        if self.job.stop:
            raise UserError(
                where,
                f"{cause}, {LOST[cause]} ({message})",
                "an answer: the next run tries again, and `on_error: continue` would go on without it",
            )
        journal.lose(cause, message)

"""The process of a generate job that starts the worker (which holds the device) and survives its failures. No torch.

It ends the worker when a sample takes too long, records the samples that failed, and starts a new worker for the
others; while the worker measures, it sleeps.
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
"""Measure the samples missing in the job's journal, and send messages over the connection. It must be a function of a
module, which the worker's process imports by its name."""
DEATHS_IN_A_ROW = 4
"""So many workers that fail without a sample in between end the job: the fault is not one sample's."""
SECONDS_TO_END = 60.0
"""Seconds that a worker has to release the device after its last message."""
log = logging.getLogger("longspec.generate")


@dataclass
class Outcome:
    """Describe how a worker ended.

    `code`: its exit status, negative for a signal. `at`: the journal's line that it was measuring, if any. `cause` (a
    key of records.LOST) and `message`: why it failed, if it did."""

    code: int = 0
    at: int | None = None
    cause: str | None = None
    message: str = ""
    peak_memory_bytes: int = 0


def watch(work: Work, job: Job) -> Outcome:
    """Run a worker to its end, and kill it when a sample takes longer than the job's timeout (0: no limit)."""
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
    """Run `work` in the worker's process, which ends when the supervisor does and reports errors as commands do."""
    watchdog.end_with_parent(supervisor)
    program.run(functools.partial(work, job, connection))


def _listen(connection: Connection, process: BaseProcess, timeout: float, outcome: Outcome) -> None:
    """Receive a worker's messages until it has ended, has failed, or exceeds the time limit of a sample."""
    left: float | None = None
    while ready := wait([connection, process.sentinel], left):
        if connection not in ready:
            return
        try:
            message: Message = connection.recv()
        except (EOFError, OSError):  # the worker ended, perhaps in the middle of a message
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
    """Run one job until its journal is complete, continuing what an earlier process left."""

    def __init__(self, job: Job, work: Work) -> None:
        self.job, self.work = job, work
        self.killed_at: int | None = None
        self.deaths = 0

    def run(self) -> Journal:
        """Start workers until every sample is on the disk.

        Raises SystemExit with a worker's exit status if it stopped with an error of its own, and UserError when workers
        keep failing or a failed sample ends the job (`stop`)."""
        while not (before := self.job.journal()).complete:
            outcome = watch(self.work, self.job)
            if outcome.cause is None and outcome.code > 0:
                raise SystemExit(outcome.code)  # the worker has printed why
            after = self.job.journal()
            if outcome.peak_memory_bytes:
                after.note_peak(outcome.peak_memory_bytes)
            if outcome.cause is None and outcome.code == 0:
                assert after.complete, "a worker ended in order without an end"
                return after
            if after.complete:  # it failed while profiling: the samples are complete, the profile stays unknown
                log.error("no profile: %s", outcome.cause or "killed")
                return after
            self.deaths = 1 if after.done > before.done else self.deaths + 1
            self.judge(outcome, after)
        return before

    def judge(self, outcome: Outcome, journal: Journal) -> None:
        """Record the sample at which a worker failed as lost, or stop the job.

        A sample whose worker was killed is tried once more before it counts as lost."""
        cause = outcome.cause or "killed"
        message = outcome.message or f"its process was ended by {signal.Signals(-outcome.code).name}"
        where = journal.where() if outcome.at is not None else "before a sample began"
        log.error("%s: %s (%s)", where, cause, message)
        if self.deaths >= DEATHS_IN_A_ROW:
            raise UserError(
                where,
                f"{self.deaths} processes in a row ended without a result, the last: {cause} ({message})",
                "a process that answers this sample; the log says how each ended",
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

"""The process of a generate job that runs the worker, which holds the device, and outlives it. No torch.

Contract: it ends the worker when a sample takes too long, records the samples that have no outcome, and starts it
again; it is asleep while the worker measures.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from longspec.core.errors import UserError
from longspec.core.records import LOST
from longspec.measure.ledger import Ledger

WORKFLOW = Path(__file__).resolve().parents[2]
"""The folder of this package."""
DEATHS_IN_A_ROW = 4
"""So many workers ended by failures without a sample in between, and the fault is not one sample's."""
SECONDS_TO_END = 60.0
"""What a worker may take to leave the device once it has said its last word."""
log = logging.getLogger("longspec.generate")


@dataclass
class Outcome:
    """How a worker ended: `code` as subprocess gives it; the sample that it was at and why it failed, if it did."""

    code: int = 0
    at: int | None = None
    cause: str | None = None
    message: str = ""
    peak_memory_bytes: int = 0


def watch(command: list[str], timeout: float) -> Outcome:
    """Run a worker to its end, and end it when one sample takes longer than `timeout` seconds, if that is not 0."""
    ours, theirs = os.pipe()
    paths = [str(WORKFLOW), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}  # whoever found this package, the worker will
    process = subprocess.Popen([*command, f"--worker={theirs}"], pass_fds=[theirs], env=environment)
    os.close(theirs)
    outcome = Outcome()
    try:
        _listen(ours, outcome, timeout)
        if outcome.cause is None:
            process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        pass
    finally:
        os.close(ours)
        process.kill()
        outcome.code = process.wait()
    return outcome


def _listen(pipe: int, outcome: Outcome, timeout: float) -> None:
    """Until the worker has closed its end, or has failed."""
    left: float | None = None
    busy, buffer = False, b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while outcome.cause is None:
            if not selector.select(left):
                outcome.cause, outcome.message = "timeout", f"no answer within {timeout:g} seconds"
                return
            if not (read := os.read(pipe, 65536)):
                return
            *lines, buffer = (buffer + read).split(b"\n")
            for message in map(json.loads, lines):
                busy = "begins" in message
                if busy:
                    outcome.at = message["begins"]  # None for the warm-up
                elif "cause" in message:
                    outcome.cause, outcome.message = message["cause"], message["message"]
                else:
                    outcome.at, outcome.peak_memory_bytes = None, message["peak_memory_bytes"]
            left = timeout if timeout and busy else None


class Supervisor:
    """One job, from whatever an earlier process left to its outputs."""

    def __init__(self, ledger: Callable[[], Ledger], timeout: float, on_error: str) -> None:
        """`ledger` opens the job's own, as it stands on the disk; `timeout`: seconds that one sample may take, 0 for no
        limit; `on_error`: what a failed sample does to the job, `continue` or `stop`."""
        self.ledger, self.timeout, self.on_error = ledger, timeout, on_error
        self.killed_at: int | None = None
        self.deaths = 0

    def run(self, command: list[str]) -> Ledger:
        """Start workers until every sample stands there. SystemExit with a worker's code if it refused."""
        while not (before := self.ledger()).complete:
            outcome = watch(command, self.timeout)
            if outcome.cause is None and outcome.code > 0:
                raise SystemExit(outcome.code)  # it has said why
            after = self.ledger()
            if outcome.peak_memory_bytes:
                after.note_peak(outcome.peak_memory_bytes)
            if outcome.cause is None and outcome.code == 0:
                assert after.complete, "a worker ended in order without an end"
                continue
            if after.complete:  # ended in the profiled pass: the samples stand, where their time goes stays unknown
                log.error("no profile: %s", outcome.cause or "killed")
                return after
            self.deaths = 1 if after.done > before.done else self.deaths + 1
            self.judge(outcome, after)
        return before

    def judge(self, outcome: Outcome, ledger: Ledger) -> None:
        """Record the sample that ended a worker as lost, or stop; one that was killed gets a second chance."""
        cause = outcome.cause or "killed"
        message = outcome.message or f"its process was ended by {signal.Signals(-outcome.code).name}"
        where = ledger.where() if outcome.at is not None else "before a sample began"
        log.error("%s: %s (%s)", where, cause, message)
        if self.deaths >= DEATHS_IN_A_ROW:
            raise UserError(
                where,
                f"{self.deaths} processes in a row ended without a result, the last: {cause} ({message})",
                "one to answer a sample; the log says how each ended",
            )
        if outcome.at is None or (cause == "killed" and self.killed_at != ledger.done):
            self.killed_at = ledger.done
            return
        if self.on_error == "stop":
            raise UserError(
                where,
                f"{cause}, {LOST[cause]} ({message})",
                "an answer: the next run tries again, and `on_error: continue` would go on without it",
            )
        ledger.lose(cause, message)

"""Stage `generate`: run one method, or several in turn, on one data set with one model; write down what happened.

Contract: each method's samples.jsonl holds raw facts, one line per sample and repeat; its run.json holds the whole
spec, the conditions that a comparison must share, and for each process that took part its machine. This process
supervises: it holds the claim to the folder, runs the worker that holds the device, ends it when a sample takes too
long, records the samples that have no outcome, and starts it again. Without torch, and asleep while the worker
measures. It computes no ratio.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longspec import journal as journals
from longspec.core.errors import UserError, redacted
from longspec.core.program import REFUSED, explained, run
from longspec.core.records import LOST, Prompt, prompts_sha256, read_records
from longspec.ledger import Ledger
from longspec.locations import WORKFLOW

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

    def __init__(self, args: argparse.Namespace, ledger: Callable[[], Ledger]) -> None:
        """`ledger` opens the job's own, as it stands on the disk."""
        self.args, self.ledger = args, ledger
        self.killed_at: int | None = None
        self.deaths = 0

    def run(self, command: list[str]) -> Ledger:
        """Start workers until every sample stands there. SystemExit with a worker's code if it refused."""
        while not (before := self.ledger()).complete:
            outcome = watch(command, self.args.timeout)
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
            raise UserError(f"{self.deaths} processes in a row ended without a result, the last: {cause} ({message})")
        if outcome.at is None or (cause == "killed" and self.killed_at != ledger.done):
            self.killed_at = ledger.done
            return
        if self.args.on_error == "stop":
            raise UserError(
                f"{where}: {cause}, {LOST[cause]} ({message}); the next run tries it again, and `on_error: continue` "
                "would go on without it"
            )
        ledger.lose(cause, message)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def _log_to(path: Path) -> None:
    logging.raiseExceptions = False  # a full disk is told once, by the journal
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_Redacting("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--spec", type=json.loads, required=True, nargs="+", help="a method's slice of the config, as JSON"
    )
    for name, described in (("samples", "an output of each method"), ("run", "its other output")):
        parser.add_argument(f"--{name}", type=Path, required=True, nargs="+", help=described)
    for name in ("prompts", "log"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--tuning", type=Path, help="prompts that are not measured, for what the config calls auto")
    parser.add_argument("--version", default="", help="of the code and the data: what was begun by another is dropped")
    parser.add_argument("--timeout", type=float, default=0, help="seconds that one sample may take; 0 for no limit")
    parser.add_argument("--on-error", choices=("continue", "stop"), default="continue")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _ledger(args: argparse.Namespace) -> Callable[[], Ledger]:
    """Opens it, as often as asked, over prompts that are read once."""
    prompts = read_records(args.prompts, Prompt)
    if not prompts:
        raise UserError(f"{args.prompts}: no prompts; expected at least one")
    key = journals.key(args.spec, args.version, prompts_sha256(prompts))
    methods, outputs = [spec["method"]["name"] for spec in args.spec], list(zip(args.samples, args.run, strict=True))
    repeats, seed = args.spec[0]["repeats"], args.spec[0]["seed"]
    return functools.partial(Ledger, outputs, key, methods, prompts, repeats, seed)


def main(argv: list[str] | None = None) -> None:
    """Parse arguments; supervise, or be the worker."""
    args = _arguments(argv)
    ledger = _ledger(args)
    if args.worker is not None:
        _be_the_worker(args, ledger())
        return

    signal.signal(signal.SIGTERM, _terminated)
    with journals.claim(args.log.with_name("generate.lock"), _lost_claim):
        supervisor = Supervisor(args, ledger)
        if not ledger().done:
            args.log.unlink(missing_ok=True)
        _log_to(args.log)
        try:
            command = [sys.executable, "-m", "longspec.stages.generate", *(sys.argv[1:] if argv is None else argv)]
            supervisor.run(command).finish([{**_names(spec), "spec": spec} for spec in args.spec])
        except (UserError, OSError) as error:
            log.error("error: %s", explained(error) or error)
            raise
    log.info("done")


def _names(spec: dict[str, Any]) -> dict[str, str]:
    return {kind: spec[kind]["name"] for kind in ("model", "dataset", "method")}


def _be_the_worker(args: argparse.Namespace, ledger: Ledger) -> None:
    from longspec.stages import _worker

    _log_to(args.log)
    names = list(_names(args.spec[0]).values())
    title = " / ".join(names if len(args.spec) == 1 else [*names[:2], f"{len(args.spec)} methods"])
    try:
        spare = read_records(args.tuning, Prompt) if args.tuning else []
        _worker.work(args.spec, ledger, spare, title, args.worker, args.on_error == "stop")
    except Exception as error:
        log.error("error: %s", explained(error) or repr(error))
        raise


def _terminated(number: int, frame: object) -> None:
    log.error("stopped by %s; what is finished is kept", signal.Signals(number).name)
    raise SystemExit(128 + number)


def _lost_claim(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(REFUSED)  # the worker ends with this process


if __name__ == "__main__":
    run(main)

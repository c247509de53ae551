"""Run one method, or several in turn, on one data set with one model, and write down what happened.

Contract: each method's samples.jsonl holds raw facts, one line per sample and repeat; its run.json holds the whole
spec, the conditions that a comparison must share, and for each process that took part its machine. This process
supervises the worker that holds the device (measure/supervisor.py). It computes no ratio.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from longspec.cli._arguments import of_json_lines
from longspec.core.errors import UserError, redacted
from longspec.core.program import REFUSED, explained, uncollected
from longspec.core.records import Prompt, read_records
from longspec.measure.job import Job
from longspec.measure.journal import Outputs
from longspec.measure.lock import hold_lock
from longspec.measure.supervisor import Supervisor

log = logging.getLogger("longspec.generate")


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def _log_to(path: Path) -> None:
    logging.raiseExceptions = False  # a full disk is told once, by the journal
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_Redacting("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would tell of each request


def _job(argv: list[str] | None) -> Job:
    """Read the command line, and the prompts that it names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--spec", type=of_json_lines, required=True, nargs="+", help="JSON of a method's job, or a file, one a line"
    )
    for name, described in (("samples", "an output of each method"), ("run", "its other output")):
        parser.add_argument(f"--{name}", type=Path, required=True, nargs="+", help=described)
    for name in ("prompts", "log"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--tuning", type=Path, help="prompts that are not measured, for what the config calls auto")
    parser.add_argument("--version", default="", help="of the code and the data: what was begun by another is dropped")
    parser.add_argument("--timeout", type=float, default=0, help="seconds that one sample may take; 0 for no limit")
    parser.add_argument("--on-error", choices=("continue", "stop"), default="continue")
    args = parser.parse_args(argv)
    prompts = read_records(args.prompts, Prompt)
    if not prompts:
        raise UserError(str(args.prompts), "no prompts", "at least one")
    return Job(
        specs=[spec for given in args.spec for spec in given],
        outputs=[Outputs(*files) for files in zip(args.samples, args.run, strict=True)],
        prompts=prompts,
        spare=read_records(args.tuning, Prompt) if args.tuning else [],
        log=args.log,
        version=args.version,
        timeout=args.timeout,
        stop=args.on_error == "stop",
    )


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, supervise a worker, make the outputs."""
    job = _job(argv)
    signal.signal(signal.SIGTERM, _terminated)
    with hold_lock(job.lock, _lost_lock):
        if not job.journal().done:
            job.log.unlink(missing_ok=True)
        _log_to(job.log)
        try:
            job.finish(Supervisor(job, work).run())
        except (UserError, OSError) as error:
            log.error("error: %s", explained(error) or error)
            raise
    log.info("done")


def work(job: Job, connection: Connection) -> None:
    """Start the worker, in a process of its own: import what it needs, then answer."""
    with uncollected():
        from longspec.measure import worker  # noqa: F401  # torch and transformers, most of a start's seconds
        from longspec.verify.engine import jobs  # noqa: F401

    gc.freeze()  # each search for garbage would go through all of torch and transformers again
    answer(job, connection)


def answer(job: Job, connection: Connection) -> None:
    """Choose the engines that the job's models run by, and measure what its journal lacks."""
    from longspec.measure import worker
    from longspec.verify.engine.jobs import with_engines

    _log_to(job.log)
    try:
        worker.work(job, with_engines(job.specs, job.prompts), connection.send)
    except Exception as error:
        log.error("error: %s", explained(error) or repr(error))
        raise


def _terminated(number: int, frame: object) -> None:
    log.error("stopped by %s; what is finished is kept", signal.Signals(number).name)
    raise SystemExit(128 + number)


def _lost_lock(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(REFUSED)  # the worker ends with this process

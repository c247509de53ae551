"""Run one method, or several in turn, on one data set with one model, and write down what happened.

Contract: each method's samples.jsonl holds raw facts, one line per sample and repeat; its run.json holds the whole
spec, the conditions that a comparison must share, and for each process that took part its machine. This process
supervises the worker that holds the device (measure/supervisor.py). It computes no ratio.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from longspec.core.errors import UserError, redacted
from longspec.core.program import REFUSED, explained, uncollected
from longspec.core.records import Prompt, prompts_sha256, read_records
from longspec.measure.journal import key as key_of
from longspec.measure.ledger import Ledger
from longspec.measure.lock import claim
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
        raise UserError(str(args.prompts), "no prompts", "at least one")
    key = key_of(args.spec, args.version, prompts_sha256(prompts))
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
    with claim(args.log.with_name("generate.lock"), _lost_claim):
        supervisor = Supervisor(ledger, args.timeout, args.on_error)
        if not ledger().done:
            args.log.unlink(missing_ok=True)
        _log_to(args.log)
        try:
            command = [sys.executable, "-m", "longspec", "generate", *(sys.argv[1:] if argv is None else argv)]
            supervisor.run(command).finish([{**_names(spec), "spec": spec} for spec in args.spec])
        except (UserError, OSError) as error:
            log.error("error: %s", explained(error) or error)
            raise
    log.info("done")


def _names(spec: dict[str, Any]) -> dict[str, str]:
    return {kind: spec[kind]["name"] for kind in ("model", "dataset", "method")}


def _be_the_worker(args: argparse.Namespace, ledger: Ledger) -> None:
    with uncollected():
        from longspec.measure import worker
        from longspec.verify.engine.jobs import with_engines

    _log_to(args.log)
    names = list(_names(args.spec[0]).values())
    title = " / ".join(names if len(args.spec) == 1 else [*names[:2], f"{len(args.spec)} methods"])
    try:
        spare = read_records(args.tuning, Prompt) if args.tuning else []
        specs = with_engines(args.spec, ledger.prompts)
        worker.work(specs, ledger, spare, title, args.worker, args.on_error == "stop")
    except Exception as error:
        log.error("error: %s", explained(error) or repr(error))
        raise


def _terminated(number: int, frame: object) -> None:
    log.error("stopped by %s; what is finished is kept", signal.Signals(number).name)
    raise SystemExit(128 + number)


def _lost_claim(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(REFUSED)  # the worker ends with this process

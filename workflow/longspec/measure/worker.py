"""The process of a generate job that holds the device: load, warm up, answer, append; it measures until it fails.

Where a job has several methods all of them are loaded, over one copy of the target's weights, and warmed up before the
first sample; whose turn it is the ledger says.

Contract: a process in which a sample failed with its memory or its device measures nothing more: it says which cause,
and ends. Its supervisor is told when a sample begins and ends, between clocks, over a pipe. It does not know time
limits, and it does not decide what a failure means.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
from datetime import UTC, datetime
from typing import Any

import torch

from longspec.core import registry, watchdog
from longspec.core.errors import UserError, first_line, redacted
from longspec.core.records import Prompt, Sample, decoded
from longspec.core.spec import GenerateSpec
from longspec.measure.ledger import Ledger
from longspec.measure.session import Runner, measured
from longspec.models import machine, model_files
from longspec.models.shared import Shared

log = logging.getLogger("longspec.generate")


def tell(pipe: int, **message: Any) -> None:
    """One line to the supervisor."""
    os.write(pipe, (json.dumps(message) + "\n").encode())


def cause(error: BaseException) -> str | None:
    """Which of records.LOST an exception stands for; None where it is a bug."""
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in text for word in words)):
        return "out_of_memory"  # torch.OutOfMemoryError is a RuntimeError; the CPU's allocator raises a bare one
    if isinstance(error, torch.AcceleratorError):
        return "device_error"
    return None


def work(specs: list[GenerateSpec], ledger: Ledger, spare: list[Prompt], title: str, pipe: int, stop: bool) -> None:
    """Answer what the ledger lacks. `spare`: prompts to tune on; `stop`: a sample whose numbers are none ends the
    job."""
    watchdog.end_with_parent()
    shared = Shared() if len(specs) > 1 else None
    runners, pieces = [], []
    for spec in specs:
        runner, piece = _loaded(spec, shared)
        runners.append(runner)
        pieces.append(piece)
    _get_ready(runners, pieces, ledger, spare, pipe)
    device, answered = runners[0].backend.device, [set[str]() for _ in runners]
    samples = measured(runners, ledger.lines, title, ledger.done, before=lambda: tell(pipe, begins=ledger.done))
    try:
        for sample in samples:
            method = ledger.next()[0]
            tell(pipe, peak_memory_bytes=machine.peak_memory_bytes(device))
            log.info(log_line(sample, f"{ledger.methods[method]} " if shared else ""))
            if sample.failed and stop:
                reasons = ", ".join(turn.stop_reason for turn in sample.turns if turn.failed)
                raise UserError(
                    f"sample {sample.sample_id!r}", reasons, "an answer, or `on_error: continue` to go on without it"
                )
            ledger.append(sample)
            if not sample.failed:
                answered[method].add(sample.sample_id)
        tell(pipe, begins=None)  # time limits hold for what follows too
        look_inside(runners, ledger, answered)
    except (MemoryError, RuntimeError) as error:
        reason = cause(error)
        if reason is None:
            raise
        tell(pipe, cause=reason, message=redacted(first_line(error)))
        sys.stderr.flush()
        os._exit(1)  # at once: tearing down a broken device can hang


def _loaded(spec: GenerateSpec, shared: Shared | None) -> tuple[Runner, dict[str, Any]]:
    """A method ready to be warmed up, and what its run notes of this process."""
    began, started = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    runner = Runner(spec, shared)
    seconds = time.perf_counter() - started
    named = registry.models_in(spec["method"])
    models = {option: model_files.resolved(files) for option, files in named.items()}
    return runner, {
        "started": began,
        "host": platform.node(),
        "load_seconds": seconds,
        "models": models,
        "engine_checks": spec.get("engine_checks"),
    }


def _get_ready(
    runners: list[Runner], pieces: list[dict[str, Any]], ledger: Ledger, spare: list[Prompt], pipe: int
) -> None:
    """Tune and warm up every method; note that this process begins."""
    prompts, device = ledger.prompts, runners[0].backend.device
    conditions = [runner.conditions(prompts) for runner in runners]
    tuned = []
    for runner, now, journal in zip(runners, conditions, ledger.journals, strict=True):
        known = journal.facts["tuning"] if journal.facts["conditions"] == now else None
        tuned.append(runner.tune(prompts, spare, known))
    for runner, piece in zip(runners, pieces, strict=True):
        tell(pipe, begins=None)
        piece["warmup_samples"] = runner.warm_up(prompts)
        tell(pipe, peak_memory_bytes=machine.peak_memory_bytes(device))
        piece |= {"environment": machine.describe(device), "engine_note": runner.backend.engine_note}
    ledger.begin(conditions, pieces, tuned)
    log.info("start at line %d of %d", ledger.done, len(ledger.lines))
    for method, now in zip(ledger.methods, conditions, strict=True):
        log.info("%s conditions=%s", method, json.dumps(now))


def look_inside(runners: list[Runner], ledger: Ledger, answered: list[set[str]]) -> None:
    """Where time and memory go, once the samples stand; none of them depends on it. Asked about prompts that this
    process `answered`, by method: others may be what ended an earlier one."""
    for runner, journal, known in zip(runners, ledger.journals, answered, strict=True):
        prompts = [prompt for prompt in ledger.prompts if prompt.sample_id in known]
        journal.facts |= {"profile": runner.profile(prompts), "memory": runner.backend.memory()}
        journal.save()


def log_line(sample: Sample, method: str = "") -> str:
    """One sample in the log, as a person reads it, behind the method where there are several."""
    tokens, seconds = decoded(sample)
    steps = sum(len(turn.steps) for turn in sample.turns)
    rate = tokens / seconds if tokens else 0.0
    return (
        f"{method}{sample.sample_id} repeat={sample.repeat} prompt_tokens={[t.prompt_tokens for t in sample.turns]} "
        f"decoded_tokens={tokens} steps={steps} acceptance_length={tokens / max(steps, 1):.3f} "
        f"decode_seconds={seconds:.4f} tokens_per_second={rate:.2f} stop={[t.stop_reason for t in sample.turns]}"
    )

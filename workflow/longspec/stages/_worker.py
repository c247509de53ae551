"""The process of a generate job that holds the device: load, warm up, answer, append; it measures until it fails.

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

from longspec import lifeline, machine
from longspec.errors import UserError, first_line, redacted
from longspec.journal import Job, Journal
from longspec.records import Prompt, Sample, decoded
from longspec.stages._runner import Runner, measured

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


def work(
    spec: dict[str, Any], journal: Journal, jobs: list[Job], spare: list[Prompt], title: str, pipe: int, stop: bool
) -> None:
    """Answer what the journal lacks. `spare`: prompts to tune on; `stop`: a sample whose numbers are none ends the
    job."""
    lifeline.end_with_parent()
    started = time.perf_counter()
    runner = Runner(spec)
    load_seconds = time.perf_counter() - started
    began = datetime.now(UTC).isoformat(timespec="seconds")
    prompts = [prompt for repeat, prompt in jobs if repeat == 0]
    device = runner.side.device
    conditions = runner.conditions(prompts)
    known = journal.facts["tuning"] if journal.facts["conditions"] == conditions else None
    tuned = runner.tune(prompts, spare, known)
    tell(pipe, begins=None)
    warmed = runner.warm_up(prompts)
    tell(pipe, peak_memory_bytes=machine.peak_memory_bytes(device))
    piece = {
        "started": began,
        "host": platform.node(),
        "load_seconds": load_seconds,
        "warmup_samples": warmed,
        "environment": machine.describe(device),
        "engine_note": runner.side.engine_note,
    }
    journal.begin(conditions, piece, tuned)
    log.info("start %s at sample %d conditions=%s", title, journal.done, json.dumps(conditions))
    answered: set[str] = set()
    samples = measured(runner, jobs, title, journal.done, before=lambda: tell(pipe, begins=journal.done))
    try:
        for sample in samples:
            tell(pipe, peak_memory_bytes=machine.peak_memory_bytes(device))
            log.info(log_line(sample))
            if sample.failed and stop:
                reasons = ", ".join(turn.stop_reason for turn in sample.turns if turn.failed)
                raise UserError(f"sample {sample.sample_id!r}: {reasons}; `on_error: continue` would go on without it")
            journal.append(sample)
            answered |= set() if sample.failed else {sample.sample_id}
        tell(pipe, begins=None)  # time limits hold for what follows too
        look_inside(runner, journal, [prompt for prompt in prompts if prompt.sample_id in answered])
    except (MemoryError, RuntimeError) as error:
        reason = cause(error)
        if reason is None:
            raise
        tell(pipe, cause=reason, message=redacted(first_line(error)))
        sys.stderr.flush()
        os._exit(1)  # at once: tearing down a broken device can hang


def look_inside(runner: Runner, journal: Journal, prompts: list[Prompt]) -> None:
    """Where time and memory go, once the samples stand; none of them depends on it."""
    journal.facts |= {"profile": runner.profile(prompts), "memory": runner.side.memory()}
    journal.save()


def log_line(sample: Sample) -> str:
    """One sample in the log, as a person reads it."""
    tokens, seconds = decoded(sample)
    steps = sum(len(turn.steps) for turn in sample.turns)
    rate = tokens / seconds if tokens else 0.0
    return (
        f"{sample.sample_id} repeat={sample.repeat} prompt_tokens={[t.prompt_tokens for t in sample.turns]} "
        f"decoded_tokens={tokens} steps={steps} acceptance_length={tokens / max(steps, 1):.3f} "
        f"decode_seconds={seconds:.4f} tokens_per_second={rate:.2f} stop={[t.stop_reason for t in sample.turns]}"
    )

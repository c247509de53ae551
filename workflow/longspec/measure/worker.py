"""The process of a generate job that holds the device: load, tune, warm up, then answer and append sample by sample.

All methods of a job are loaded, over one copy of the target's weights, and warmed up before the first sample; the
journal says which method and sample come next. A process whose memory or device failed measures nothing more: it
reports the cause and ends. The worker tells its supervisor when a sample begins and ends (messages.py); the
supervisor enforces time limits and decides what a failure means for the job.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from longspec.backends.server import ServerError
from longspec.core import registry
from longspec.core.errors import UserError, first_line, redacted
from longspec.core.records import Prompt, Sample, decoded
from longspec.core.spec import GenerateSpec
from longspec.measure.entries import Facts, Start
from longspec.measure.job import Job
from longspec.measure.journal import Journal
from longspec.measure.messages import Begins, Ends, Fails, Message
from longspec.measure.session import Bar, Runner
from longspec.models import machine, model_files
from longspec.models.shared import Shared

Tell = Callable[[Message], None]
log = logging.getLogger("longspec.generate")


def cause(error: BaseException) -> str | None:
    """Classify an exception as a cause in records.LOST; None where it is a bug."""
    text = str(error).lower()
    words = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(word in text for word in words)):
        return "out_of_memory"  # torch.OutOfMemoryError is a RuntimeError; the CPU's allocator raises a bare one
    if isinstance(error, ServerError):
        return "server_error"
    if isinstance(error, torch.AcceleratorError | IndexError):
        return "device_error"  # an id or a position past its table is the one on a GPU, the other on a CPU
    return None


def work(job: Job, checked: Sequence[GenerateSpec], tell: Tell) -> None:
    """Measure the samples missing in the job's journal, then profile.

    `checked`: the job's specs with the engines that were checked (verify/engine/jobs.py); `tell` sends a message to the
    supervisor."""
    journal = job.journal()
    runners: list[Runner] = []
    pieces: list[Facts] = []
    shared = Shared() if len(checked) > 1 else None
    try:
        for spec in checked:
            runner, piece = _loaded(spec, shared, job.log.parent)
            runners.append(runner)
            pieces.append(piece)
        _get_ready(job, journal, runners, pieces, tell)
        _answer(job, journal, runners, tell)
    finally:
        for runner in runners:
            runner.backend.end()


def _answer(job: Job, journal: Journal, runners: list[Runner], tell: Tell) -> None:
    """Measure and profile; where memory, the device or a server fails, report it and end this process."""
    try:
        answered = _measure(job, journal, runners, tell)
        tell(Begins())  # the time limit holds for profiling too
        _profile(job, journal, runners, answered)
    except (MemoryError, RuntimeError, IndexError) as error:
        reason = cause(error)
        if reason is None:
            raise
        log.error("a sample failed", exc_info=True)
        tell(Fails(reason, redacted(first_line(error))))
        sys.stderr.flush()
        os._exit(1)  # at once: tearing down a broken device can hang


def _loaded(spec: GenerateSpec, shared: Shared | None, logs: Path) -> tuple[Runner, Facts]:
    """Load a method; returns its runner, and facts of this process for run.json."""
    began, started = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    runner = Runner(spec, shared, logs)
    seconds = time.perf_counter() - started
    models = {option: model_files.resolved(model) for option, model in registry.models_in(spec["method"]).items()}
    return runner, {
        "started": began,
        "host": platform.node(),
        "load_seconds": seconds,
        "models": models,
        "engine_checks": spec.get("engine_checks"),
        **({"server_command": command} if (command := runner.backend.command) else {}),
    }


def _get_ready(job: Job, journal: Journal, runners: list[Runner], pieces: list[Facts], tell: Tell) -> None:
    """Tune all methods, then warm up all, then record in the journal that this process begins."""
    conditions = [runner.conditions(job.prompts) for runner in runners]
    tuned = [
        runner.tune(job.prompts, job.spare, journal.known_tuning(method, now))
        for method, runner, now in zip(job.methods, runners, conditions, strict=True)
    ]
    device = runners[0].backend.device
    environment = machine.describe(device)
    for runner, piece in zip(runners, pieces, strict=True):
        tell(Begins())
        try:
            piece["warmup_samples"] = runner.warm_up(job.prompts)
        except ServerError as error:
            raise UserError(f"methods.{runner.spec['method']['name']}", str(error), "a server that answers") from None
        tell(Ends(_peak_bytes(runner)))
        piece |= {"environment": environment, "engine_note": runner.backend.engine_note}
    journal.begin(dict(zip(job.methods, map(Start, conditions, pieces, tuned), strict=True)))
    log.info("start at line %d of %d", journal.done, len(journal.lines))
    for method, now in zip(job.methods, conditions, strict=True):
        log.info("%s conditions=%s", method, json.dumps(now))


def _measure(job: Job, journal: Journal, runners: list[Runner], tell: Tell) -> list[set[str]]:
    """Answer and append the missing samples; returns the ids of those that succeeded here, by method."""
    answered = [set[str]() for _ in runners]
    with Bar(job.title, len(journal.lines), journal.done) as bar:
        while not journal.complete:
            method = journal.next().method
            runner, named = runners[method], f"{job.methods[method]} " if len(runners) > 1 else ""
            lines = journal.next_pass() if runner.concurrency > 1 else [journal.next()]
            outcomes = runner.outcomes([(line.prompt, line.repeat) for line in lines])
            for line in lines:
                tell(Begins(journal.done))
                outcome = next(outcomes)
                if isinstance(outcome, ServerError) and not outcome.alive:
                    raise outcome
                tell(Ends(_peak_bytes(runner)))
                if isinstance(outcome, ServerError):
                    _lose(job, journal, outcome)
                    continue
                log.info(log_line(outcome, named))
                if outcome.failed and job.stop:
                    raise _refusal(line.prompt, ", ".join(t.stop_reason for t in outcome.turns if t.failed))
                journal.append(outcome)
                bar.add(outcome)
                if not outcome.failed:
                    answered[method].add(outcome.sample_id)
    return answered


def _lose(job: Job, journal: Journal, error: ServerError) -> None:
    """Record that a server failed the next sample, or refuse to go on."""
    log.error("%s: server_error (%s)", journal.where(), error)
    if job.stop:
        raise _refusal(journal.next().prompt, str(error))
    journal.lose("server_error", redacted(str(error)))


def _refusal(prompt: Prompt, why: str) -> UserError:
    expected = "an answer, or `on_error: continue` to go on without it"
    return UserError(f"sample {prompt.sample_id!r}", why, expected)


def _peak_bytes(runner: Runner) -> int:
    """Return the most memory that this process held, and what the server holds now, where there is one."""
    backend = runner.backend
    served = sum((backend.memory() or {}).values()) if backend.command else 0
    return machine.peak_memory_bytes(backend.device) + served


def _profile(job: Job, journal: Journal, runners: list[Runner], answered: list[set[str]]) -> None:
    """Profile each method after all samples, on prompts that this process `answered`.

    Other prompts may be the ones at which an earlier process failed."""
    for method, runner, known in zip(job.methods, runners, answered, strict=True):
        prompts = [prompt for prompt in job.prompts if prompt.sample_id in known]
        journal.note_profile(method, runner.profile(prompts), runner.backend.memory())


def log_line(sample: Sample, method: str = "") -> str:
    """Format one sample for the log; `method` goes before it."""
    tokens, seconds = decoded(sample)
    steps = sum(len(turn.steps) for turn in sample.turns)
    rate = tokens / seconds if seconds else 0.0
    return (
        f"{method}{sample.sample_id} repeat={sample.repeat} prompt_tokens={[t.prompt_tokens for t in sample.turns]} "
        f"decoded_tokens={tokens} steps={steps} acceptance_length={tokens / max(steps, 1):.3f} "
        f"decode_seconds={seconds:.4f} tokens_per_second={rate:.2f} stop={[t.stop_reason for t in sample.turns]}"
    )

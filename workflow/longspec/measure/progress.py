"""Reports how far each job of an experiment is, while it runs or after. No torch.

It reads the results folder only, changes nothing, and is correct while jobs write. Seconds are those of the samples:
loading is not in them.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from longspec.config.plan import schedule
from longspec.config.plan.plan import Plan
from longspec.core.records import Prompt, Sample, decoded, read_records
from longspec.measure import entries, journal
from longspec.measure.lock import LEASE_SECONDS


@dataclass
class Progress:
    """Describe how far one method's samples are.

    `total` is None before the prompts are prepared; `note` is the log's last line if the job stopped."""

    names: tuple[str, str, str]
    state: str
    done: int
    total: int | None
    lost: int
    tokens_per_second: float | None
    seconds_left: float | None
    note: str = ""


Kept = Callable[[Path], dict[str, list[Sample]]]


def progress(
    results: Path,
    names: tuple[str, str, str],
    repeats: int,
    job: Path | None = None,
    kept: Kept = entries.samples,
) -> Progress:
    """Count the finished samples of one method (`names`: model, data set, method), and estimate the seconds left.

    `job`: the folder of the lock and log of the job that measures the method, if it is not the method's own; `kept`:
    reads the job's journal."""
    folder = results.joinpath(*names)
    job = job or folder
    prompts, total = folder.parent / "prompts.jsonl", None
    if prompts.exists():
        total = repeats * len(read_records(prompts, Prompt))
    finished = (folder / "samples.jsonl").exists() and (folder / "run.json").exists()
    made = folder / "samples.jsonl"
    samples = read_records(made, Sample) if finished else kept(job / journal.NAME).get(names[-1], [])
    good = [sample for sample in samples if not sample.failed]
    counts = [decoded(sample) for sample in good]
    seconds = [sum(t.prefill_seconds + t.drafter_prefill_seconds + t.decode_seconds for t in s.turns) for s in good]
    spent = sum(took for _, took in counts)
    left = statistics.mean(seconds) * (total - len(samples)) if seconds and total else None
    state = "done" if finished else "running" if _alive(job / "generate.lock") else "waiting"
    log = job / "generate.log"
    note = ""
    if state == "waiting" and log.exists():
        state, note = "stopped", _last_line(log)
    return Progress(
        names,
        state,
        len(samples),
        total,
        len(samples) - len(good),
        sum(tokens for tokens, _ in counts) / spent if spent else None,
        0.0 if finished else left,
        note,
    )


def _alive(lock: Path) -> bool:
    """Tell if a lock's owner has renewed it lately (assuming that our clock and the file system's agree)."""
    try:
        return time.time() - lock.stat().st_mtime < LEASE_SECONDS
    except FileNotFoundError:
        return False


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else ""


def rows(plan: Plan) -> list[Progress]:
    """Report the progress of every model, data set and method of an experiment, in the order of its grid."""
    cells = plan.grid["cells"]
    jobs = [(m, d, method) for m, datasets in cells.items() for d in datasets for method in plan.grid["methods"]]
    places = [Path(schedule.place(plan.config, plan.results, *names)) for names in jobs]
    results, repeats = Path(plan.results), plan.config.repeats
    kept = functools.cache(entries.samples)  # of methods in turn, one journal holds all
    return [progress(results, names, repeats, place, kept) for names, place in zip(jobs, places, strict=True)]

"""Stage `status`: how far each job of an experiment is, while it runs or after.

    python -m longspec.stages.status [--configfile config/config.yaml ...]

Contract: reads the results folder and nothing else, changes nothing, and is right while jobs write. A table with colour
on a terminal, plain text in a pipe. Seconds are those of the samples themselves: loading is not in them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text
from snakemake.utils import update_config

from longspec.config.load import load
from longspec.config.plan import schedule
from longspec.config.plan.plan import Plan
from longspec.core.errors import UserError
from longspec.core.program import run
from longspec.core.records import Prompt, Sample, decoded, parse_record, read_records
from longspec.journal import LEASE_SECONDS

STYLES = {"done": "green", "running": "cyan", "stopped": "red", "waiting": "dim"}


@dataclass
class Progress:
    """One job. `total` is None before its prompts are prepared; `note` is the log's last line if it stopped."""

    names: tuple[str, str, str]
    state: str
    done: int
    total: int | None
    lost: int
    tokens_per_second: float | None
    seconds_left: float | None
    note: str = ""


def standing(path: Path) -> list[Sample]:
    """The whole lines of a file that is perhaps being written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    lines = content[: content.rfind(b"\n") + 1].decode(errors="replace").splitlines()
    return [parse_record(f"{path}, line {number}", line, Sample) for number, line in enumerate(lines, start=1)]


def progress(results: Path, names: tuple[str, str, str], repeats: int, job: Path | None = None) -> Progress:
    """Where one method stands; `job`: the folder of the lock and log of the job that measures it, if not its own."""
    folder = results.joinpath(*names)
    job = job or folder
    prompts, total = folder.parent / "prompts.jsonl", None
    if prompts.exists():
        total = repeats * len(read_records(prompts, Prompt))
    finished = (folder / "samples.jsonl").exists() and (folder / "run.json").exists()
    samples = standing(folder / ("samples.jsonl" if finished else "samples.jsonl.partial"))
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
    """Whether a lock's owner has given a sign of life, by the file system's clock as far as ours agrees with it."""
    try:
        return time.time() - lock.stat().st_mtime < LEASE_SECONDS
    except FileNotFoundError:
        return False


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else ""


def rows(plan: Plan) -> list[Progress]:
    """Every job of the experiment, in the order of its grid."""
    cells = plan.grid["cells"]
    jobs = [(m, d, method) for m, datasets in cells.items() for d in datasets for method in plan.grid["methods"]]
    places = [Path(schedule.place(plan.config, plan.results, *names)) for names in jobs]
    results, repeats = Path(plan.results), plan.config["repeats"]
    return [progress(results, names, repeats, place) for names, place in zip(jobs, places, strict=True)]


def cells_of(row: Progress) -> list[str]:
    """A job as the texts of one line."""
    left = "" if row.seconds_left is None or row.state == "done" else _duration(row.seconds_left)
    done = f"{row.done}/{'?' if row.total is None else row.total}"
    rate = "" if row.tokens_per_second is None else f"{row.tokens_per_second:.1f}"
    return [*row.names, row.state, done, str(row.lost or ""), rate, left, row.note]


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes // 60}:{minutes % 60:02d} h"


HEAD = ["model", "data set", "method", "state", "samples", "failed", "tokens/s", "left", "last word"]


def show(table: list[Progress], console: Console) -> None:
    """Print it: aligned and coloured for a person, separated by tabs for a program."""
    if not console.is_terminal:
        for line in [HEAD, *map(cells_of, table)]:
            print("\t".join(part.replace("\t", " ") for part in line))
        return
    drawn = Table(*HEAD, box=None, header_style="bold")
    for row in table:
        drawn.add_row(*(Text(part, style=STYLES[row.state]) for part in cells_of(row)))
    console.print(drawn)
    known = [row.seconds_left for row in table if row.seconds_left is not None]
    open_jobs = sum(row.state != "done" for row in table)
    unknown = sum(row.seconds_left is None for row in table)
    console.print(
        f"{len(table) - open_jobs} of {len(table)} jobs done; at least {_duration(sum(known))} of work left"
        + (f", and {unknown} jobs not begun" if unknown else ""),
        highlight=False,
    )


def read_config(files: list[Path]) -> dict[str, Any]:
    """The configuration that Snakemake makes of these files: later ones override."""
    merged: dict[str, Any] = {}
    for file in files:
        try:
            update_config(merged, yaml.safe_load(file.read_text(encoding="utf-8")) or {})
        except (OSError, yaml.YAMLError, AttributeError) as error:
            raise UserError(f"{file}: cannot be read as a configuration ({error})") from None
    return merged


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, look, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, nargs="+", default=[Path("config/config.yaml")])
    files = parser.parse_args(argv).configfile
    show(rows(Plan(load(read_config(files), files))), Console())


if __name__ == "__main__":
    run(main)

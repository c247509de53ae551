"""Runs the generate command as a process of its own, on a tiny model, in a copy of the workflow that may be changed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import faulty
import tiny_folder

from longspec.cli import generate
from longspec.core.records import Prompt, Sample, read_records, to_line
from longspec.measure import journal, supervisor
from longspec.measure.job import Job

REPOSITORY = Path(__file__).parents[1]


def work_here(work: supervisor.Work, job: Job) -> supervisor.Outcome:
    """Run a job's worker in this process, in place of `supervisor.watch`: the imports are done already."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    with reader, writer:
        generate.answer(job, writer)
    return supervisor.Outcome()


class Stage:
    """Run one generate job in a folder of its own."""

    def __init__(self, place: Path, lengths: list[int], method: dict[str, Any] | None = None) -> None:
        """Prepare a job; `lengths`: prompt tokens of the samples s0, s1, ..."""
        self.place = place
        shutil.copytree(REPOSITORY / "workflow", place / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
        faulty.install(place)
        tiny_folder.make(place / "model")
        self.lengths = lengths
        self.job = place / "results"
        prompts = [Prompt(f"s{n}", ["x"], [3 + n % 20] * length, False) for n, length in enumerate(lengths)]
        (place / "prompts.jsonl").write_text("".join(map(to_line, prompts)), encoding="utf-8")
        (place / "tuning.jsonl").touch()
        self.spec: dict[str, Any] = {
            "model": {"name": "tiny", "path": "model"},
            "dataset": {"name": "d", "max_new_tokens": 8},
            "method": {"name": "m", **(method or {"method": "sequential", "drafter": "faulty", "gamma": 1})},
            "sampling": {"temperature": 0.0, "top_k": None, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0},
            **{
                "seed": 0,
                "verification": "keyed",
                "device": "cpu",
                "dtype": "float32",
                "engine": "eager",
                "numerics": "auto",
            },
            **{"threads": 1, "repeats": 1, "warmup": 1, "schedule": "blocked"},
        }

    def command(self, *arguments: str) -> list[str]:
        """Return the command line."""
        files = {"prompts": "prompts.jsonl", "samples": "results/samples.jsonl", "run": "results/run.json"}
        files["tuning"] = "tuning.jsonl"
        files["log"] = "results/generate.log"
        named = [part for name, file in files.items() for part in (f"--{name}", file)]
        return [sys.executable, "-m", "longspec", "generate", "--spec", json.dumps(self.spec), *named, *arguments]

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the command."""
        self.job.mkdir(exist_ok=True)
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.place,
            env={**os.environ, "PYTHONPATH": str(self.place / "workflow"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run the command to its end; returns the exit code and what it printed."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=200)
        return process.returncode, out + err

    @property
    def samples(self) -> list[Sample]:
        """Read samples.jsonl."""
        return read_records(self.job / "samples.jsonl", Sample)

    @property
    def facts(self) -> dict[str, Any]:
        """Read run.json."""
        facts: dict[str, Any] = json.loads((self.job / "run.json").read_text(encoding="utf-8"))
        return facts

    @property
    def journal(self) -> Path:
        """Return the path of the journal of an unfinished job."""
        return self.job / "generate.journal"

    @property
    def kept(self) -> str:
        """Return the text that samples.jsonl would begin with if the job were resumed now."""
        return journal.split(self.journal).get(self.spec["method"]["name"], "")

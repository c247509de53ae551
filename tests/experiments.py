"""A copy of the workflow with a tiny experiment, run by the real Snakemake."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_folder
import yaml

REPOSITORY = Path(__file__).parents[1]
PLANTED = {"HF_TOKEN": "hf_planted0123456789", "WANDB_API_KEY": "planted-key-0123456789"}
"""Secrets in the environment of every run; test_secrets.py looks for them in all that is written."""
PARTS = ("Snakefile", "workflow", "config", "profiles", "environment.yml")


@dataclass
class Clone:
    """Edit and run a copy of the checkout."""

    place: Path
    profiles: tuple[tuple[str, ...], ...] = ((),)
    """Arguments of each way to plan; all must come to the same."""

    def edit(self, **changes: Any) -> None:
        """Change the configuration: `datasets__a__samples=1` sets datasets.a.samples."""
        file = self.place / "config.yaml"
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        for key, value in changes.items():
            *parents, last = key.split("__")
            entry = config
            for parent in parents:
                entry = entry[parent]
            entry[last] = value
        file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def append(self, file: str, text: str) -> None:
        """Add text to one of the clone's files."""
        with (self.place / file).open("a", encoding="utf-8") as out:
            out.write(text)

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the real Snakemake from the command line."""
        command = [sys.executable, "-m", "snakemake", "--resources", "gpu=1", "--configfile", "config.yaml"]
        command += ["--cores", "1", *arguments]  # behind an option that takes one value, targets may stand
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **PLANTED}
        return subprocess.run(
            command, cwd=self.place, env=environment, capture_output=True, text=True, timeout=280, check=False
        )

    def run(self) -> None:
        """Run Snakemake, which must succeed."""
        done = self.snakemake()
        assert done.returncode == 0, done.stdout + done.stderr

    def planned(self, *arguments: str) -> set[str]:
        """List the jobs that a run would do now, as rule or rule:model/dataset[/method]."""
        first, *others = [self._planned(*profile, *arguments) for profile in self.profiles]
        for profile, other in zip(self.profiles[1:], others, strict=True):
            assert other == first, profile
        return first

    def _planned(self, *arguments: str) -> set[str]:
        done = self.snakemake("--quiet", "progress", "-n", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        jobs: set[str] = set()
        rule = ""
        for line in (done.stdout + done.stderr).splitlines():
            if match := re.match(r"(?:local)?rule (\w+):", line):
                rule = match[1]
                jobs.add(rule)
            elif match := re.match(r"\s+wildcards: (.*)", line):
                jobs.discard(rule)
                jobs.add(f"{rule}:" + "/".join(re.findall(r"=([^,]+)", match[1])))
        return jobs - {"all"}


def write_rows(file: Path, texts: list[str]) -> None:
    """Write a data set's rows."""
    file.write_text("".join(json.dumps({"id": f"s{n}", "q": t}) + "\n" for n, t in enumerate(texts)))


def prepare(place: Path) -> Clone:
    """Prepare a tiny experiment before its first run: one model, two data sets, three variants."""
    place.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = REPOSITORY / part
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, place / part)
    tiny_folder.make(place / "model")
    write_rows(place / "a.jsonl", ["abc abc abc", "one two one two", "xyz"])
    write_rows(place / "b.jsonl", ["what is a b c?", "0 1 2 3 0 1 2"])
    entry = {"source": "jsonl", "id_field": "id", "template": "{q}", "max_new_tokens": 6}
    config = {
        "dtype": "float32",
        "device": "cpu",
        "threads": 1,
        "models": {"tiny": {"path": "model"}},
        "datasets": {"a": {**entry, "path": "a.jsonl", "samples": 2}, "b": {**entry, "path": "b.jsonl"}},
        "methods": {
            "vanilla": {"method": "vanilla"},
            "chain": {"method": "sequential", "drafter": "ngram", "gamma": 3, "min_ngram": 1},
            "wide": {"method": "tree", "drafter": "causal_lm", "model": {"path": "model"}, "tree_shape": [2, 2]},
        },
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return Clone(place)

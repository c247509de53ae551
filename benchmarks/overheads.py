"""What the workflow costs beside the generations: planning, finding nothing to do, and keeping each sample safe.

    python benchmarks/overheads.py [--output FILE] [--jobs 2000]

1. `append`: Journal.append (line, flush, fsync) on samples of the default experiment's size, in the results' own file
   system; and what a sample's two messages to the supervisor cost, sent and read. Beside it the seconds of a default
   sample.
2. `planning`: `snakemake -n` over a grid of JOBS generate jobs with nothing made yet.
3. `nothing to do`: the same grid with every output there, and the default experiment, if it has been run.
All are wall seconds; nothing else may run meanwhile. Raw figures go to --output as JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "tests")]

from longspec.core.records import Prompt, Sample, Turn  # noqa: E402
from longspec.measure import order  # noqa: E402
from longspec.measure.entries import Start  # noqa: E402
from longspec.measure.journal import NAME, Journal, Outputs  # noqa: E402
from longspec.measure.messages import Begins, Ends  # noqa: E402

APPENDS = 300
TOKENS = 96
"""New tokens of a default sample."""
SAMPLE_SECONDS = 2.0
"""Of a default sample, about; measured in the same run where the default experiment's results are at hand."""


def appends(place: Path) -> dict[str, float]:
    """Median and largest seconds of one append, and of the two messages with which a sample is announced."""
    lines = order.lines(["m"], [Prompt(f"s{n}", ["x"], [1] * 1000, True) for n in range(APPENDS)], 1, 0)
    outputs = {"m": Outputs(place / "samples.jsonl", place / "run.json")}
    journal = Journal(place / NAME, "k", outputs, lines)
    journal.begin({"m": Start({}, {})})
    seconds = []
    for _, repeat, prompt in lines:
        turn = Turn(1000, "h" * 64, list(range(TOKENS)), [(16, 3, 2)] * (TOKENS // 2), 0.1, 0.0, 1.0, "limit")
        sample = Sample(prompt.sample_id, repeat, [turn], ["some text " * 40])
        started = time.perf_counter()
        journal.append(sample)
        seconds.append(time.perf_counter() - started)
    reader, writer = multiprocessing.Pipe(duplex=False)
    started = time.perf_counter()
    with reader, writer:
        for number in range(APPENDS):
            for message in (Begins(number), Ends(10**9)):
                writer.send(message)
                reader.recv()
    messages = (time.perf_counter() - started) / APPENDS
    return {"append_median": statistics.median(seconds), "append_max": max(seconds), "messages": messages}


def snakemake(place: Path, *arguments: str) -> tuple[float, str]:
    """Wall seconds of one call, and what it printed."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--resources", "gpu=1", *arguments]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stdout + done.stderr
    return seconds, done.stdout + done.stderr


def grid(place: Path, jobs: int) -> None:
    """A workflow in `place` with about so many generate jobs over one tiny model."""
    import tiny_folder

    for part in ("Snakefile", "workflow", "config", "profiles", "environment.yml"):
        source = ROOT / part
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, place / part)
    tiny_folder.make(place / "model")
    (place / "d.jsonl").write_text('{"q": "a"}\n', encoding="utf-8")
    entry = {"source": "jsonl", "path": "d.jsonl", "template": "{q}", "max_new_tokens": 4}
    methods: dict[str, Any] = {"vanilla": {"method": "vanilla"}}
    methods |= {f"g{n}": {"method": "sequential", "drafter": "ngram", "gamma": n} for n in range(1, 20)}
    config = {
        "models": {"tiny": {"path": "model"}},
        "datasets": {f"d{n}": entry for n in range(jobs // 20)},
        "methods": methods,
    }
    (place / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def outputs(place: Path) -> None:
    """Every output of the grid, empty, with Snakemake's note that it is up to date."""
    _, text = snakemake(place, "--configfile", "config.yaml", "--summary")
    for line in text.splitlines():
        name, separator, _ = line.partition("\t")
        if separator and name != "output_file":
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).touch()
    snakemake(place, "--configfile", "config.yaml", "--touch")


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--jobs", type=int, default=2000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT) as folder:
        found: dict[str, Any] = appends(Path(folder))
    found["share_of_a_sample"] = (found["append_median"] + found["messages"]) / SAMPLE_SECONDS
    with tempfile.TemporaryDirectory() as folder:
        grid(Path(folder), args.jobs)
        found["planning"], text = snakemake(Path(folder), "-n", "--quiet", "all", "--configfile", "config.yaml")
        outputs(Path(folder))
        found["nothing_to_do_grid"], text = snakemake(Path(folder), "--configfile", "config.yaml")
        assert "Nothing to be done" in text, text[-2000:]
    if (ROOT / "reports" / "index.html").exists():
        found["nothing_to_do_default"], _ = snakemake(ROOT)
    found["jobs"] = args.jobs
    print(json.dumps(found, indent=2))
    if args.output:
        args.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

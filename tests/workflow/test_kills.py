"""A run that is killed at any moment and started again ends with the results of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from experiments import Clone, write_rows

from longspec.core.records import Sample, read_records

COMMAND = [sys.executable, "-m", "snakemake", "--cores", "1", "--resources", "gpu=1", "--configfile", "config.yaml"]
METHODS = ("vanilla", "chain")
SAMPLES = 12


def outcome(clone: Clone, method: str, dataset: str = "a") -> list[tuple[Any, ...]]:
    """All of a job's samples but for their times."""
    samples = read_records(clone.place / f"results/tiny/{dataset}/{method}/samples.jsonl", Sample)
    return [
        (s.sample_id, s.repeat, s.texts, [(t.output_ids, t.steps, t.stop_reason) for t in s.turns]) for s in samples
    ]


@pytest.fixture
def fresh(experiment: Clone) -> Clone:
    """An experiment of two jobs of a few seconds each, before its first run."""
    write_rows(experiment.place / "a.jsonl", [f"one {n} one {n} two" for n in range(SAMPLES)])
    config = experiment.place / "config.yaml"
    config.write_text(config.read_text().split("  wide:")[0])
    experiment.edit(datasets={"a": {"source": "jsonl", "id_field": "id", "path": "a.jsonl", "template": "{q}"}})
    experiment.edit(datasets__a__max_new_tokens=100, on_error="stop")
    return experiment


def start(clone: Clone) -> psutil.Popen:
    """Snakemake at work."""
    log = (clone.place / "log").open("a")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return psutil.Popen(COMMAND, cwd=clone.place, env=environment, stdout=log, stderr=subprocess.STDOUT)


def kill_one(run: psutil.Popen, chance: random.Random) -> str:
    """SIGKILL to Snakemake or to any process below it; waits until all that it held has ended."""
    family = [run, *run.children(recursive=True)]
    victim = chance.choice([run, *family])
    name = "snakemake" if victim is run else " ".join(victim.cmdline()[:3])
    victim.send_signal(signal.SIGKILL)
    if victim is run:
        run.wait(10)
        _, alive = psutil.wait_procs(family[1:], timeout=5)
        assert not alive, f"outlived snakemake: {[process.cmdline() for process in alive]}"
    return name


def written(clone: Clone) -> int:
    """Samples of unfinished jobs."""
    journals = clone.place.glob("results/**/generate.journal")
    unfinished = [file for file in journals if not file.with_name("samples.jsonl").exists()]
    return sum(file.read_bytes().count(b'"kind": "measured"}\n') for file in unfinished)


def wait(clone: Clone, run: psutil.Popen, chance: random.Random) -> None:
    """For any time, or until samples are being written."""
    if chance.random() < 0.4:
        time.sleep(chance.uniform(0.1, 3.0))
        return
    before, deadline = written(clone), time.monotonic() + 20
    while run.poll() is None and written(clone) <= before and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(chance.uniform(0.0, 0.5))


def disturb(clone: Clone, kills: int, seed: int) -> int:
    """So many kills over one experiment; returns how many left an unfinished job's samples on the disk."""
    chance, done, kept = random.Random(seed), 0, 0
    run = start(clone)
    while done < kills:
        wait(clone, run, chance)
        if run.poll() is None:
            try:
                kill_one(run, chance)
            except psutil.NoSuchProcess:
                continue
            done += 1
            kept += written(clone) > 0
        if run.poll() is None:
            continue
        for journal in clone.place.glob("results/**/generate.journal"):
            unfinished = not journal.with_name("samples.jsonl").exists()
            if unfinished and chance.random() < 0.5:  # as if killed in the middle of a write
                with journal.open("ab") as file:
                    file.write(b'{"method": "vanilla", "sample": {"sample_id": "s')
        finished = [m for m in METHODS if (clone.place / f"results/tiny/a/{m}/samples.jsonl").exists()]
        if len(finished) == len(METHODS):  # too soon: once more
            shutil.rmtree(clone.place / "results/tiny/a" / chance.choice(METHODS))
        run = start(clone)
    run.kill()
    run.wait()
    return kept


def survives(clone: Clone, kills: int, seed: int) -> None:
    wanted = [f"results/tiny/a/{method}/samples.jsonl" for method in METHODS]
    undisturbed = clone.snakemake(*wanted)
    assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    expected = {method: outcome(clone, method) for method in METHODS}
    shutil.rmtree(clone.place / "results")
    kept = disturb(clone, kills, seed)
    done = clone.snakemake(*wanted)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {method: outcome(clone, method) for method in METHODS} == expected
    assert kept > (kills // 5 if kills >= 25 else 0), "too few kills found anything to keep; the test tests little"
    facts = [json.loads(file.read_text()) for file in clone.place.glob("results/tiny/a/*/run.json")]
    assert all(fact["failures"] == [] for fact in facts)
    assert not list(clone.place.glob("results/**/*.journal"))
    assert clone.planned(*wanted) == set()


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kills", [4, *(pytest.param(many, marks=pytest.mark.slow) for many in (25, 200))])
def test_killed_again_and_again_nothing_is_lost(fresh, kills):
    survives(fresh, kills, seed=kills)


def test_a_running_experiment_is_not_started_twice(fresh):
    run = start(fresh)
    try:
        while not (fresh.place / "results/snakemake.lock").exists():
            assert run.poll() is None, (fresh.place / "log").read_text()
            time.sleep(0.1)
        second = fresh.snakemake()
        text = second.stdout + second.stderr
        assert second.returncode != 0
        assert "results/snakemake.lock" in text
        assert f"{run.pid}" in text
        assert "Traceback" not in text
    finally:
        run.kill()
        run.wait()

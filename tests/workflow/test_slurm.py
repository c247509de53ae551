"""The experiment through a real Slurm: one GPU for one job, limits that hit, names, logs, and what reruns."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import faulty
import psutil
import pytest
from experiments import write_rows
from test_kills import outcome
from test_reruns import AFTER, generate

SCRIPT = Path(__file__).parents[1] / "cluster" / "start-slurm"
TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
ARGUMENTS = ["--configfile", "config.yaml", "--profile", "profiles/slurm", "--set-threads", "generate=1", "gate=1"]
ARGUMENTS += [
    "--slurm-no-account",
    "--slurm-init-seconds-before-status-checks",
    "1",
    "--slurm-status-command",
    "squeue",
]
ASKING = """
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)
main()
"""
"""Snakemake that asks Slurm every second: its plug-in waits ten seconds longer each time that no job has ended."""
SNAKEMAKE = [sys.executable, "-c", ASKING]
JOBS = "%i|%T|%k|%S|%e|%m|%l"
"""squeue's id, state, comment, start, end, memory, time limit."""
SLURMD = Path("/var/spool/longspec-slurm/slurmd.pid")
SLOW = "results/tiny/b/wide/samples.jsonl"
pytestmark = pytest.mark.timeout(600)


def why_not() -> str | None:
    """What is missing for a Slurm here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux to start a Slurm"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    return f"needs {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge" if missing else None


@pytest.fixture(scope="session")
def slurm():
    """Running for the session; one that ran before goes on running."""
    if reason := why_not():
        pytest.skip(reason)
    running = subprocess.run(["squeue"], capture_output=True, check=False).returncode == 0
    started = subprocess.run([SCRIPT], capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    yield
    if not running:
        subprocess.run([SCRIPT, "stop"], check=True)


def launch(clone, *arguments):
    """Snakemake as a user of a cluster calls it."""
    command = [*SNAKEMAKE, *ARGUMENTS, *arguments]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=clone.place, env=environment, capture_output=True, text=True, timeout=500)
    return done.returncode, done.stdout + done.stderr


def jobs(after=0):
    """What Slurm knows of jobs with a number above `after`."""
    text = subprocess.check_output(["squeue", "--noheader", "--states=all", f"--format={JOBS}"], text=True)
    found = [line.split("|") for line in text.splitlines()]
    return sorted((job for job in found if int(job[0]) > after), key=lambda job: int(job[0]))


def about(job):
    """All that Slurm knows of one."""
    return subprocess.check_output(["scontrol", "show", "job", job[0]], text=True)


def latest():
    """The highest job number so far."""
    return max((int(job[0]) for job in jobs()), default=0)


@pytest.fixture
def small(slurm, clone):
    """The tiny experiment on one of its data sets with two of its methods, with modest requests."""
    config = clone.place / "config.yaml"
    entry = {"source": "jsonl", "id_field": "id", "template": "{q}", "max_new_tokens": 6, "path": "b.jsonl"}
    config.write_text(config.read_text().split("  wide:")[0])
    clone.edit(models__tiny__resources={"mem_mb": 3000, "runtime": 5}, datasets={"b": entry})
    return clone


def sleeper(clone, line):
    """A method `wide` whose drafter does as `line` says before each sample."""
    faulty.install(clone.place)
    source = clone.place / "workflow/longspec/drafters/faulty.py"
    source.write_text(source.read_text().replace("fault = FAULTS.get(len(ids) - 1)", f"fault = None; {line}"))
    clone.edit(methods__wide={"method": "sequential", "drafter": "faulty", "gamma": 1})


def test_the_whole_experiment_through_slurm(small, finished):
    for folder in ("results", "reports", ".snakemake"):
        shutil.rmtree(small.place / folder)
    before = latest()
    code, text = launch(small)
    assert code == 0, text
    ran = jobs(before)
    assert {job[1] for job in ran} == {"COMPLETED"}
    on_gpu = [job for job in ran if "TresPerJob=gres:gpu:1" in about(job)]
    assert {job[2] for job in on_gpu} == {
        f"rule_{rule}_wildcards_tiny_b_{method}"
        for rule, method in (("generate", "vanilla"), ("generate", "chain"), ("gate", "chain"))
    }
    spans = sorted((job[3], job[4]) for job in on_gpu)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans)), spans
    for file in small.place.glob("results/tiny/b/*/samples.jsonl"):
        there = finished.place / file.relative_to(small.place)
        ours, theirs = ([json.loads(line)["texts"] for line in f.read_text().splitlines()] for f in (file, there))
        assert ours == theirs
    assert (small.place / "reports/index.html").exists()
    assert small.planned(*ARGUMENTS) == set()
    small.edit(methods__chain__gamma=2, models__tiny__resources={"mem_mb": 9}, timeout=7, on_error="stop")
    assert small.planned(*ARGUMENTS) == generate("chain", datasets=("b",)) | AFTER, "of one variant alone"


def test_over_its_memory_a_job_says_so_and_is_tried_again_with_more(small):
    sleeper(small, "self.hoard = os.urandom(1 << 20) * 1500; time.sleep(3)")
    small.edit(models__tiny__resources={"mem_mb": 2400, "runtime": 5})
    before = latest()
    code, text = launch(small, SLOW)
    tried = [job for job in jobs(before) if "generate" in job[2]]
    assert code == 0, text
    assert [job[5] for job in tried] == ["2400M", "4800M"]
    assert tried[0][1] in ("OUT_OF_MEMORY", "FAILED", "CANCELLED"), tried
    assert tried[1][1] == "COMPLETED"
    log = small.place / f".snakemake/slurm_logs/rule_generate/tiny_b_wide/{tried[0][0]}.log"
    assert str(log) in text
    assert re.search("memory|oom", log.read_text(), re.IGNORECASE), log.read_text()


@pytest.mark.slow
def test_over_its_time_a_job_says_so_and_goes_on_where_it_was(small):
    """The first attempt is stopped after a minute or a little more: Slurm counts in whole ones."""
    write_rows(small.place / "b.jsonl", [f"what is {n} and {n}?" for n in range(5)])
    sleeper(small, "time.sleep(20)")
    small.edit(models__tiny__resources={"mem_mb": 3000, "runtime": 1}, warmup=0)
    before = latest()
    code, text = launch(small, SLOW)
    assert code == 0, text
    tried = [job for job in jobs(before) if "generate" in job[2]]
    assert [job[6] for job in tried] == ["1:00", "2:00"]
    assert [job[1] for job in tried] == ["TIMEOUT", "COMPLETED"]
    assert "TIMEOUT" in text
    facts = json.loads((small.place / "results/tiny/b/wide/run.json").read_text())
    first, second = (piece["first_sample"] for piece in facts["pieces"])
    assert first == 0 < second < 5


@pytest.mark.slow
def test_snakemake_dies_the_job_lives_on_and_a_second_one_is_refused(small):
    sleeper(small, "time.sleep(10)")
    before = latest()
    first = subprocess.Popen(
        [*SNAKEMAKE, *ARGUMENTS, SLOW],
        cwd=small.place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = small.place / "results/tiny/b/wide"
    while not (folder / "generate.lock").exists():
        assert first.poll() is None
        time.sleep(0.2)
    first.kill()
    first.wait()
    names = {kind: {"name": "x"} for kind in ("model", "dataset", "method")}
    command = [sys.executable, "-m", "longspec", "generate", "--spec", json.dumps({**names, "repeats": 1, "seed": 0})]
    command += ["--prompts", str(folder.parent / "prompts.jsonl"), "--samples", str(folder / "samples.jsonl")]
    command += [
        "--tuning",
        str(folder.parent / "prompts_tuning.jsonl"),
        "--run",
        str(folder / "run.json"),
        "--log",
        str(folder / "generate.log"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(small.place / "workflow")}
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "generate.lock" in second.stderr
    while any(job[1] in ("RUNNING", "PENDING", "COMPLETING") for job in jobs(before)):
        time.sleep(0.5)
    made = (folder / "samples.jsonl").read_bytes()
    code, text = launch(small, SLOW)
    assert code == 0, text
    assert (folder / "samples.jsonl").read_bytes() == made, text  # the job had noted itself that it was done


def ended(clone, before):
    """Wait until Slurm and the machine have no process of these jobs."""
    lock, deadline = clone.place / Path(SLOW).with_name("generate.lock"), time.monotonic() + 300
    while any(job[1] in ("RUNNING", "PENDING", "COMPLETING") for job in jobs(before)) or lock.exists():
        assert time.monotonic() < deadline, jobs(before)
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [False, True], ids=["slurmd", "slurmd-and-slurmstepd"])
def test_slurm_killed_on_the_node_and_started_again_loses_nothing(small, monkeypatch, steps):
    """A job without its slurmstepd is begun anew by Slurm, two minutes later, which cannot end what is left of it."""
    write_rows(small.place / "b.jsonl", [f"what is {n} and {n}?" for n in range(8)])
    sleeper(small, "time.sleep(float(os.environ.get('NAP', 0)))")
    small.edit(models__tiny__resources={"mem_mb": 3000, "runtime": 2})  # Slurm may miss the job no sooner than that
    done = small.snakemake("--force", SLOW)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = outcome(small, "wide", "b")
    folder = (small.place / SLOW).parent
    shutil.rmtree(folder)
    monkeypatch.setenv("NAP", "2")
    before = latest()
    first = subprocess.Popen([*SNAKEMAKE, *ARGUMENTS, SLOW], cwd=small.place)
    partial = folder / "generate.journal"
    while not partial.exists() or partial.read_bytes().count(b"\n") < 3:
        assert first.poll() is None
        time.sleep(0.1)
    victims = [psutil.Process(int(SLURMD.read_text()))]
    if steps:
        (job,) = jobs(before)
        of_job = f"slurmstepd: [{job[0]}."
        victims += [process for process in psutil.process_iter() if " ".join(process.cmdline()).startswith(of_job)]
        assert len(victims) > 1
    left = [process for victim in victims[1:] for process in victim.children(recursive=True)]
    for victim in victims:
        victim.kill()
    assert not psutil.wait_procs(victims, timeout=10)[1]
    subprocess.run([SCRIPT], check=True)
    first.wait(400)
    ended(small, before)
    for process in left:  # they wait for a step that is no more
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    code, text = launch(small, SLOW)
    assert code == 0, text
    assert outcome(small, "wide", "b") == expected
    facts = json.loads((folder / "run.json").read_text())
    assert facts["failures"] == []
    assert not partial.exists()

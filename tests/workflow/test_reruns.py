"""What the real Snakemake runs, and runs again: a changed job with all that follows from it, and nothing else.

Which jobs a change touches at first: test_plans.py.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys

import planning
import pytest
from experiments import PARTS, REPOSITORY, Clone

ALL_METHODS = ("vanilla", "chain", "wide")
JUDGED = {"speedup", "audit", "summary", "report"}
ANALYSIS = {"metrics", *JUDGED}
AFTER = {"lossless", *ANALYSIS}
"""What follows from any generation."""
EVERYWHERE = ((), ("--profile", "profiles/slurm"))
"""Here, and as on a cluster; a plan asks no Slurm."""


def generate(*methods, datasets=("a", "b")):
    """These jobs, and the gates that compare them."""
    return {f"generate:tiny/{dataset}/{method}" for dataset in datasets for method in methods} | gate(
        *(set(methods) - {"vanilla"}), datasets=datasets
    )


def gate(*methods, datasets=("a", "b")):
    return {f"gate:tiny/{dataset}/{method}" for dataset in datasets for method in methods}


def test_from_nothing_every_file_appears(finished):
    results = finished.place / "results"
    names = {path.relative_to(results).as_posix() for path in results.rglob("*.*")}
    for dataset in "ab":
        assert f"tiny/{dataset}/prompts.jsonl" in names
        for method in ALL_METHODS:
            assert {f"tiny/{dataset}/{method}/{f}" for f in ("samples.jsonl", "run.json", "generate.log")} <= names
    tables = ("timings", "throughput", "acceptance", "lossless", "speedup", "audit")
    assert {*(f"{table}.csv" for table in tables), "summary.json", "tiny/tokens.json"} <= names
    made = {path.name for path in (finished.place / "reports").iterdir()}
    assert made == {"index.html", "paper.html", "tables.md", "tables.tex"}
    assert (finished.place / "reports" / "index.html").stat().st_size > 10_000


def test_the_log_has_a_line_for_each_sample(finished):
    log = (finished.place / "results/tiny/b/chain/generate.log").read_text()
    assert log.count(" s0 ") == log.count(" s1 ") == 1


def test_a_real_run_passes_the_symmetry_audit_and_shows_its_steps(finished):
    rows = (finished.place / "results" / "audit.csv").read_text(encoding="utf-8").splitlines()
    assert [row for row in rows[1:] if ",pass," not in row] == []
    page = (finished.place / "reports" / "index.html").read_text(encoding="utf-8")
    data = json.loads(re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[0])
    sample = next(iter(data["samples"]))
    text = (finished.place / "results/tiny/a/vanilla/samples.jsonl").read_text(encoding="utf-8").splitlines()[0]
    parts = [output["parts"] for output in sample["outputs"]]
    assert parts[0] == json.loads(text)["texts"]
    assert ["".join(part) for part in parts[1:]] == json.loads(text)["texts"] * 2


def noted(clone):
    """The parameters that Snakemake keeps of each job, by its name, to hold the next run's against them."""
    files = {base64.b64decode(f.name).decode(): f for f in (clone.place / ".snakemake" / "metadata").iterdir()}
    found = {}
    for output, job in planning.job_of(clone.place, *files).items():
        found.setdefault(job, set()).add(tuple(json.loads(files[output].read_text(encoding="utf-8"))["params"]))
    return found


def test_the_parameters_read_from_the_rules_are_those_that_snakemake_notes(finished):
    """Without those that follow from the names of inputs and outputs, which it leaves out."""
    named = {
        job: {tuple(sorted(repr(v) for k, v in given.items() if k not in ("shell", "results", "reports")))}
        for job, given in planning.jobs(finished.place).items()
    }
    assert noted(finished) == named


def test_a_changed_or_missing_job_is_done_again_with_all_that_follows(clone):
    """A variant's own option for one method, and for the other a file of one data set that is deleted."""
    clone.edit(methods__chain__gamma=2)
    (clone.place / "results/tiny/a/wide/samples.jsonl").unlink()
    assert clone.planned() == generate("chain") | generate("wide", datasets=("a",)) | AFTER


def test_a_changed_table_is_made_again_with_all_that_follows(clone):
    clone.append("workflow/longspec/verify/audit_rules.py", "NEW = 1\n")
    assert clone.planned() == {"audit", "summary", "report"}


def test_a_fresh_clone_with_old_results(finished, tmp_path):
    """New modification times for the code, the old ones for results, and no records of Snakemake; here, on a cluster
    and on more cores."""
    for part in (*PARTS, "config.yaml", "a.jsonl", "b.jsonl"):
        source = (REPOSITORY if part in PARTS else finished.place) / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
        if source.is_file():
            (tmp_path / part).touch()
    for file in (tmp_path / "workflow").rglob("*.py"):
        file.touch()
    for folder in ("model", "results", "reports"):
        shutil.copytree(finished.place / folder, tmp_path / folder)
    assert Clone(tmp_path, EVERYWHERE).planned("--cores", "7") == set()


def test_a_failed_job_leaves_no_report_that_looks_up_to_date(clone):
    weights = shutil.copytree(clone.place / "model", clone.place / "broken") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])  # only who loads it can know
    clone.edit(methods__wide__model={"path": "broken"})
    failed = clone.snakemake()
    assert failed.returncode != 0
    assert "broken/model.safetensors" in failed.stdout + failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
    assert clone.planned() == generate("wide") | AFTER


def test_stopped_between_prepare_and_generate(clone):
    """New prompts, and old generations that by their times are newer, as after a copy: still made again."""
    clone.edit(datasets__a__samples=1)
    assert clone.snakemake("--until", "prepare").returncode == 0
    assert len((clone.place / "results/tiny/a/prompts.jsonl").read_text().splitlines()) == 1
    for file in (clone.place / "results/tiny/a").glob("*/*.json*"):
        file.touch()
    for folder in ("results", "reports"):
        for file in (clone.place / folder).glob("*.*"):
            file.touch()
    assert clone.planned() == generate(*ALL_METHODS, datasets=("a",)) | AFTER


def test_the_second_run_says_that_nothing_is_to_be_done(clone):
    done = clone.snakemake()
    assert "Nothing to be done" in done.stdout + done.stderr


def test_a_cluster_is_given_all_jobs_at_once(clone):
    """As a user calls it, without --cores. This `sbatch` notes how it is called, and refuses."""
    tools = clone.place / "tools"
    tools.mkdir()
    for tool in ("sbatch", "sacct", "sacctmgr", "scancel", "scontrol", "sinfo", "squeue"):
        (tools / tool).write_text(f"#!/bin/sh\necho {tool} $* >> {tools}/calls\n[ {tool} != sbatch ]\n")
        (tools / tool).chmod(0o755)
    for name in ("samples.jsonl", "gate.jsonl"):
        for file in (clone.place / "results").rglob(name):
            file.unlink()
    clone.edit(models__tiny__resources={"gpus": 4})
    command = [sys.executable, "-m", "snakemake", "--configfile", "config.yaml", "--profile", "profiles/slurm"]
    command += ["--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"]
    path = f"{tools}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=clone.place, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=100
    )
    calls = (tools / "calls").read_text() if (tools / "calls").exists() else done.stdout + done.stderr
    submitted = [call for call in calls.splitlines() if "--attempt 1 " in call]  # a refused job is tried again
    assert len(submitted) == 6, calls
    assert all("--gpus=4 " in call for call in submitted)


@pytest.mark.parametrize(("file", "jobs"), [("config/config.yaml", 3), ("config/paper.yaml", 104)])
def test_the_repositorys_experiments_are_planned_without_gpu_or_network(clone, file, jobs):
    done = clone.snakemake("-n", "--quiet", "progress", "--configfile", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("rule generate:") == jobs


def test_the_slurm_profile_asks_for_one_gpu_a_job(clone):
    done = clone.snakemake("-n", "--profile", "profiles/slurm", "--forcerun", "generate")
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert text.count("gpu=1") >= 10


def test_a_timed_job_claims_every_core(clone):
    done = clone.snakemake("-n", "--cores", "7", "--forcerun", "generate")
    assert (done.stdout + done.stderr).count("threads: 7") == 10

"""Only what is invalidated reruns: the exact job set of each change, planned by the real Snakemake."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_folder
from conftest import PARTS, REPOSITORY, Clone

ALL_METHODS = ("vanilla", "chain", "wide")
JUDGED = {"speedup", "costs", "audit", "summary", "report"}
ANALYSIS = {"metrics", *JUDGED}
AFTER = {"lossless", *ANALYSIS}
"""What follows from any generation."""


EVERYWHERE = ((), ("--profile", "profiles/slurm"))
"""Here, and as on a cluster; a plan asks no Slurm."""


@pytest.fixture
def clone(clone):
    """Each change is planned both ways."""
    return dataclasses.replace(clone, profiles=EVERYWHERE)


def generate(*methods, datasets=("a", "b")):
    """These jobs, and the gates that compare them."""
    return {f"generate:tiny/{dataset}/{method}" for dataset in datasets for method in methods} | gate(
        *(set(methods) - {"vanilla"}), datasets=datasets
    )


def gate(*methods, datasets=("a", "b")):
    return {f"gate:tiny/{dataset}/{method}" for dataset in datasets for method in methods}


def test_from_nothing_every_file_appears_and_then_nothing_is_to_do(finished):
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
    assert finished.planned() == set()


def test_the_log_has_a_line_for_each_sample(finished):
    log = (finished.place / "results/tiny/b/chain/generate.log").read_text()
    assert log.count(" s0 ") == log.count(" s1 ") == 1


def test_report_template(clone):
    clone.append("workflow/longspec/report/templates/report.html.j2", "<!-- new -->\n")
    assert clone.planned() == {"report"}


def test_report_style(clone):
    clone.append("workflow/longspec/report/templates/style.css", "p { margin: 0 }\n")
    assert clone.planned() == {"report"}


def test_the_reports_script_and_the_published_figures(clone):
    clone.append("workflow/longspec/report/templates/report.js", "// new\n")
    clone.append("workflow/longspec/report/templates/longspec.csv", "")
    assert clone.planned() == {"report"}


def test_the_summarys_schema(clone):
    clone.append("workflow/longspec/analysis/summary.schema.json", "\n")
    assert clone.planned() == {"summary", "report"}


def test_the_audits_code(clone):
    clone.append("workflow/longspec/verify/audit_rules.py", "NEW = 1\n")
    assert clone.planned() == {"audit", "summary", "report"}


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


def test_metric_code(clone):
    clone.append("workflow/longspec/analysis/timings.py", "NEW = 1\n")
    assert clone.planned() == ANALYSIS


def test_the_gates_code(clone):
    clone.append("workflow/longspec/verify/gate.py", "NEW = 1\n")
    assert clone.planned() == gate("chain", "wide") | {"lossless", *JUDGED}


def test_what_is_done_about_a_lossy_method(clone):
    clone.edit(lossless="require")
    assert clone.planned() == JUDGED


def test_the_temperature(clone):
    clone.edit(sampling={"temperature": 0.5})
    assert clone.planned() == generate(*ALL_METHODS) | AFTER


def test_a_length_left_to_auto_is_chosen_and_shown(clone):
    clone.edit(methods__chain__gamma="auto")
    assert clone.planned() == generate("chain") | AFTER | {"tuning"}


def test_gamma_of_one_variant(clone):
    clone.edit(methods__chain__gamma=2)
    assert clone.planned() == generate("chain") | AFTER


def test_a_drafters_file(clone):
    clone.append("workflow/longspec/drafters/ngram.py", "NEW = 1\n")
    assert clone.planned() == generate("chain") | AFTER


def test_a_methods_file(clone):
    clone.append("workflow/longspec/decoding/methods/tree.py", "NEW = 1\n")
    assert clone.planned() == generate("wide") | AFTER


def test_the_loop(clone):
    clone.append("workflow/longspec/decoding/loop.py", "NEW = 1\n")
    assert clone.planned() == generate(*ALL_METHODS) | AFTER


def test_a_method_added(clone):
    clone.edit(methods__short={"method": "sequential", "drafter": "ngram", "gamma": 1})
    assert clone.planned() == generate("short") | AFTER


def test_a_method_removed(clone):
    file = clone.place / "config.yaml"
    file.write_text(file.read_text(encoding="utf-8").split("  wide:")[0], encoding="utf-8")
    assert clone.planned() == AFTER


def test_the_weights_of_a_drafter_model(clone):
    """Moved first, so that the drafter is not the target and a run has recorded it."""
    tiny_folder.make(clone.place / "draft", seed=1)
    clone.edit(methods__wide__model={"path": "draft"})
    clone.run()
    assert clone.planned() == set()
    tiny_folder.make(clone.place / "draft", seed=2)
    assert clone.planned() == generate("wide") | AFTER


def test_a_data_set_added(clone):
    entry = {"source": "jsonl", "path": "b.jsonl", "template": "{q} again", "max_new_tokens": 6}
    clone.edit(datasets__c=entry)
    assert clone.planned() == {"prepare:tiny/c"} | generate(*ALL_METHODS, datasets=("c",)) | AFTER


def test_number_of_samples(clone):
    clone.edit(datasets__a__samples=3)
    assert clone.planned() == {"prepare:tiny/a"} | generate(*ALL_METHODS, datasets=("a",)) | AFTER


def test_a_row_of_local_data(clone):
    clone.append("b.jsonl", json.dumps({"id": "s9", "q": "new"}) + "\n")
    assert clone.planned() == {"prepare:tiny/b"} | generate(*ALL_METHODS, datasets=("b",)) | AFTER


def test_comments_and_order_change_nothing(clone):
    file = clone.place / "config.yaml"
    text = file.read_text(encoding="utf-8")
    head, methods = text.split("methods:\n")
    vanilla, rest = methods.split("  chain:")
    file.write_text(f"# a comment\nmethods:\n  chain:{rest}{vanilla}{head}", encoding="utf-8")
    assert clone.planned() == set()


def test_a_fresh_clone_with_old_results(finished, tmp_path):
    """New modification times for the code, the old ones for results, and no records of Snakemake."""
    for part in (*PARTS, "config.yaml", "a.jsonl", "b.jsonl"):
        source = (REPOSITORY if part in PARTS else finished.place) / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / part)
        if source.is_file():
            (tmp_path / part).touch()
    for file in (tmp_path / "workflow").rglob("*.py"):
        file.touch()
    for folder in ("model", "results", "reports"):
        shutil.copytree(finished.place / folder, tmp_path / folder)
    assert Clone(tmp_path, EVERYWHERE).planned() == set()


def test_a_deleted_intermediate_is_made_again(clone):
    (clone.place / "results/tiny/a/chain/samples.jsonl").unlink()
    assert clone.planned() == generate("chain", datasets=("a",)) | AFTER


def test_a_failed_job_leaves_no_report_that_looks_up_to_date(clone):
    clone.edit(methods__wide__model={"path": "nowhere"})
    failed = clone.snakemake()
    assert failed.returncode != 0
    assert "nowhere: has no config.json" in failed.stdout + failed.stderr
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


def test_more_cores_change_nothing(clone):
    assert clone.planned("--cores", "7") == set()


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
    command = [sys.executable, "-m", "snakemake", "--configfile", "config.yaml", "--profile", "profiles/slurm"]
    command += ["--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"]
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=clone.place, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=100
    )
    calls = (tools / "calls").read_text() if (tools / "calls").exists() else done.stdout + done.stderr
    submitted = [call for call in calls.splitlines() if "--attempt 1 " in call]  # a refused job is tried again
    assert len(submitted) == 6, calls
    assert all("--gpus=1 " in call for call in submitted)


def test_default_and_paper_experiments_are_planned_without_gpu_or_network(finished):
    for file, jobs in (("config/config.yaml", 21), ("config/paper.yaml", 78)):
        done = finished.snakemake("-n", "--quiet", "progress", "--configfile", file)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (done.stdout + done.stderr).count("rule generate:") == jobs


def test_the_slurm_profile_asks_for_one_gpu_a_job(finished):
    done = finished.snakemake("-n", "--profile", "profiles/slurm", "--forcerun", "generate")
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert text.count("gpu=1") >= 10


def test_a_timed_job_claims_every_core(finished):
    done = finished.snakemake("-n", "--cores", "7", "--forcerun", "generate")
    assert (done.stdout + done.stderr).count("threads: 7") == 10

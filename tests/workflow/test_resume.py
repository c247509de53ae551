"""A job that ends early resumes where it was; also when its parent dies, and with two experiments in one clone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from stage import Stage

from longspec.core.records import Sample, read_records

LONG = [*range(5, 17)]
VANILLA = {"method": "vanilla"}


def wait_for_lines(stage: Stage, lines: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while stage.kept.count("\n") < lines:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_terminated_job_says_so_keeps_what_is_finished_and_goes_on(tmp_path):
    stage = Stage(tmp_path, LONG, VANILLA)
    stage.spec["dataset"]["max_new_tokens"] = 200
    process = stage.start()
    wait_for_lines(stage, 3, process)
    worker = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert not psutil.wait_procs(worker, timeout=5)[1]
    kept = stage.kept
    assert "SIGTERM" in (stage.job / "generate.log").read_text().splitlines()[-1]
    code, text = stage.run()
    assert code == 0, text
    assert (stage.job / "samples.jsonl").read_text().startswith(kept)
    first, second = stage.facts["pieces"]
    assert (first["first_sample"], second["first_sample"]) == (0, kept.count("\n"))
    assert first["environment"]["device_name"] == second["environment"]["device_name"]
    assert len(second["warmup_samples"]) == 1
    assert [s.sample_id for s in stage.samples] == [f"s{n}" for n in range(len(LONG))]


def test_a_process_ends_when_the_one_that_wanted_it_is_killed(tmp_path):
    """The parent of the shell, as Snakemake is: the shell itself lives on until its command ends."""
    stage = Stage(tmp_path, LONG, VANILLA)
    stage.spec["dataset"]["max_new_tokens"] = 200
    owner = subprocess.Popen(["sleep", "1000"])
    process = stage.start(LONGSPEC_PARENT=str(owner.pid))
    wait_for_lines(stage, 1, process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    owner.kill()
    owner.wait()
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL
    assert not psutil.wait_procs(family, timeout=5)[1]


def test_a_process_whose_parent_ended_before_it_looked_ends_too():
    """As a worker does whose supervisor was killed while it started: its parent is then another process."""
    looks = (
        "import os, sys; from longspec.core import watchdog; watchdog.end_with_parent(int(sys.argv[1])); print('on')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for parent, code, said in ((os.getpid(), 0, "on\n"), (os.getppid(), -signal.SIGKILL, "")):
        done = subprocess.run(
            [sys.executable, "-c", looks, str(parent)], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (code, said), done.stderr


def listing(*folders):
    """Every file with its time and content."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {file: (file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_experiments_side_by_side_from_one_clone(clone):
    """Both begin at once; neither finds anything of the other's, nor touches it."""
    second = clone.place / "second.yaml"
    text = (clone.place / "config.yaml").read_text()
    second.write_text(f"results: results-second\nreports: reports-second\n{text}")
    shutil.rmtree(clone.place / "results/tiny/a")
    stays = listing(clone.place / "results/tiny/b")  # the first has it, and the second makes its own
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--resources", "gpu=1", "--configfile"]
    environment = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    with (clone.place / "log").open("w") as log:
        runs = [
            subprocess.Popen([*command, name], cwd=clone.place, env=environment, stdout=log, stderr=log)
            for name in ("config.yaml", "second.yaml")
        ]
        codes = [run.wait(250) for run in runs]
    assert codes == [0, 0], (clone.place / "log").read_text()
    for dataset in "ab":
        for method in ("vanilla", "chain", "wide"):
            files = [clone.place / f"{r}/tiny/{dataset}/{method}/samples.jsonl" for r in ("results", "results-second")]
            ours, theirs = ([(s.sample_id, s.texts) for s in read_records(file, Sample)] for file in files)
            assert ours == theirs
            facts = [json.loads(file.with_name("run.json").read_text()) for file in files]
            assert [len(fact["pieces"]) for fact in facts] == [1, 1]
    assert listing(clone.place / "results/tiny/b") == stays
    assert clone.planned() == set()
    theirs = listing(clone.place / "results-second", clone.place / "reports-second")
    done = clone.snakemake("--forcerun", "prepare")
    assert done.returncode == 0, done.stdout + done.stderr
    assert listing(clone.place / "results-second", clone.place / "reports-second") == theirs
    assert clone.planned("--configfile", "second.yaml") == set()

"""A full disk is one message and exit code 2 wherever it is met, and the same command ends right once there is room.

`/dev/full` behind a file's name is a disk that is full for that file alone; a small tmpfs is one that is full for all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import results_folder
from stage import Stage

from longspec.cli import analyse, gate, report
from longspec.core.program import run
from longspec.measure.lock import hold_lock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full and tmpfs")
FULL = "the disk is full"
VANILLA = {"method": "vanilla"}


def refused(code: int, text: str) -> bool:
    """Whether it ended with the one message and nothing else that a reader must wade through."""
    return code == 2 and text.count(FULL) == 1 and "Traceback" not in text


def fill(folder: Path) -> Path:
    """Use up all room; returns what to delete. At most 8 MB, should the folder not be a small disk."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(2048):
            file.write(bytes(4096))
    return ballast


@pytest.fixture
def small_disk():
    """Mounts a file system of 2 MB on a folder; pages of 4 KB, or a file's first byte would take all of it."""
    mounted: list[Path] = []

    def mount(place: Path) -> Path:
        place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=2m,huge=never", "tmpfs", str(place)]
        if not shutil.which("mount") or os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
            pytest.skip("needs the right to mount a file system")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_up_between_samples(tmp_path, small_disk):
    """Samples are short, so that some still fit into the last page of their file: no line may be lost or torn."""
    stage = Stage(tmp_path, [5, 6, 38, *range(7, 31)])
    small_disk(stage.job)
    code, text = stage.run()
    assert refused(code, text), text
    kept = stage.kept
    assert stage.journal.read_bytes().endswith(b"\n")
    assert 2 <= kept.count("\n") < len(stage.lengths)
    (stage.job / "ballast").unlink()
    code, text = stage.run()
    assert code == 0, text
    assert (stage.job / "samples.jsonl").read_text().startswith(kept)
    assert [s.sample_id for s in stage.samples] == [f"s{n}" for n in range(len(stage.lengths))]


def test_a_disk_that_is_full_for_a_jobs_facts_or_its_log(tmp_path):
    stage = Stage(tmp_path, [5, 6, 7], VANILLA)
    stage.job.mkdir()
    (stage.job / "generate.journal.unfinished").symlink_to("/dev/full")
    code, text = stage.run()
    assert refused(code, text), text
    assert not stage.journal.exists()
    (stage.job / "run.json.unfinished").symlink_to("/dev/full")
    code, text = stage.run()
    assert refused(code, text), text
    kept = stage.kept
    assert kept.count("\n") == 3
    assert not (stage.job / "run.json").exists()
    (stage.job / "generate.log").unlink()
    (stage.job / "generate.log").symlink_to("/dev/full")
    code, text = stage.run()
    assert code == 0, text  # the log is for people; the samples stand
    assert text == ""
    assert (stage.job / "samples.jsonl").read_text() == kept
    assert stage.facts["failures"] == []


def programs(results: Path):
    """Each analysis stage in its order, with its arguments."""
    folder = results / "m/d"
    spec = {"sampling": {"temperature": 0}, "method": {"method": "sequential", "drafter": "ngram"}}
    files = ["--prompts", folder / "prompts.jsonl", "--samples", folder / "chain/samples.jsonl"]
    files += ["--vanilla", folder / "vanilla/samples.jsonl", "--output", folder / "chain/gate.jsonl"]
    files += ["--run", folder / "chain/run.json", "--vanilla-run", folder / "vanilla/run.json"]
    yield gate, ["--spec", json.dumps(spec), *map(str, files)]
    arguments = ["--grid", json.dumps(results_folder.GRID), "--results", str(results)]
    for step in ("metrics", "lossless", "speedup", "audit"):
        yield analyse, [step, *arguments]
    yield analyse, ["summary", *arguments, "--reports", str(results / "made")]
    yield report, [*arguments, "--config", json.dumps({"seed": 0, "methods": {}}), "--reports", str(results / "made")]


def tried(stage, arguments, capsys) -> tuple[int, str]:
    """The stage as a program: its exit code, and what it said."""
    capsys.readouterr()
    code = 0
    try:
        run(lambda: stage.main(arguments))
    except SystemExit as stopped:
        code = int(str(stopped.code))
    return code, capsys.readouterr().err


def test_a_disk_that_is_full_for_any_file_of_the_analysis(tmp_path, capsys):
    """The disk is full for each file that a stage makes, in turn: it is not there, and then it is whole."""
    results = results_folder.write_all(tmp_path)
    (results / "lossless.csv").unlink()
    results_folder.write_run(results, "chain", results_folder.VANILLA)
    run_json = results / "m/d/chain/run.json"
    facts = json.loads(run_json.read_text())
    run_json.write_text(json.dumps({**facts, "tuning": {"options": {"gamma": 3}}}))
    names = []
    for stage, arguments in programs(results):
        before = set(results.rglob("*.*"))
        assert tried(stage, arguments, capsys) == (0, "")
        for file in sorted(set(results.rglob("*.*")) - before):
            whole = file.read_bytes()
            file.unlink()
            file.with_name(f"{file.name}.unfinished").symlink_to("/dev/full")
            code, text = tried(stage, arguments, capsys)
            assert refused(code, text), text
            assert file.name in text
            assert not file.exists()
            assert tried(stage, arguments, capsys) == (0, "")
            assert file.read_bytes() == whole
            names.append(file.name)
    assert {"gate.jsonl", "timings.csv", "lossless.csv", "speedup.csv", "costs.csv", "audit.csv"} <= set(names)
    assert {"tuning.csv", "summary.json", "tables.md", "tables.tex", "index.html", "paper.html"} <= set(names)
    assert not list(results.rglob("*.unfinished"))


def test_a_folder_without_room_cannot_be_claimed_and_says_why(tmp_path, small_disk):
    """Also where a dead process holds the lock: to take it over something must be written."""
    folder = small_disk(tmp_path / "disk")
    ballast = fill(folder)
    with pytest.raises(OSError, match=r"No space left.*lock"), hold_lock(folder / "lock"):
        pass
    assert not (folder / "lock").exists()
    ballast.unlink()
    hold = "import os, sys; from pathlib import Path; from longspec.measure.lock import hold_lock\n"
    hold += "with hold_lock(Path(sys.argv[1])):\n    os._exit(0)"
    package = str(Path(results_folder.__file__).parents[1] / "workflow")
    subprocess.run([sys.executable, "-c", hold, str(folder / "lock")], env={"PYTHONPATH": package}, check=True)
    ballast = fill(folder)
    with pytest.raises(OSError, match=r"No space left.*lock"), hold_lock(folder / "lock"):
        pass
    ballast.unlink()
    with hold_lock(folder / "lock"):
        pass
    assert list(folder.iterdir()) == []


def test_a_full_results_folder_through_snakemake(clone, small_disk, tmp_path):
    """What is missing is made again, byte for byte, once there is room."""
    results = clone.place / "results"
    moved = results.rename(tmp_path / "moved")
    shutil.copytree(moved, small_disk(results), dirs_exist_ok=True)
    table = results / "timings.csv"
    whole = table.read_bytes()
    table.unlink()
    (results / "metrics.log").unlink()
    ballast = fill(results)
    done = clone.snakemake()
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert re.search(rf"results/snakemake\.lock.*{FULL}", text), text
    assert "Traceback" not in text
    os.truncate(ballast, ballast.stat().st_size - 4096)  # a page, which the lock takes
    done = clone.snakemake()
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert re.search(rf"error: results/\w+\.csv.*{FULL}", text), text
    assert "Traceback" not in text
    assert not table.exists()
    ballast.unlink()
    clone.run()
    assert table.read_bytes() == whole
    assert clone.planned() == set()

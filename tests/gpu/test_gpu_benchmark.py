"""`make gpu-benchmark` runs without a GPU on tiny models only, survives a failing section, and refuses otherwise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"
BROKEN = """
import sys, time
sys.path.insert(0, {folder!r})
import run, sections

def fails(place, found):
    yield {{"before": {{"engine": "static"}}}}
    raise RuntimeError("no kernel image")

def hangs(place, found):
    yield {{"before": {{"engine": "static"}}}}
    time.sleep(60)

sections.ALL.update(replay=fails, smollm2=hangs)
run.SECTION_MINUTES.update(smollm2=1 / 60)
sys.argv = ["run.py", "--tiny", "--only", "replay", "smollm2", "device", "--output", {output!r}]
sys.exit(run.main())
"""


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


def test_the_tiny_run_fills_every_section(tmp_path):
    done = python(str(FOLDER / "run.py"), "--tiny", "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert {name for name in found if name != "tiny"} == {"device", "attention", "steps", "replay", "smollm2"}
    assert {row["engine"] for row in found["steps"].values() if isinstance(row, dict)} == {"static", "eager"}
    assert all(row["identical"] == row["prompts"] for key, row in found["smollm2"].items() if "float32" in key)
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "no figure on this page means anything" in page
    assert "T(69)/T(1)" in page
    assert "rror" not in page


def test_a_section_that_fails_or_hangs_leaves_the_others(tmp_path):
    done = python("-c", BROKEN.format(folder=str(FOLDER), output=str(tmp_path)))
    assert done.returncode == 1, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert found["replay"]["error"] == "RuntimeError: no kernel image"
    assert found["smollm2"]["error"] == "OutOfTimeError: its minutes are over"
    assert found["replay"]["before"] == found["smollm2"]["before"] == {"engine": "static"}
    assert found["device"]["copy_bytes_per_second"] > 0
    assert "no kernel image" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured(tmp_path):
    done = python(str(FOLDER / "run.py"), "--output", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "CUDA" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())

"""Jobs run the code of the checkout that Snakemake runs from, whatever else is installed or can be imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from experiments import REPOSITORY

OLD = "raise SystemExit('an old copy was imported')"


@pytest.fixture
def old_copy(tmp_path, monkeypatch):
    """A folder that stands before everything that is installed, with a package of our name."""
    place = tmp_path / "old"
    (place / "longspec").mkdir(parents=True)
    for name in ("__init__", "__main__"):
        (place / "longspec" / f"{name}.py").write_text(OLD, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(place))
    return place


def test_the_old_copy_would_be_found(old_copy):
    """The control: what the next test guards against happens where nobody guards."""
    done = subprocess.run([sys.executable, "-m", "longspec"], capture_output=True, text=True, check=False)
    assert "an old copy was imported" in done.stderr


def test_planning_and_jobs_run_the_checkouts_own_code(clone, old_copy):
    clone.append("workflow/longspec/cli/prepare.py", "print('MARK', __file__)\n")
    done = clone.snakemake("--force", "results/tiny/a/prompts.jsonl")
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert f"MARK {clone.place / 'workflow/longspec/cli/prepare.py'}" in text


INSTALLED = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('longspec', run_name='__main__')"
"""As `python -m longspec` where the first argument's folder is what is installed."""


def test_a_command_refuses_to_run_in_another_checkout(clone):
    """Two checkouts and one environment: it would show the one with the code of the other."""
    package = REPOSITORY / "workflow"
    arguments = ["status", "--configfile", str(clone.place / "config.yaml")]
    chosen = {**os.environ, "PYTHONPATH": str(package)}
    for command, environment, refused in (
        ([sys.executable, "-c", INSTALLED, str(package)], dict(os.environ), True),
        ([sys.executable, "-c", INSTALLED, str(clone.place / "workflow")], dict(os.environ), False),
        ([sys.executable, "-m", "longspec"], chosen, False),  # as a job of Snakemake is called
    ):
        done = subprocess.run(
            [*command, *arguments], cwd=clone.place, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == (2 if refused else 0), done.stderr
        assert (str(package / "longspec") in done.stderr) == refused
        assert ("done" in done.stdout) != refused

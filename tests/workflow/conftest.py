"""The tiny experiment for tests: before its first run, finished, and a copy of the finished one."""

from __future__ import annotations

import shutil

import pytest
from experiments import Clone, prepare
from filelock import FileLock


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id):
    """Run the tiny experiment once, whatever the number of pytest's processes. Tests must not change it."""
    if worker_id == "master":
        shared = tmp_path_factory.mktemp("finished") / "experiment"
    else:
        shared = tmp_path_factory.getbasetemp().parent / "experiment"
    made = shared.with_suffix(".made")
    with FileLock(shared.with_suffix(".lock")):
        if not made.exists():
            shutil.rmtree(shared, ignore_errors=True)
            prepare(shared).run()
            made.touch()
    return Clone(shared)


@pytest.fixture
def experiment(tmp_path):
    """Return the tiny experiment before its first run."""
    return prepare(tmp_path / "experiment")


@pytest.fixture
def clone(finished, tmp_path):
    """Copy the finished experiment whole, with times and Snakemake's records."""
    place = tmp_path / "clone"
    shutil.copytree(finished.place, place, symlinks=True)
    return Clone(place)

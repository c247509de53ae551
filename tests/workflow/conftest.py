"""The tiny experiment for tests: before its first run, finished, and a copy of the finished one."""

from __future__ import annotations

import shutil

import pytest
from experiments import Clone, prepare
from filelock import FileLock


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id):
    """The tiny experiment, run once from nothing, whatever the number of pytest's processes. Nothing may change it."""
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
    """The tiny experiment before its first run."""
    return prepare(tmp_path / "experiment")


@pytest.fixture
def clone(finished, tmp_path):
    """The finished experiment, copied whole: times and Snakemake's records too."""
    place = tmp_path / "clone"
    shutil.copytree(finished.place, place, symlinks=True)
    return Clone(place)

"""The compiled step is built once for its sources and compiler, whole or not at all; without it, all else runs."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import zoo
from refusals import refused

from longspec.core import compiler as compilers
from longspec.models import native
from longspec.models.native import build
from longspec.models.target import CausalLM

PACKAGE = Path(build.__file__).parents[3]
COMPILER = compilers.found()
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler here")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of this test's own, and nothing loaded yet."""
    monkeypatch.setenv("LONGSPEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    build.library.cache_clear()
    yield tmp_path / "cache" / "native"
    build.library.cache_clear()


def compiler(tmp_path, script):
    """A compiler of one's own on the PATH, that is given the real one's name."""
    file = tmp_path / "own-c++"
    file.write_text(f"#!/bin/sh\n{script}\n".replace("REAL", str(COMPILER)))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def libraries(cache):
    return sorted(file.name for file in cache.iterdir() if file.suffix == ".so")


def test_it_is_compiled_once(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", compiler(tmp_path, 'echo "$@" >> $(dirname $0)/calls; exec REAL "$@"'))
    build.library()
    build.library.cache_clear()
    build.library()
    compiled = [line for line in (tmp_path / "calls").read_text().splitlines() if "step.cpp" in line]
    assert len(compiled) == 1
    assert len(libraries(cache)) == 1


def test_jobs_that_begin_together_compile_once(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", compiler(tmp_path, 'echo "$@" >> $(dirname $0)/calls; exec REAL "$@"'))
    code = "from longspec.models.native import build; build.library()"
    jobs = [subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(PACKAGE)})
            for _ in range(2)]  # fmt: skip
    assert [job.wait() for job in jobs] == [0, 0]
    assert sum("step.cpp" in line for line in (tmp_path / "calls").read_text().splitlines()) == 1


def test_a_compilation_that_is_killed_leaves_nothing_that_is_taken_for_whole(cache, tmp_path, monkeypatch):
    script = 'case "$*" in *step.cpp*) for last; do :; done; echo half > "$last"; sleep 60;; esac; exec REAL "$@"'
    monkeypatch.setenv("CXX", compiler(tmp_path, script))
    code = "from longspec.models.native import build; build.library()"
    job = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(PACKAGE)}, start_new_session=True
    )
    while not (cache.is_dir() and any(cache.glob("*/*.so"))):
        time.sleep(0.1)
        assert job.poll() is None
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    assert libraries(cache) == []
    compiler(tmp_path, 'exec REAL "$@"')
    build.library()
    assert len(libraries(cache)) == 1


def test_a_changed_source_flag_or_compiler_is_another_library(cache, tmp_path, monkeypatch):
    sources = Path(shutil.copytree(build.SOURCES, tmp_path / "sources"))
    monkeypatch.setattr(build, "SOURCES", sources)
    keys = [build._key(str(COMPILER))]
    (sources / "norms.h").write_text((sources / "norms.h").read_text() + "\n")
    keys.append(build._key(str(COMPILER)))
    keys.append(build._key(compiler(tmp_path, "echo version 2")))
    monkeypatch.setattr(build, "_abilities", lambda: "flags: fewer")
    keys.append(build._key(str(COMPILER)))
    assert len(set(keys)) == 4


@pytest.mark.parametrize(
    ("script", "said"), [(None, "no-such"), ("echo a.cpp: error: no such thing >&2; exit 1", "no such thing")]
)
def test_without_a_compiler_that_works_the_others_run_and_the_reason_is_known(
    cache, tmp_path, monkeypatch, script, said
):
    monkeypatch.setenv("CXX", "no-such-compiler" if script is None else compiler(tmp_path, script))
    target = CausalLM(zoo.model("llama"))
    assert target.engine in ("packed", "eager")
    assert said in target.engine_note
    with refused("engine", ("native", said)):
        CausalLM(zoo.model("llama"), engine="native")


@pytest.mark.parametrize("name", ["gpt2", "mixtral"])
def test_a_model_that_it_cannot_express_runs_as_before(name):
    target = CausalLM(zoo.model(name))
    assert target.engine in ("packed", "eager")
    assert target.engine_note.startswith("not native")
    with pytest.raises(native.Inexpressible):
        native.Steps(zoo.model(name), torch.float32)

"""Compiles the decoder step's C++ for this processor, once, and loads it.

The library is cached by its sources, flags, compiler, processor and the processor's instruction sets, so that machines
that share a home never run one another's instructions. It is compiled under a lock and appears whole or not at all. It
needs a C++17 compiler (CXX, or one of core/compiler.py) and the compiler's own headers alone, so it takes seconds.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import subprocess
import tempfile
from pathlib import Path

import torch  # its OpenMP runtime is loaded first, so that the library shares its threads
from filelock import FileLock

from longspec.core import compiler
from longspec.models import machine, user_cache

SOURCES = Path(__file__).with_name("sources")
FLAGS = (
    *("-std=c++17", "-O3", "-fopenmp", "-shared", "-fPIC"),
    "-ffp-contract=off",  # only what is written as a fused multiply-add is one, in every inlined copy alike
    "-fno-math-errno",
    "-w",
)


class NotBuilt(Exception):
    """Raised when the step cannot be compiled or loaded; its text says why, in one line."""


@functools.cache
def library() -> ctypes.CDLL:
    """Load the compiled step, compiling it first if this machine has not. Raises NotBuilt where that fails."""
    path = _compiler()
    place = user_cache.folder() / "native" / f"{_key(path)}.so"
    if not place.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):  # jobs that begin together compile once
            if not place.is_file():
                _compile(path, place)
    try:
        return ctypes.CDLL(str(place))
    except OSError as error:
        raise NotBuilt(f"the compiled step does not load: {error}") from None


def _compiler() -> str:
    path = compiler.found()
    if path is None:
        raise NotBuilt(f"no C++ compiler ({compiler.asked()}) on the PATH")
    return path


def _tuned() -> str:
    return "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"


def _key(path: str) -> str:
    asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    facts = (path, asked.stdout, *FLAGS, _tuned(), platform.machine(), machine.processor(), _abilities())
    found = hashlib.sha256("\0".join(facts).encode())
    for source in sorted(SOURCES.iterdir()):
        found.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return found.hexdigest()[:32]


def _abilities() -> str:
    """Read the processor's instruction sets: two processors of one name may differ, for example in virtual machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return repr(torch.cpu.get_capabilities())
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _compile(path: str, place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        made = Path(folder) / place.name
        command = [path, *FLAGS, _tuned(), str(SOURCES / "step.cpp"), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            first = next((line for line in done.stderr.splitlines() if "error" in line), f"exit {done.returncode}")
            raise NotBuilt(f"{path} does not compile the step: {first.strip()[:300]}")
        made.rename(place)

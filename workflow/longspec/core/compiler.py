"""Finds a C++ compiler: CXX, or the first of COMPILERS on the PATH. It imports nothing that takes time."""

from __future__ import annotations

import os
import shutil

COMPILERS = ("c++", "g++", "clang++")


def found() -> str | None:
    """Find the compiler's path; None where there is none."""
    wanted = os.environ.get("CXX")
    return next((path for name in ([wanted] if wanted else COMPILERS) if (path := shutil.which(name))), None)


def asked() -> str:
    """Name the compilers that are looked for."""
    return os.environ.get("CXX") or ", ".join(COMPILERS)

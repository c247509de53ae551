"""Finds the program of an engine: the one that is given, the one of `make engines`, or the one on PATH."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from longspec.core.errors import UserError

CHECKOUT = Path(__file__).resolve().parents[4]


def found(given: str | None, here: Sequence[str], on_path: str) -> list[str]:
    """Find a command's words. `here`: of the one in this checkout, `on_path`: of the one on PATH, where none is given.

    Raises UserError where there is no such program."""
    if given is not None:
        words = shlex.split(given)
        if not words or shutil.which(words[0]) is None:
            raise UserError("program", repr(given), "a command whose first word is a program that is found")
        return words
    program, *rest = here
    if (CHECKOUT / program).exists():
        return [str(CHECKOUT / program), *rest]
    words = shlex.split(on_path)
    if shutil.which(words[0]) is None:
        raise UserError(
            "program",
            f"none given, and there is neither {program} nor {words[0]} on PATH",
            "`make engines`, or the command that starts the server",
        )
    return words

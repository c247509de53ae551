"""Runs a command so that bad input and a full disk end it with one line and exit code 2; bugs keep their traceback.

A command also ends, silently, when the Snakemake that started it ends.
"""

from __future__ import annotations

import errno
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from longspec.core import watchdog
from longspec.core.errors import UserError, redacted

REFUSED = 2
"""Exit code of a command that has printed a user error."""


def run(main: Callable[[], None]) -> None:
    """Call `main` as the main function of a process; exits with `REFUSED` after a user error or on a full disk."""
    watchdog.end_with_snakemake()
    try:
        main()
    except (UserError, OSError) as error:
        message = explained(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(REFUSED)
    finally:
        gc.freeze()  # with torch loaded, the garbage collection at exit takes a second


@contextmanager
def uncollected() -> Iterator[None]:
    """Switch garbage collection off during imports; it takes a fifth of the time that torch and transformers need."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def explained(error: Exception) -> str | None:
    """Explain an error that the user can correct, in one line; None where it is a bug."""
    if isinstance(error, UserError):
        return redacted(str(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'output'}: the disk is full; free some space and run again"
    return None

"""How every stage ends: bad input and a full disk become one line and exit code 2, bugs keep their traceback.

A stage also ends, without a word, when the Snakemake that started it does.
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
"""Exit code of a stage that has said what is wrong."""


def run(main: Callable[[], None]) -> None:
    """Call `main` as a program."""
    watchdog.tie()
    try:
        main()
    except (UserError, OSError) as error:
        message = explained(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(REFUSED)
    finally:
        gc.freeze()  # with torch loaded, Python's last search for garbage takes a second


@contextmanager
def uncollected() -> Iterator[None]:
    """Import packages without searching them for garbage meanwhile: of torch and transformers, a fifth of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def explained(error: Exception) -> str | None:
    """What the user can do about an error, in one line; None where it is a bug."""
    if isinstance(error, UserError):
        return redacted(str(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'output'}: the disk is full; free some space and run again"
    return None

"""How every stage ends: bad input and a full disk become one line and exit code 2, bugs keep their traceback."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

from longspec.errors import UserError


def run(main: Callable[[], None]) -> None:
    """Call `main` as a program."""
    try:
        main()
    except UserError as error:
        sys.exit(_refuse(str(error)))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(_refuse(f"{error.filename or 'output'}: the disk is full; free some space and run again"))


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2

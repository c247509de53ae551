"""The one exception that means "the user can mend this".

A stage or the Snakefile prints its message and stops; everything else is a bug and keeps its traceback. What is
printed, logged or recorded of an error goes through `redacted`: a library may quote an address with a token in it.
"""

import os
import re

_SECRET = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|ACCESS_?KEY|CREDENTIAL", re.IGNORECASE)


class UserError(Exception):
    """Bad input. The message names the key or file (and line), the value, and what would be right."""


def first_line(error: Exception) -> str:
    """What a library's error says, in one line; its name where it has nothing to say."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def redacted(text: str) -> str:
    """The text without the values of environment variables whose names say that they are secret."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= 8:
            text = text.replace(value, f"[{name}]")
    return text

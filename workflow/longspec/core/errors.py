"""The exception for errors that the user can correct, and helpers that put errors of libraries into one line.

A command or the Snakefile prints its message and stops; any other exception is a bug and keeps its traceback. What is
printed, logged or recorded of an error goes through `redacted`: a library may quote an address with a token in it.
"""

import os
import re
from collections.abc import Iterable

_SECRET = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|ACCESS_?KEY|CREDENTIAL", re.IGNORECASE)


class UserError(Exception):
    """Refuse bad input, in one line of three parts.

    `where`: the configuration's key, the file (and line), or the data set and sample. `found`: the value or state that
    is wrong. `expected`: what would be right, or what to do about it.
    """

    def __init__(self, where: str, found: str, expected: str) -> None:
        super().__init__(where, found, expected)
        self.where, self.found, self.expected = where, found, expected

    def __str__(self) -> str:
        return " ".join(f"{self.where}: {self.found}; expected {self.expected}".splitlines())


def one_of(names: Iterable[object]) -> str:
    """List the valid choices, as an error's `expected`."""
    return f"one of {', '.join(map(str, names)) or 'those that there are, none'}"


def one_line(error: BaseException) -> str:
    """Join all that a library's error says in one line; its name where it has nothing to say."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: Exception) -> str:
    """Return the first line of a library's error message; the error's type where it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def redacted(text: str) -> str:
    """Replace the values of secret environment variables (by their names: token, password, key, …) in a text."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= 8:
            text = text.replace(value, f"[{name}]")
    return text

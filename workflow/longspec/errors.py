"""The one exception that means "the user can mend this".

A stage or the Snakefile prints its message and stops; everything else is a bug and keeps its traceback.
"""


class UserError(Exception):
    """Bad input. The message names the key or file (and line), the value, and what would be right."""


def first_line(error: Exception) -> str:
    """What a library's error says, in one line; its name where it has nothing to say."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__

"""The one exception that means "the user can mend this".

A stage or the Snakefile prints its message and stops; everything else is a bug and keeps its traceback.
"""


class UserError(Exception):
    """Bad input. The message names the key or file (and line), the value, and what would be right."""

"""Checks what an error or a sentence says, by its fields, values and names.

No test asserts a whole sentence: a better wording breaks none, and a missing name, value or line does.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest

from longspec.core.errors import UserError


def says(text: str, *parts: object) -> bool:
    """Tell if each part is in the text as a whole word or number: 0 is neither in 10 nor in 0.5."""
    return all(re.search(_whole(str(part)), text) for part in parts)


def _whole(part: str) -> str:
    inside_a_number = (r"(?<!\d\.)", r"(?!\.\d)") if part.replace(".", "").isdigit() else ("", "")
    return rf"(?<!\w){inside_a_number[0]}{re.escape(part)}(?!\w){inside_a_number[1]}"


def figures(text: str) -> list[float]:
    """List the numbers in a text, in order, without those in names."""
    return [float(found) for found in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])", text)]


def check(error: UserError, where: str, found: object = (), expected: object = ()) -> None:
    """Check an error's fields: `where` whole (a file's without its folder), the others in part or a tuple of parts."""
    assert error.where == where or error.where.endswith(f"/{where}"), error
    for text, parts in ((error.found, found), (error.expected, expected)):
        assert text, error
        assert says(text, *(parts if isinstance(parts, tuple) else (parts,))), error
    assert len(str(error).splitlines()) == 1, error


@contextlib.contextmanager
def refused(where: str, found: object = (), expected: object = ()) -> Iterator[pytest.ExceptionInfo[UserError]]:
    """Expect a UserError with these fields, as `pytest.raises` does."""
    with pytest.raises(UserError) as caught:
        yield caught
    check(caught.value, where, found, expected)

"""What an error or a sentence says, by its fields, values and names.

No test knows a sentence: a better wording breaks none, and a lost name, value or line does.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest

from longspec.core.errors import UserError


def says(text: str, *parts: object) -> bool:
    """Whether each part stands in the text, as a whole word or number: 0 is neither in 10 nor in 0.5."""
    return all(re.search(_whole(str(part)), text) for part in parts)


def _whole(part: str) -> str:
    inside_a_number = (r"(?<!\d\.)", r"(?!\.\d)") if part.replace(".", "").isdigit() else ("", "")
    return rf"(?<!\w){inside_a_number[0]}{re.escape(part)}(?!\w){inside_a_number[1]}"


def figures(text: str) -> list[float]:
    """The numbers in a text, in its order; those in names are none."""
    return [float(found) for found in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])", text)]


def check(error: UserError, where: str, found: object = (), expected: object = ()) -> None:
    """`where` is all of it, or for a file all but its folder; of the others a part, or several in a tuple."""
    assert error.where == where or error.where.endswith(f"/{where}"), error
    for text, parts in ((error.found, found), (error.expected, expected)):
        assert text, error
        assert says(text, *(parts if isinstance(parts, tuple) else (parts,))), error
    assert len(str(error).splitlines()) == 1, error


@contextlib.contextmanager
def refused(where: str, found: object = (), expected: object = ()) -> Iterator[pytest.ExceptionInfo[UserError]]:
    """As `pytest.raises`, for what the user can mend."""
    with pytest.raises(UserError) as caught:
        yield caught
    check(caught.value, where, found, expected)

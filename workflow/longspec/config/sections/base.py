"""What all sections share: strict types, refused unknown keys, and the types that several of them use.

A field's docstring is its description: its first sentence stands in error messages, all of it in config/README.md.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A mapping with known keys, each of one type: no text is read as a number, and no number with a point as a
    whole one."""

    model_config = ConfigDict(strict=True, extra="forbid", use_attribute_docstrings=True)


def left_out() -> Any:
    """Make a field that is absent unless it is given, in what jobs are told too."""
    return Field(default=None, exclude_if=lambda value: value is None)


def refused(found: str, expected: str) -> PydanticCustomError:
    """Say in a validator what was found and what would be right."""
    return PydanticCustomError("refused", "{found}; expected {expected}", {"found": found, "expected": expected})


Item = TypeVar("Item", str, int)


def each_once(items: list[Item]) -> list[Item]:
    """Refuse a list that has something twice, and sort it: its order means nothing, so it must change nothing."""
    if len(set(items)) < len(items):
        raise refused(repr(items), "each of them once")
    return sorted(items)


def _checked(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    check(value)
    return value


AS_GIVEN = WrapValidator(_checked)
"""Keeps 1 from becoming 1.0: a spec that is written differently would run jobs again."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Becomes a folder of results, so it is plain and short."""
NAME = "a name of at most 64 letters, digits, '.', '_' and '-', with a letter or digit first"
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
PositiveNumber = Annotated[float, Field(gt=0), AS_GIVEN]
NonNegativeNumber = Annotated[float, Field(ge=0), AS_GIVEN]
Share = Annotated[float, Field(ge=0, le=1), AS_GIVEN]

"""Tells text from what Python would merely print: `None`, `['a']`, `nan` and half a character are no text."""

from __future__ import annotations

import math

from longspec.core.errors import UserError


def broken(text: str) -> bool:
    """Check for lone surrogates: JSON can carry half of a UTF-16 pair, and no tokenizer or file takes it."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def require_whole(where: str, name: str, text: str) -> str:
    """Refuse a text that has half of a UTF-16 pair in it."""
    if broken(text):
        raise UserError(where, f"{name} has half of a UTF-16 pair: {ascii(text)[:80]}", "Unicode characters")
    return text


def as_text(where: str, name: str, value: object) -> str:
    """Take a text as it is, and a finite number as it is written. UserError for anything else."""
    if isinstance(value, str):
        return require_whole(where, name, value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(where, f"{name} is {repr(value)[:160]}", "a text, or a finite number")
    return str(value)


def as_id(where: str, name: str, value: object) -> str:
    """Take the name of a sample: a text that is not empty, or a whole number. UserError for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise UserError(where, f"{name} is {repr(value)[:160]}", "a text or a whole number")
    return require_whole(where, name, str(value))

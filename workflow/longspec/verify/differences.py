"""Find where a file and the same file made again differ: every cell of a table, the first place of JSON or text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any

MOST = 10
"""Differences of one table that are listed; how many more there are is counted."""
TableRow = dict[str, str]


def of_tables(stored: Path, again: Path, results: Path) -> list[str]:
    """Name each cell in which a table differs from the one made again of the raw files below `results`.

    A row whose `line_sha256` differs was made from another line: then the samples changed, not the table."""
    if not stored.is_file():
        return [f"{stored}: missing"]
    if stored.read_bytes() == again.read_bytes():
        return []
    (columns, mine), (other_columns, others) = map(_rows, (stored, again))
    if columns != other_columns:
        return [f"{stored}, line 1: its columns are {columns}; the raw files give {other_columns}"]
    first, mine, others = _without_common_ends(mine, others)
    found = [
        finding
        for number, (row, other) in enumerate(zip_longest(mine, others), start=first)
        for finding in _of_rows(f"{stored}, line {number}", row, other, results)
    ] or [f"{stored}: its text is not what the raw files give"]
    more = [f"{stored}: {len(found) - MOST} differences more"] if len(found) > MOST else []
    return found[:MOST] + more


def _rows(table: Path) -> tuple[list[str], list[TableRow]]:
    reader = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8")))
    return list(reader.fieldnames or []), list(reader)


def _without_common_ends(mine: list[TableRow], others: list[TableRow]) -> tuple[int, list[TableRow], list[TableRow]]:
    """Cut off the rows that two tables begin and end with alike; also the line in which the rest begins."""
    shorter = min(len(mine), len(others))
    start = next((n for n in range(shorter) if mine[n] != others[n]), shorter)
    end = next((n for n in range(shorter - start) if mine[-1 - n] != others[-1 - n]), shorter - start)
    return start + 2, mine[start : len(mine) - end], others[start : len(others) - end]


def _of_rows(where: str, mine: TableRow | None, other: TableRow | None, results: Path) -> list[str]:
    if mine is None or other is None:
        return [f"{where}: one row {'missing' if mine is None else 'too many'}"]
    if mine.get("line_sha256") != other.get("line_sha256") and mine.get("sample_id") == other.get("sample_id"):
        samples = results / other["model"] / other["dataset"] / other["method"] / "samples.jsonl"
        return [f"{samples}, sample {other['sample_id']}: is not what {where.partition(',')[0]} was made from"]
    return [
        f"{where}: {key} is {mine.get(key)!r}; the raw files give {other.get(key)!r}"
        for key in {**other, **mine}
        if mine.get(key) != other.get(key)
    ]


def of_json(stored: Any, again: Any, at: str = "") -> str:
    """Name the first place where two JSON values differ; empty where they are the same."""
    keys: Iterable[Any]
    if isinstance(stored, dict) and isinstance(again, dict):
        keys = {**again, **stored}
    elif isinstance(stored, list) and isinstance(again, list):
        keys, stored, again = range(max(len(stored), len(again))), dict(enumerate(stored)), dict(enumerate(again))
    else:
        return "" if stored == again else f"{at} is {stored!r}; the tables give {again!r}"
    parts = (of_json(stored.get(key), again.get(key), f"{at}.{key}" if at else str(key)) for key in keys)
    return next(filter(None, parts), "")


def of_texts(stored: str, again: str) -> str:
    """Name the first line in which two texts differ; empty where they are the same."""
    pairs = enumerate(zip_longest(stored.splitlines(), again.splitlines()), start=1)
    place = next(((number, mine, other) for number, (mine, other) in pairs if mine != other), None)
    return "" if place is None else f"line {place[0]} is {place[1]!r}; the tables give {place[2]!r}"

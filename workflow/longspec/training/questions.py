"""Draws questions for a target to answer from a file of tasks and topics; a drafter is trained on the answers.

The questions are a function of the file and the seed, and none comes twice. One that ends in "…" is an opening, which
the target itself continues.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from longspec.core.errors import UserError, one_line, one_of
from longspec.core.text import as_text

SLOT = re.compile(r"\{(\w+)\}")
OPEN = "…"
FORM = "a YAML file with tasks, topics and values"
TRIES = 1000
"""Repeats in a row after which the file is taken to have no further question."""


def read(file: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Read tasks, and what their slots may hold. UserError for what is no text, and for a task that names what the file
    does not list."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(str(file), f"cannot be read ({one_line(error)})", FORM) from None
    content = content if isinstance(content, dict) else {}
    tasks = _texts(file, "tasks", content.get("tasks"))
    fillings: dict[str, list[str]] = {}
    for part in ("topics", "values"):
        named = content.get(part, {})
        if not isinstance(named, dict):
            raise UserError(f"{file}, {part}", repr(named)[:160], "lists of texts by name")
        fillings |= {str(slot): _texts(file, f"{part}.{slot}", texts) for slot, texts in named.items()}
    for task in tasks:
        for slot in SLOT.findall(task):
            if not fillings.get(slot):
                raise UserError(str(file), f"task {task!r} names {slot!r}", one_of(sorted(fillings)))
    return tasks, fillings


def _texts(file: Path, key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{file}, {key}", repr(value)[:160], "a list of texts")
    return [as_text(f"{file}, {key}", f"entry {number}", entry) for number, entry in enumerate(value)]


def draw(file: Path, seed: int) -> Iterator[str]:
    """Yield questions until no new ones are found; openings, which the target varies, may come again."""
    tasks, fillings = read(file)
    choose = random.Random(seed)
    seen: set[str] = set()
    repeats = 0
    while repeats < TRIES:
        question = SLOT.sub(lambda slot: choose.choice(fillings[slot[1]]), choose.choice(tasks))
        if question in seen and not question.endswith(OPEN):
            repeats += 1
            continue
        repeats = 0
        seen.add(question)
        yield question

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

SLOT = re.compile(r"\{(\w+)\}")
OPEN = "…"
TRIES = 1000
"""Repeats in a row after which the file is taken to have no further question."""


def read(file: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Tasks, and what their slots may hold. UserError when a task names what the file does not list."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        tasks = list(content["tasks"])
        fillings = {k: [str(v) for v in vs] for part in ("topics", "values") for k, vs in content.get(part, {}).items()}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            str(file), f"{type(error).__name__}: {one_line(error)}", "a YAML file with tasks, topics and values"
        ) from None
    for task in tasks:
        for slot in SLOT.findall(task):
            if not fillings.get(slot):
                raise UserError(str(file), f"task {task!r} names {slot!r}", one_of(sorted(fillings)))
    return tasks, fillings


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

"""Runs a text by our engine in every way that a job does: at once, one by one, several a step, trees, again.

The result is a table of logits for each way, as transformers_own.py makes them.
"""

from __future__ import annotations

import torch

from longspec.models.target import CausalLM
from longspec.verify.engine.text import PATH, ROOM, Table, Tables, Text

WHOLE, ALONE, SEVERAL, TREES, AGAIN = (
    "the whole prompt",
    "token by token",
    "several tokens a step",
    "trees with rejected branches",
    "the same text again",
)
WIDTHS = (3, 7)
"""Tokens of the steps of SEVERAL, which make up the path."""


@torch.inference_mode()
def tables(target: CausalLM, text: Text) -> Tables:
    """Run the text in every way in turn, over one cache."""
    found = {}
    for name, way in WAYS.items():
        found[name] = Table()
        way(target, text, found[name])
    return found


def _prompt(target: CausalLM, text: Text, table: Table) -> None:
    target.reset(len(text.prompt) + ROOM)
    rows = list(range(len(text.prompt)))
    table.add(rows, target.extend(text.prompt, list(range(-1, len(rows) - 1))))
    target.commit(rows)


def _step(target: CausalLM, text: Text, table: Table, parts: list[list[int]], kept: list[int]) -> None:
    """Run one step over nodes in one or more `extend`s, and commit the nodes `kept`."""
    tail = [node for part in parts for node in part]
    for part in parts:
        parents = [text.parents[node] for node in part]
        placed = [tail.index(parent) if parent in tail else -1 for parent in parents]
        table.add(text.rows(part), target.extend([text.ids[node] for node in part], placed))
    target.commit([tail.index(node) for node in kept])


def _one_by_one(target: CausalLM, text: Text, table: Table) -> None:
    target.rewind(len(text.prompt))
    for node in range(PATH):
        _step(target, text, table, [[node]], [node])


def _several(target: CausalLM, text: Text, table: Table) -> None:
    target.rewind(len(text.prompt))
    start = 0
    for width in WIDTHS:
        nodes = list(range(start, start + width))
        _step(target, text, table, [nodes], nodes)
        start += width


def _trees(target: CausalLM, text: Text, table: Table) -> None:
    """Run a tree whose first branch is rejected, a chain that is kept in part, a wide tree, and then single tokens."""
    a, b, c, d, e, f, g, h = range(PATH, PATH + 8)
    target.rewind(len(text.prompt))
    _step(target, text, table, [[a, b, 0, 1], [c, 2, d]], [0, 1, 2])
    _step(target, text, table, [[3, 4, 5, e]], [3, 4, 5])
    _step(target, text, table, [[6, 7, 8, f, h], [g, 9]], [6, 7])
    for node in range(8, PATH):
        _step(target, text, table, [[node]], [node])


def _again(target: CausalLM, text: Text, table: Table) -> None:
    """Run the prompt again after a longer text, of which nothing may be left: its last row alone, as a job does."""
    target.reset(len(text.prompt) + ROOM)
    table.add([len(text.prompt) - 1], target.append(text.prompt)[None])
    _step(target, text, table, [[0]], [0])


WAYS = {WHOLE: _prompt, ALONE: _one_by_one, SEVERAL: _several, TREES: _trees, AGAIN: _again}

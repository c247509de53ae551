"""Targets and drafters that are tables of random numbers: fast, with every part of the loop but the network.

`outcomes` enumerates every result of the verifier's random decisions with its exact probability.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch

from longspec.decoding.interfaces import Candidates, Verifier
from longspec.decoding.tree import TokenTree

CPU = torch.device("cpu")


class Table:
    """Give random logits [vocab] for every context, a function of its last `order` tokens."""

    def __init__(self, vocab: int, seed: int, spread: float = 1.5, order: int = 2) -> None:
        self.vocab, self.seed, self.spread, self.order = vocab, seed, spread, order
        self._known: dict[tuple[int, ...], torch.Tensor] = {}

    def logits(self, text: list[int]) -> torch.Tensor:
        context = tuple(text[-self.order :])
        if context not in self._known:
            rng = random.Random(f"{self.seed} {context}")
            self._known[context] = torch.tensor([rng.gauss(0, self.spread) for _ in range(self.vocab)])
        return self._known[context]


class TableTarget:
    """Stand in for a CausalLM with logits from a table."""

    def __init__(self, table: Table) -> None:
        self.table, self.vocab_size, self.device = table, table.vocab, CPU

    def reserve(self, capacity: int, nodes: int | None = None) -> None:
        pass

    def reset(self, capacity: int) -> None:
        self.text: list[int] = []
        self.tail: list[list[int]] = []

    def append(self, ids: list[int]) -> torch.Tensor:
        self.text += ids
        return self.table.logits(self.text)

    def extend(self, ids: list[int], parents: list[int], keep: int = 0) -> torch.Tensor:
        self.tail = []
        for token, parent in zip(ids, parents, strict=True):
            self.tail.append([*(self.text if parent < 0 else self.tail[parent]), token])
        return torch.stack([self.table.logits(text) for text in self.tail])

    def commit(self, path: list[int]) -> None:
        if path:
            self.text = self.tail[path[-1]]


class TableDrafter:
    """Draft from a table of its own; `informed` and `ids` as in the verifier's `draft`."""

    def __init__(self, table: Table, informed: bool = True, ids: list[int] | None = None) -> None:
        self.table, self.informed = table, informed
        self.ids = None if ids is None else torch.tensor(ids)

    def prefill(self, ids: list[int], capacity: int) -> None:
        self.text = list(ids)

    def expand(self, tree: TokenTree, nodes: list[int], width: int, verifier: Verifier) -> list[Candidates]:
        texts = [self.text + [tree.tokens[step] for step in tree.path(node)[1:]] for node in nodes]
        logits = torch.stack([self.table.logits(text) for text in texts])
        if self.ids is not None:
            logits = logits[:, self.ids]
        return verifier.draft(logits, tree, nodes, width, self.informed, self.ids)

    def commit(self, emitted: list[int], tree: TokenTree, path: list[int]) -> None:
        self.text += emitted


class Shape:
    """Propose trees of one topology: `parents` [n], the root's is -1."""

    def __init__(self, parents: list[int]) -> None:
        self.parents, self.max_nodes = parents, len(parents)

    def propose(self, root: int, drafter: Any, verifier: Verifier, stop_ids: Any, room: int) -> TokenTree:
        tree, place = TokenTree.rooted_at(root), {0: 0}
        for node in range(len(self.parents)):
            below = [child for child, parent in enumerate(self.parents) if parent == node]
            if node not in place or not below or tree.depths[place[node]] >= room:
                continue
            if tree.tokens[place[node]] in stop_ids and place[node]:
                continue
            drafts = drafter.expand(tree, [place[node]], len(below), verifier)[0]
            for child, (token, _) in zip(below, drafts, strict=False):
                place[child] = tree.add(token, place[node])
        return tree


def topologies(most: int) -> list[list[int]]:
    """List every rooted tree of at most `most` nodes, parents numbered before their children, siblings together."""
    found: list[list[int]] = [[-1]]
    grown = [[-1]]
    for _ in range(most - 1):
        grown = [[*parents, p] for parents in grown for p in range(parents[-1] if parents[-1] > 0 else 0, len(parents))]
        found += grown
    return found


class Oracle:
    """Stand in for the verifier's random draws, and take the branch that a script names at every decision."""

    def __init__(self, script: list[int]) -> None:
        self.script, self.probability = script, 1.0
        self.options: list[int] = []

    def _take(self, weighted: list[tuple[Any, float]]) -> Any:
        possible = [(value, weight) for value, weight in weighted if weight > 0]
        at = len(self.options)
        chosen = self.script[at] if at < len(self.script) else 0
        self.options.append(len(possible))
        value, weight = possible[chosen]
        self.probability *= weight
        return value

    def accepts(self, probability: float) -> bool:
        return self._take([(True, probability), (False, 1 - probability)])

    def token(self, p: torch.Tensor) -> int:
        return self._take(list(enumerate(p.tolist())))

    def subset(self, q: torch.Tensor, count: int) -> list[int]:
        left, drawn = q.tolist(), []
        while len(drawn) < count and sum(left) > 0:
            drawn.append(self._take([(token, weight / sum(left)) for token, weight in enumerate(left)]))
            left[drawn[-1]] = 0.0
        return drawn


def outcomes(run: Callable[[Oracle], Any]) -> Iterator[tuple[Any, float]]:
    """Enumerate (result, probability) of every outcome of `run`'s random decisions."""
    script: list[int] = []
    while True:
        oracle = Oracle(script)
        yield run(oracle), oracle.probability
        taken = script + [0] * (len(oracle.options) - len(script))
        while taken and taken[-1] + 1 == oracle.options[len(taken) - 1]:
            taken.pop()
        if not taken:
            return
        script = [*taken[:-1], taken[-1] + 1]

"""The made-up text that two engines are compared on: a prompt, a path after it, and branches that are rejected.

Nodes are numbered like a tail's (models/target.py): the path first, then the branches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

PROMPT = 58
"""Tokens of the prompt where the context allows: the path then crosses a multiple of attention's grain (32)."""
PATH = 10
BRANCHES = (-1, PATH, 0, 2, 5, 8, PATH + 5, 8)
"""The parents of the nodes after the path, which are numbered from PATH on."""
NODES = PATH + len(BRANCHES)
ROOM = PATH + 4
"""Positions after the prompt that any run touches, rejected nodes included."""
SHORT = {
    "sliding_window": 21,
    "sliding_window_size": 21,
    "attention_window_size": 21,
    "attention_chunk_size": 21,
    "index_topk": 16,
    "indexer_budget": 16,
}
"""Fields of a configuration and the values that they are lowered to for the comparison, on both sides, so that a short
text is longer than every window; a longer one would cost more and show no more."""
SHORT_PREFILL = 32
"""Rows of a prefill that our attention runs at a time during the comparison, lowered for the same reason."""


@dataclass(frozen=True)
class Text:
    """Hold a text: `prompt` [p], the tokens `ids` [NODES] of the nodes and their `parents` [NODES].

    A parent of -1 is the prompt's end. Tokens are numbered as rows: the prompt's, then the nodes'.
    """

    prompt: list[int]
    ids: list[int]
    parents: list[int]

    @classmethod
    def made(cls, vocab_size: int, context_tokens: int | None = None) -> Text:
        """Make a text of ids below `vocab_size` within a context; it is a function of these two numbers.

        Raises ValueError where the context is too short.
        """
        length = min(PROMPT, (context_tokens or PROMPT + ROOM) - ROOM)
        if length < 1:
            raise ValueError(f"a context of {context_tokens} tokens; expected at least {ROOM + 1}")
        generator = torch.Generator().manual_seed(vocab_size)
        ids = torch.randint(vocab_size, (length + NODES,), generator=generator).tolist()
        parents = [*range(-1, PATH - 1), *BRANCHES]
        prompt, nodes = ids[:length], ids[length:]
        for node in range(PATH, NODES):  # siblings are different tokens
            beside = [nodes[other] for other in range(node) if parents[other] == parents[node]]
            while nodes[node] in beside and len(beside) < vocab_size:
                nodes[node] = (nodes[node] + 1) % vocab_size
        return cls(prompt, nodes, parents)

    def rows(self, nodes: list[int]) -> list[int]:
        """Return the rows of nodes."""
        return [len(self.prompt) + node for node in nodes]


class Table:
    """Collect the logits [vocab] (float32, on the host) after some of a text's tokens, by their row."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self._parts: list[torch.Tensor] = []

    def add(self, rows: list[int], logits: torch.Tensor) -> None:
        """Add the logits [len(rows), vocab] of rows that are not there yet."""
        self.rows += rows
        self._parts.append(logits.float().cpu())

    def of(self, rows: list[int]) -> torch.Tensor:
        """Return the logits [len(rows), vocab] of rows that are there."""
        if len(self._parts) > 1:
            self._parts = [torch.cat(self._parts)]
        return self._parts[0][[self.rows.index(row) for row in rows]]


Tables = dict[str, Table]
"""Logits by the way in which the text was run."""

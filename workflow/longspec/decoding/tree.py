"""TokenTree: what a method proposes in one verification step.

Contract: node 0 is the root (the last emitted token); a parent always precedes its children; depth counts
from the root. This module does not know who drafted the tokens or how they are checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class TokenTree:
    """`tokens` [n] and `parents` [n]; parents[0] is -1. A vanilla step is a tree of one node."""

    tokens: list[int]
    parents: list[int] = field(default_factory=lambda: [-1])
    depths: list[int] = field(default_factory=lambda: [0])

    @classmethod
    def rooted_at(cls, token: int) -> TokenTree:
        """A tree of the root alone."""
        return cls([token])

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def drafted(self) -> int:
        """Draft tokens: every node but the root."""
        return len(self.tokens) - 1

    def add(self, token: int, parent: int) -> int:
        """Append a draft token below `parent`; returns its node number."""
        if not 0 <= parent < len(self.tokens):
            raise ValueError(f"parent {parent} is not a node of a tree of {len(self.tokens)}")
        self.tokens.append(token)
        self.parents.append(parent)
        self.depths.append(self.depths[parent] + 1)
        return len(self.tokens) - 1

    def path(self, node: int) -> list[int]:
        """Node numbers from the root to `node`, both included."""
        path = [node]
        while self.parents[path[-1]] >= 0:
            path.append(self.parents[path[-1]])
        return path[::-1]

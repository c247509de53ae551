"""The tree of draft tokens that a method proposes in one verification step.

Node 0 is the root (the last emitted token); a parent always precedes its children; depth counts from the root.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class TokenTree:
    """Hold the tokens [n], parents [n] and depths [n] of a tree; parents[0] is -1. Vanilla proposes one node."""

    tokens: list[int]
    parents: list[int] = field(default_factory=lambda: [-1])
    depths: list[int] = field(default_factory=lambda: [0])

    @classmethod
    def rooted_at(cls, token: int) -> TokenTree:
        """Make a tree of the root alone."""
        return cls([token])

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def drafted(self) -> int:
        """Count the draft tokens: every node but the root."""
        return len(self.tokens) - 1

    def add(self, token: int, parent: int) -> int:
        """Append a draft token below `parent`; returns its node number."""
        if not 0 <= parent < len(self.tokens):
            raise ValueError(f"parent {parent}; expected a node of the tree, 0 to {len(self.tokens) - 1}")
        self.tokens.append(token)
        self.parents.append(parent)
        self.depths.append(self.depths[parent] + 1)
        return len(self.tokens) - 1

    def path(self, node: int) -> list[int]:
        """List the nodes from the root to `node`, both included."""
        path = [node]
        while self.parents[path[-1]] >= 0:
            path.append(self.parents[path[-1]])
        return path[::-1]

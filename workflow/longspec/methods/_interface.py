"""What a method is: the shape of the proposal. One file per method, found by its name.

A method file has a literal `OPTIONS` (see plugins.py), a literal `DRAFTS` (does it need a drafter?) and a
class `Method` whose constructor takes its options by keyword.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from longspec.drafters._interface import Drafter
from longspec.token_tree import TokenTree
from longspec.verification._interface import Rule


class Method(Protocol):
    """Proposes one tree per verification step."""

    max_nodes: int
    """Most nodes that a proposal can have, root included: the cache is sized by it."""

    def propose(
        self, root: int, drafter: Drafter | None, rule: Rule, stop_ids: Collection[int], room: int
    ) -> TokenTree:
        """A tree rooted at the last emitted token, at most `room` deep; nothing is drafted past a stop id."""
        ...


@dataclass(frozen=True)
class Candidate:
    """A shape to choose from. `options`: all options of the method, as the configuration would give them;
    `widths`: most nodes at each depth below the root."""

    options: dict[str, Any]
    widths: list[int]


@runtime_checkable
class Tunable(Method, Protocol):
    """A method with an option that may be `auto`; while it is, it proposes the widest shape, to be measured."""

    auto: bool

    def candidates(self, acceptance: list[list[float]]) -> list[Candidate]:
        """Shapes within the widest one, the smallest first. `acceptance` [depth][k] is the share of the nodes at a
        depth, all of them accepted, whose k-th child was accepted too."""
        ...

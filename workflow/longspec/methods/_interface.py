"""What a method is: the shape of the proposal. One file per method, found by its name.

A method file has a literal `OPTIONS` (see plugins.py), a literal `DRAFTS` (does it need a drafter?) and a
class `Method` whose constructor takes its options by keyword.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

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

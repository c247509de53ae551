"""Vanilla decoding: the root alone, one token per step. The baseline of every speedup."""

from __future__ import annotations

from collections.abc import Collection

from longspec.decoding.interfaces import Drafter, Rule
from longspec.decoding.tree import TokenTree

DRAFTS = False
BRANCHES = False
WIDTHS = None
OPTIONS: dict[str, dict[str, object]] = {}


class Method:
    """Proposes nothing."""

    max_nodes = 1

    def propose(
        self, root: int, drafter: Drafter | None, rule: Rule, stop_ids: Collection[int], room: int
    ) -> TokenTree:
        """The root alone."""
        return TokenTree.rooted_at(root)

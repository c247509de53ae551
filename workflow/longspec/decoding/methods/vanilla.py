"""Vanilla decoding: no drafts, one token per step. The baseline of every speedup."""

from __future__ import annotations

from collections.abc import Collection

from longspec.decoding.interfaces import Drafter, Verifier
from longspec.decoding.tree import TokenTree

DRAFTS = False
BRANCHES = False
WIDTHS = None
OPTIONS: dict[str, dict[str, object]] = {}


class Method:
    """Propose no drafts."""

    max_nodes = 1

    def propose(
        self, root: int, drafter: Drafter | None, verifier: Verifier, stop_ids: Collection[int], room: int
    ) -> TokenTree:
        """Propose the root alone."""
        return TokenTree.rooted_at(root)

"""The acceptance rule: follow the target's own choices down the tree while they were drafted.

Each node's `chosen` token is what the target emits after that node's path, so whatever was drafted, the
emitted tokens are those of plain decoding (Leviathan et al. 2023, section 2.3, at temperature 0).
This module knows neither models nor drafters.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from longspec.token_tree import TokenTree


@dataclass(frozen=True)
class Acceptance:
    """`path`: accepted nodes from the root on. `emitted`: new tokens, the accepted drafts and then the bonus
    token, cut after a stop id or at the limit. `accepted`: how many of them had been drafted. `offered`: how
    many positions had a draft to check. `stop_reason`: "eos", "limit", or None to go on."""

    path: list[int]
    emitted: list[int]
    accepted: int
    offered: int
    stop_reason: str | None


def verify(tree: TokenTree, chosen: list[int], stop_ids: Collection[int], room: int) -> Acceptance:
    """Descend `tree` along `chosen` [n], the target's token after each node.

    `room` >= 1 is how many more tokens may be emitted. Children of one node carry different tokens.
    """
    children = {
        (parent, token): node for node, (parent, token) in enumerate(zip(tree.parents, tree.tokens, strict=True))
    }
    has_child = set(tree.parents)
    path, emitted, offered = [0], [], 0
    while True:
        node, token = path[-1], chosen[path[-1]]
        emitted.append(token)
        offered += node in has_child
        child = children.get((node, token))
        stop_reason = "eos" if token in stop_ids else "limit" if len(emitted) == room else None
        if child is None:
            return Acceptance(path, emitted, len(emitted) - 1, offered, stop_reason)
        if stop_reason:
            return Acceptance(path, emitted, len(emitted), offered, stop_reason)
        path.append(child)

"""The shape of a tail (the nodes behind the committed text): which nodes see each other, their positions and order.

A node's parent is the number of another node of the tail; -1 is the end of the prefix.
"""

from __future__ import annotations

import numpy as np
import torch

from longspec.models.attention import hybrid


def layout(parents: list[int], first: int, prefix: int, device: torch.device) -> hybrid.Layout:
    """Compute positions and mask of the tail's nodes from `first` on, after `prefix` positions."""
    if is_chain(parents):
        positions = torch.arange(prefix, prefix + len(parents), device=device)
        plain = prefix == first == 0 or len(parents) == 1
        hidden = None if plain else hybrid.causal_mask(len(parents), device)[first:]
        return hybrid.Layout(hidden, positions[first:], positions)
    visible = np.eye(len(parents), dtype=bool)
    depths = np.zeros(len(parents), dtype=np.int64)
    for node, parent in enumerate(parents):
        if parent >= 0:
            visible[node] |= visible[parent]
            depths[node] = depths[parent] + 1
    positions = torch.from_numpy(depths).to(device) + prefix
    hidden = torch.from_numpy(~visible[first:]).to(device)
    return hybrid.Layout(hidden, positions[first:], positions)


def is_chain(parents: list[int]) -> bool:
    """Tell if each node is the child of the one before it."""
    return all(parent == node - 1 for node, parent in enumerate(parents))


def main_path_first(parents: list[int]) -> list[int]:
    """Order all nodes so that the path along first children comes before the others.

    Keys of that path then lie where vanilla's do, so that attention sums in the same order.
    """
    first_child: dict[int, int] = {}
    for node, parent in enumerate(parents):
        first_child.setdefault(parent, node)
    path, node = [], -1
    while node in first_child:
        node = first_child[node]
        path.append(node)
    return path + sorted(set(range(len(parents))) - set(path))


def branches(parents: list[int], first: int) -> list[list[int]]:
    """Cut the nodes from `first` on into runs: a node, its first child, that one's first child and so on. A run comes
    after the run with its first node's parent."""
    child: dict[int, int] = {}
    for node in range(first, len(parents)):
        child.setdefault(parents[node], node)
    found: list[list[int]] = []
    for node in range(first, len(parents)):
        if parents[node] >= first and child[parents[node]] == node:
            continue  # it is in its parent's run
        found.append([node])
        while found[-1][-1] in child:
            found[-1].append(child[found[-1][-1]])
    return found


def path_to(node: int, parents: list[int]) -> list[int]:
    """List the nodes from the prefix's end to `node`, itself included; none for -1."""
    found = []
    while node >= 0:
        found.append(node)
        node = parents[node]
    return found[::-1]

"""Computes the positions of a step's rows, their slots in the cache, and the slots that they see."""

from __future__ import annotations

import numpy as np


class Where:
    """Positions, slots and visible slots of a step's rows, as arrays of int32: see Rows in sources/model.h."""

    def __init__(self, tail: int, positions: np.ndarray, slots: np.ndarray, shared: np.ndarray) -> None:
        self.tail = tail
        """Nodes of the tail, of one text."""
        self.positions, self.slots, self.shared = positions, slots, shared
        self.path_start = np.zeros_like(positions)
        self.path = np.zeros(1, np.int32)

    @classmethod
    def of(cls, parents: list[int], first: int, prefix: int) -> Where:
        """Compute them for the nodes from `first` on of a tail behind `prefix` positions, from all nodes' parents."""
        count = len(parents)
        slots = np.arange(prefix, prefix + count, dtype=np.int32)
        if all(parent == node - 1 for node, parent in enumerate(parents)):
            return cls(count, slots[first:], slots[first:], slots[first:] + 1)
        depths, straight, paths = np.zeros(count, np.int32), np.zeros(count, np.int32), [[0]] * count
        for node, parent in enumerate(parents):
            depths[node] = depths[parent] + 1 if parent >= 0 else 0
            above = straight[parent] if parent >= 0 else 0
            whole = above == depths[node] == node  # so many nodes of the path lie where their positions are
            straight[node] = above + 1 if whole else above
            paths[node] = [] if whole else [*(paths[parent] if parent >= 0 else []), prefix + node]
        found = cls(count, prefix + depths[first:], slots[first:], prefix + straight[first:])
        mine = paths[first:]
        ends = np.cumsum([len(path) for path in mine])
        found.path_start = np.asarray([0, *ends[:-1]], np.int32)
        found.path = np.asarray([slot for path in mine for slot in path] or [0], np.int32)
        return found

    @classmethod
    def together(cls, parts: list[Where]) -> Where:
        """Concatenate the rows of several texts; positions and slots stay those of each text."""
        if len(parts) == 1:
            return parts[0]
        names = ("positions", "slots", "shared", "path")
        positions, slots, shared, path = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
        found = cls(0, positions, slots, shared)
        begins = np.cumsum([0, *(len(part.path) for part in parts)])[:-1]
        starts = [part.path_start + begin for part, begin in zip(parts, begins, strict=True)]
        found.path, found.path_start = path, np.concatenate(starts).astype(np.int32)
        return found

"""Keeps the ids that a drafter may draft: those of its own vocabulary, and those of the text itself."""

from __future__ import annotations

import torch

OWN_IDS = 1024
"""Most ids of a prompt beside the draft vocabulary; as many again may come up later."""


class Ids:
    """The candidates of one text, in the order of the columns of its logits: `fixed` [n], then the text's own."""

    def __init__(self, draft_ids: torch.Tensor) -> None:
        self.fixed = draft_ids
        self.room = 2 * OWN_IDS
        self._known = frozenset(draft_ids.tolist())
        self._ids = torch.cat([draft_ids, draft_ids.new_zeros(self.room)])
        self._seen: set[int] = set()

    @property
    def own(self) -> int:
        """Number of the text's own candidates."""
        return len(self._seen)

    @property
    def all(self) -> torch.Tensor:
        """All candidates [columns]."""
        return self._ids[: len(self.fixed) + self.own]

    def start(self, text: list[int]) -> torch.Tensor:
        """Begin a new text, of which the latest ids become candidates; returns these [n]."""
        self._seen = set()
        return self.add(text[::-1], OWN_IDS)

    def add(self, tokens: list[int], most: int | None = None) -> torch.Tensor:
        """Make candidates of tokens that came up; returns the new ones [n], at most `most`, while there is room."""
        place = len(self.all)
        room = self.room - self.own if most is None else most
        new = [token for token in dict.fromkeys(tokens) if token not in self._known and token not in self._seen][:room]
        self._seen.update(new)
        if new:
            self._ids[place : place + len(new)] = torch.tensor(new, dtype=self._ids.dtype, device=self._ids.device)
        return self._ids[place : place + len(new)]

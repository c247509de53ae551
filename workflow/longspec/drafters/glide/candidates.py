"""Which ids a drafter with a vocabulary of its own may draft: that vocabulary, and what the text itself holds."""

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
        """How many of them are the text's own."""
        return len(self._seen)

    @property
    def all(self) -> torch.Tensor:
        """All candidates [columns]."""
        return self._ids[: len(self.fixed) + self.own]

    def start(self, text: list[int]) -> torch.Tensor:
        """Begin a new text, of which the latest ids become candidates; returns these [n]."""
        self._seen = set()
        return self.add(list(dict.fromkeys(token for token in reversed(text) if token not in self._known))[:OWN_IDS])

    def add(self, tokens: list[int]) -> torch.Tensor:
        """Make candidates of tokens that came up; returns those that are new [n], while there is room."""
        first = self.own
        new = [token for token in dict.fromkeys(tokens) if token not in self._known and token not in self._seen]
        added = torch.tensor(new[: self.room - first], dtype=self._ids.dtype, device=self._ids.device)
        place = len(self.fixed) + first
        self._ids[place : place + len(added)] = added
        self._seen.update(added.tolist())
        return added

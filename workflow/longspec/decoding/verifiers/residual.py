"""The residual verifier: accept a draft x ~ q with probability min(1, p(x) / q(x)), else sample norm((p - q)+).

Speculative sampling (Leviathan et al. 2023; Chen et al. 2023). Where a node has several children they were drawn
from q without replacement and are tried in the order of drawing: after a rejection p becomes norm((p - q)+) and q
loses the rejected id (SpecInfer, Miao et al. 2024; Sequoia, Chen et al. 2024). Children that a drafter proposed
without drawing them count as drawn from a q that is 1 at their id. Emitted tokens have the distribution p, but are not
the tokens that vanilla decoding emits.
"""

from __future__ import annotations

from collections.abc import Collection

import torch

from longspec.decoding.gumbel import Draws
from longspec.decoding.interfaces import Acceptance, Candidates
from longspec.decoding.sampling import Settings, Text
from longspec.decoding.tree import TokenTree


class Verifier:
    """Accept drafts by the ratio of p to q (`decoding/interfaces.py` has the interface)."""

    def __init__(self, settings: Settings, text_key: int, vocab_size: int, device: torch.device) -> None:
        self._settings = settings
        self._vocab_size = vocab_size
        self._device = device
        self.draws = Draws(text_key)
        self._drawn: dict[int, tuple[list[int], torch.Tensor]] = {}
        """By node: its children's tokens in the order of drawing, and the q [vocab] that they were drawn from."""

    def start(self, prompt_ids: list[int]) -> None:
        """Begin a new text; the last id of the prompt is the root of the first tree."""
        self._text = Text(self._settings, prompt_ids, self._vocab_size, self._device)

    def breadths(self, scores: list[float], width: int) -> list[int]:
        """Divide `width` children among the nodes in proportion to q of each node's path, by largest remainder.

        The numbers are fixed before the children are drawn: keeping or dropping a child by its token would change q.
        """
        weights = torch.tensor(scores, dtype=torch.float64).softmax(0) * width
        counts = weights.floor()
        rest = width - int(counts.sum())
        counts[(weights - counts).topk(rest).indices] += 1
        return [int(count) for count in counts.tolist()]

    def draft(
        self,
        logits: torch.Tensor,
        tree: TokenTree,
        nodes: list[int],
        width: int,
        informed: bool = True,
        ids: torch.Tensor | None = None,
    ) -> list[Candidates]:
        """Draw ids from the drafter's q, warped as the target's p is, and keep q to verify them."""
        q = self._text.scores(logits, tree, nodes, ids).double().softmax(-1)
        columns = slice(q.shape[-1]) if ids is None else ids
        q, drafted = q.new_zeros(len(nodes), self._vocab_size), q  # ids that the drafter lacks have no probability
        q[:, columns] = drafted
        drawn: list[Candidates] = []
        for node, row in zip(nodes, q, strict=True):
            tokens = self.draws.subset(row, width)
            self._drawn[node] = (tokens, row)
            drawn.append(list(zip(tokens, row[tokens].log().tolist(), strict=True)))
        return drawn

    def verify(self, tree: TokenTree, logits: torch.Tensor, stop_ids: Collection[int], room: int) -> Acceptance:
        """Emit accepted drafts from the root on, and one token of the residual or of p after the last."""
        children: dict[int, dict[int, int]] = {}
        for child, parent in enumerate(tree.parents):
            children.setdefault(parent, {})[tree.tokens[child]] = child
        path, emitted, accepted, stop_reason = [0], [], 0, None
        offered = 0
        while stop_reason is None:
            node = path[-1]
            below = children.get(node, {})
            p = self._text.scores(logits[node : node + 1], tree, [node])[0].double().softmax(-1)
            if not bool(p.isfinite().all()):
                stop_reason = "nonfinite"
                break
            token = self._token(p, node, below)
            emitted.append(token)
            offered += bool(below)
            accepted += token in below
            stop_reason = "eos" if token in stop_ids else "limit" if len(emitted) == room else None
            if token not in below:
                break
            if stop_reason is None:
                path.append(below[token])
        self._drawn.clear()
        self._text.grow(emitted)
        return Acceptance(path, emitted, accepted, offered, stop_reason)

    def _token(self, p: torch.Tensor, node: int, below: dict[int, int]) -> int:
        """Sample one token with distribution p [vocab]: an accepted child of `node`, or a draw from the residual.

        `below`: the children's nodes by token."""
        order, q = self._drawn.get(node, (list(below), None))
        for token in order:
            if token not in below:
                break  # the tree has only the first of the tokens that were drawn
            proposal = point(token, p) if q is None else q
            if self.draws.accepts(acceptance_probability(p, proposal, token)):
                return token
            p = residual(p, proposal)
            q = None if q is None else without(q, token)
        return self.draws.token(p)


def acceptance_probability(p: torch.Tensor, q: torch.Tensor, token: int) -> float:
    """Compute min(1, p(x) / q(x)) for a token x that was drawn from q."""
    return min(1.0, p[token].item() / q[token].item())


def residual(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Compute norm((p - q)+), the distribution after a rejection; p itself where rounding left nothing."""
    left = (p - q).clamp_(min=0)
    mass = left.sum()
    return left / mass if mass > 0 else p


def without(q: torch.Tensor, token: int) -> torch.Tensor:
    """Remove a token from q [vocab] and renormalise."""
    left = q.clone()
    left[token] = 0
    mass = left.sum()
    return left / mass if mass > 0 else left


def point(token: int, like: torch.Tensor) -> torch.Tensor:
    """Make the distribution, of the shape of `like` [vocab], that is 1 at `token`."""
    q = torch.zeros_like(like)
    q[token] = 1
    return q

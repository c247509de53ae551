"""A drafter that is a smaller causal language model with the target's tokenizer (Leviathan et al. 2023).

It keeps a cache of its own and runs a tree one depth at a time; accepted nodes stay in the cache. Beyond its own
context it proposes nothing, and the text goes on without drafts.
"""

from __future__ import annotations

import math

from longspec.core.errors import UserError
from longspec.core.spec import ModelSpec
from longspec.decoding.interfaces import Candidates, Verifier
from longspec.decoding.tree import TokenTree
from longspec.models import model_files, trust
from longspec.models.target import CausalLM

OPTIONS = {
    "model": {
        "type": "object",
        "$ref": "#/$defs/model",  # checked as one, and its content reruns what uses it
        "description": "The drafter model: package, hub (with revision) or path, as under models:.",
    },
    "shared_noise": {
        "type": "boolean",
        "default": True,
        "description": "Guess with the noise that the target's choice will use (keyed rule, temperature above 0).",
    },
}

ENGINE_RUNS = ("model",)


class CausalLMDrafter:
    """Draft with another causal language model."""

    def __init__(
        self, lm: CausalLM, vocab_size: int, shared_noise: bool = True, context_tokens: int | None = None
    ) -> None:
        """Draft with `lm` for a target of `vocab_size` ids.

        Ids of the drafter past `vocab_size` are padding and never proposed. `context_tokens`: the drafter's limit, by
        default the one in its configuration."""
        self.lm = lm
        self.context_tokens = context_tokens or lm.context_tokens or math.inf
        self.shared_noise = shared_noise
        self.vocab_size = min(vocab_size, lm.vocab_size)
        self._text: list[int] = []
        self._tail: dict[int, int] = {}
        """By node of the tree: its place among the nodes that the drafter has run since the last commit."""

    def prefill(self, ids: list[int], capacity: int) -> None:
        """Run a new text but for its last token, which the first expansion runs."""
        self.lm.reset(capacity)
        self._text = list(ids)
        self._tail = {}
        if 1 < len(ids) <= self.context_tokens:
            self.lm.append(ids[:-1])

    def expand(self, tree: TokenTree, nodes: list[int], width: int, verifier: Verifier) -> list[Candidates]:
        """Guess next tokens after all `nodes`, which lie at one depth, in one forward; none beyond the context.

        For the root, the forward also runs the tokens of the text that have not been run yet."""
        if len(self._text) + tree.depths[nodes[0]] > self.context_tokens:
            return [[] for _ in nodes]
        if nodes == [0]:
            logits = self.lm.append(self._text[self.lm.length :])[None]
        else:
            parents = [self._tail.get(tree.parents[node], -1) for node in nodes]
            for node in nodes:
                self._tail[node] = len(self._tail)
            logits = self.lm.extend([tree.tokens[node] for node in nodes], parents)
        return verifier.draft(logits[:, : self.vocab_size], tree, nodes, width, self.shared_noise)

    def commit(self, emitted: list[int], tree: TokenTree, path: list[int]) -> None:
        """Append emitted tokens, and keep the cache of accepted nodes; the next expansion runs the other tokens."""
        self.lm.commit([self._tail[node] for node in path[1:] if node in self._tail])
        self._text += emitted
        self._tail = {}


def make(target: CausalLM, *, model: ModelSpec, shared_noise: bool) -> CausalLMDrafter:
    """Load the drafter's model on the target's device, in its dtype and engine.

    Raises UserError when its tokenizer's vocabulary is not the target's."""
    folder, trusted = model_files.folder(model), trust.allowed(model)
    if target.folder is not None:
        theirs, ours = (model_files.tokenizer(*of).get_vocab() for of in ((folder, trusted), (target.folder,)))
        if theirs != ours:
            raise UserError(
                f"drafter model {folder}",
                f"its tokenizer ({len(theirs)} entries) is not the target's ({len(ours)}): {_first(theirs, ours)}",
                "a model with the same tokenizer",
            )
    engine = model.get("engine") or ("auto" if target.engine == "native" else target.engine)
    lm = CausalLM.from_folder(folder, target.device, target.dtype, engine, trusted=trusted, tried="engine" in model)
    return CausalLMDrafter(lm, target.vocab_size, shared_noise, model.get("context"))


def _first(theirs: dict[str, int], ours: dict[str, int]) -> str:
    """Describe the entry with the lowest id in which two vocabularies (token to id) differ."""
    entry = min(set(theirs.items()) ^ set(ours.items()), key=lambda entry: (entry[1], entry[0]))
    token, there, here = entry[0], theirs.get(entry[0]), ours.get(entry[0])
    return f"{token!r} has the id {there}, and {here} in the target's"

"""Any smaller causal language model with the target's vocabulary as the drafter (Leviathan et al. 2023).

It keeps a cache of its own and runs a tree one depth at a time; accepted nodes stay in the cache. Where its own context
ends it proposes nothing more, and the text goes on without drafts.
"""

from __future__ import annotations

import math

from longspec.core.errors import UserError
from longspec.core.spec import ModelSpec
from longspec.decoding.interfaces import Candidates, Rule
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
    """Greedy and beam drafts from another model."""

    def __init__(
        self, lm: CausalLM, vocab_size: int, shared_noise: bool = True, context_tokens: int | None = None
    ) -> None:
        """`vocab_size` of the target: ids past it are padding and never proposed; `context_tokens`: the drafter's
        limit, by default its own configuration's."""
        self.lm = lm
        self.context_tokens = context_tokens or lm.context_tokens or math.inf
        self.shared_noise = shared_noise
        self.vocab_size = min(vocab_size, lm.vocab_size)
        self._text: list[int] = []
        self._tail: dict[int, int] = {}

    def prefill(self, ids: list[int], capacity: int) -> None:
        """Run the prompt; the last token waits for the first expansion, like every last token."""
        self.lm.reset(capacity)
        self._text = list(ids)
        self._tail = {}
        if 1 < len(ids) <= self.context_tokens:
            self.lm.append(ids[:-1])

    def expand(self, tree: TokenTree, nodes: list[int], width: int, rule: Rule) -> list[Candidates]:
        """One forward for all `nodes`: a whole level of the tree, or the tokens not seen yet and the root.

        They lie at one depth, and so within its context or past it together."""
        if len(self._text) + tree.depths[nodes[0]] > self.context_tokens:
            return [[] for _ in nodes]
        if nodes == [0]:
            logits = self.lm.append(self._text[self.lm.length :])[None]
        else:
            parents = [self._tail.get(tree.parents[node], -1) for node in nodes]
            for node in nodes:
                self._tail[node] = len(self._tail)
            logits = self.lm.extend([tree.tokens[node] for node in nodes], parents)
        return rule.draft(logits[:, : self.vocab_size], tree, nodes, width, self.shared_noise)

    def commit(self, emitted: list[int], tree: TokenTree, path: list[int]) -> None:
        """Keep the accepted nodes that were run; the rest of the text is run at the next expansion."""
        self.lm.commit([self._tail[node] for node in path[1:] if node in self._tail])
        self._text += emitted
        self._tail = {}


def make(target: CausalLM, *, model: ModelSpec, shared_noise: bool) -> CausalLMDrafter:
    """Load the drafter on the target's device, in its dtype and engine. UserError when its vocabulary is another."""
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
    """The first entry that two vocabularies do not share, by id."""
    entry = min(set(theirs.items()) ^ set(ours.items()), key=lambda entry: (entry[1], entry[0]))
    token, there, here = entry[0], theirs.get(entry[0]), ours.get(entry[0])
    return f"{token!r} has the id {there}, and {here} in the target's"

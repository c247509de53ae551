"""Runs a causal language model from Hugging Face over a preallocated cache, on text and on trees of draft tokens.

`append` runs text that is certain; `extend` runs nodes that may be rejected, and `commit` keeps some of them. The
modelling code is transformers' own, unmodified: our attention and cache reach it through its public interfaces. Targets
and drafter models both use this class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from longspec.core.errors import UserError, first_line
from longspec.models import cuda_graphs, model_files, native, tails
from longspec.models import packed_linear as engines
from longspec.models.attention import hybrid, stock
from longspec.models.cache.branches import BranchCache
from longspec.models.cache.preallocated import KVCache

transformers_logging.disable_progress_bar()


INVARIANCE_TOKENS = 51
"""Tokens that are run to see if a model is invariant."""


class CausalLM:
    """Run a causal language model on one sequence; holds weights, cache, and the tail of nodes not yet decided on."""

    def __init__(
        self,
        model: Any,
        folder: Path | None = None,
        engine: str = "auto",
        numerics: str = "auto",
        tried: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Take over a transformers causal LM in evaluation mode, on its device; it is changed in place.

        `folder`: where it came from; `engine`: see packed_linear.py; `numerics`: see `_resolve_numerics`; `tried`: true
        if the model is known to be invariant, so that it is not tried here; `dtype`: of its arithmetic, where the
        weights are held in another number format (see `from_folder`)."""
        self.folder = folder
        self.model = model
        self.dtype: torch.dtype = dtype or model.dtype
        self.parameters = sum(weights.numel() for weights in model.parameters())
        """Weights, tied ones counted once."""
        self._attention = stock if engine in ("stock", "branches") else hybrid
        self.model.set_attn_implementation(self._attention.NAME)
        self.config = model.config.get_text_config()
        self.device: torch.device = model.device
        self.vocab_size: int = self.config.vocab_size
        self._cache: KVCache | native.Cache | None = None
        self._steps: cuda_graphs.Steps | None = None
        self._parents: list[int] = []
        self._slots: list[int] = []
        """Place of each node's keys in the tail."""
        self._rows: list[int] = []
        """Row of the last forward in which each of its nodes was run."""
        self._watched: list[int] = []
        self._seen: dict[int, torch.Tensor] = {}
        self._keep = 0
        self.engine_note: str | None = None
        """Why another engine runs than was resolved."""
        self.native: native.Steps | None = None
        """The compiled step, where it runs this model."""
        if engine in native.ASKED:
            self.native, self.engine_note = native.made(self.model, engine, self.dtype)
        self.engine = "native" if self.native else engines.resolve(engine, self.device, self.dtype)
        self.numerics = "fast"
        if self.engine == "packed":
            engines.pack(self.model, self._one_token)
        if self.engine in ("graphs", "static"):
            self._steps = cuda_graphs.Steps(self.model, cuda_graphs.cuda_capture if self.engine == "graphs" else None)
        self.numerics = self._resolve_numerics(numerics, tried)
        self._cache = None

    def _one_token(self) -> None:
        self.reset(1)
        self.extend([0], [-1])

    def _resolve_numerics(self, wanted: str, tried: bool) -> str:
        """`invariant` (a text's logits are the same bits whether its tokens are run one by one or several at a
        time) or `fast`; `auto` is invariant where that can be had. UserError when asked for where it can't."""
        if self.native is not None:
            return "invariant"  # by construction, and tested
        if wanted == "fast" or self.engine != "packed":
            invariant = False
        else:
            invariant = engines.make_invariant(self.model) and (tried or self._is_invariant())
        if wanted == "invariant" and not invariant:
            raise engines.not_invariant(self.engine, self.device, self.dtype)
        return "invariant" if invariant else "fast"

    def _is_invariant(self) -> bool:
        """Try if a text's logits are the same bits when it is run one token at a time and in steps of several."""
        tokens = min(INVARIANCE_TOKENS, self.context_tokens or INVARIANCE_TOKENS)
        ids = [number * 7919 % self.vocab_size for number in range(tokens)]
        logits = []
        for step in (1, 3, 17):
            self.reset(tokens + step)
            rows = []
            for start in range(0, tokens, step):
                part = ids[start : start + step]
                rows.append(self.extend(part, list(range(-1, len(part) - 1))))
                self.commit(list(range(len(part))))
            logits.append(torch.cat(rows))
        return all(torch.equal(logits[0], other) for other in logits[1:])

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype,
        engine: str = "auto",
        numerics: str = "auto",
        trusted: bool = False,
        tried: bool = False,
    ) -> CausalLM:
        """Load a model from a folder of safetensors weights; raises UserError when that cannot be read.

        `trusted` allows code in the folder to run. For the native engine in float32, weights keep the number format of
        the files."""
        held = model_files.stored_dtype(folder) if engine == "native" and dtype == torch.float32 else dtype
        model = model_files.causal_lm(folder, held or dtype, trusted)  # as the check of its engine loads it
        if model.dtype != dtype and type(model.get_input_embeddings()) is not torch.nn.Embedding:
            # Embeddings of its own may scale rows, in the number format of the weights.
            model = model_files.causal_lm(folder, dtype, trusted)
        return cls(model.to(device), folder, engine, numerics, tried, dtype)

    @property
    def attention(self) -> str:
        """Return the name of the attention implementation that transformers' code was given."""
        return self._attention.NAME

    @property
    def context_tokens(self) -> int | None:
        """Return the context limit in tokens that the model's configuration states; None where it states none."""
        return model_files.stated_context(self.config)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Return the model's end-of-sequence ids."""
        return model_files.stop_ids(self.model)

    @property
    def length(self) -> int:
        """Count the positions committed to the cache."""
        return self._cache.committed if self._cache else 0

    def reserve(self, capacity: int, nodes: int | None = None) -> None:
        """Get ready for texts of `capacity` positions and tails of `nodes`, before a clock runs. Forgets the text.

        Where no graph can be captured the model runs eagerly from here on, and `engine_note` says why.
        """
        if self.native is not None:
            self.native.reserve(capacity)
        if self._steps is None:
            return
        try:
            self._steps.reserve(capacity, nodes)
        except Exception as error:  # the driver, a library, a kernel or the modelling code: all that matters is why
            self._steps, self._cache, self.engine = None, None, "eager"
            self.engine_note = f"graphs not captured: {type(error).__name__}: {first_line(error)}"

    def reset(self, capacity: int) -> None:
        """Start a new text of at most `capacity` positions, drafts included. Storage is kept when it fits."""
        self.reserve(capacity)
        self._parents, self._slots = [], []
        if self.native is not None:
            self._cache = self.native.cache
        elif self._steps is not None:
            self._cache = self._steps.cache
        elif not isinstance(self._cache, KVCache) or self._cache.stack[0].capacity < capacity:
            layers, branches = self.config.num_hidden_layers, self.engine == "branches"
            self._cache = (
                BranchCache(layers, capacity) if branches else KVCache(layers, capacity, self._attention.GRAIN)
            )
        self._cache.reset()

    def append(self, ids: list[int]) -> torch.Tensor:
        """Run certain tokens and commit them; returns the logits [vocab] after the last one."""
        logits = self.extend(ids, list(range(-1, len(ids) - 1)), keep=1)
        self.commit(list(range(len(ids))))
        return logits[-1]

    @torch.inference_mode()
    def extend(self, ids: list[int], parents: list[int], keep: int = 0) -> torch.Tensor:
        """Run `ids` [n] as further nodes of the tail; parents [n] number the tail's nodes, -1 is the prefix.

        Returns the logits [n, vocab], or of the last `keep` nodes alone.
        """
        assert self._cache is not None, "reset() comes first"
        self._keep = keep
        first = len(self._parents)
        order = None
        if self.native is None and self.numerics == "invariant" and first == 0 and not tails.is_chain(parents):
            order = tails.main_path_first(parents)
            slots = sorted(range(len(order)), key=order.__getitem__)
            ids = [ids[node] for node in order]
            parents = [slots[parents[node]] if parents[node] >= 0 else -1 for node in order]
        self._slots += range(first, first + len(ids)) if order is None else slots
        self._rows = list(range(len(ids))) if order is None else slots
        self._parents += parents
        if self.native is not None:
            return self.native.run(ids, self._parents, first, keep)
        if isinstance(self._cache, BranchCache):
            return self._by_branches(ids, first, keep)
        if self._steps is not None and self._steps.takes(len(self._parents)):
            return self._steps.run(ids, self._parents, first)[-keep:]
        with self._attention.laid_out(tails.layout(self._parents, first, self.length, self.device)) as layout:
            logits = self._forward(ids, keep, position_ids=layout.positions[None])
        return logits if order is None or order == sorted(order) else logits[slots]

    def _forward(self, ids: list[int], keep: int, **options: Any) -> torch.Tensor:
        output = self.model(
            input_ids=torch.tensor([ids], device=self.device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=slice(-keep or None, None),  # Gemma 4 drops rows in its layers for a number
            **options,
        )
        logits: torch.Tensor = output.logits[0]
        return logits

    def _by_branches(self, ids: list[int], first: int, keep: int) -> torch.Tensor:
        """Run the tail's nodes from `first` on branch by branch, as plain text whose positions the model counts."""
        assert isinstance(self._cache, BranchCache)
        rows, parts = list[int](), []
        for branch in tails.branches(self._parents, first):
            self._cache.show(tails.path_to(self._parents[branch[0]], self._parents), branch)
            rows += branch
            parts.append(self._forward([ids[node - first] for node in branch], keep))
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts)[sorted(range(len(rows)), key=rows.__getitem__)]

    def commit(self, path: list[int]) -> None:
        """Keep these tail nodes as text and drop the rest of the tail."""
        assert self._cache is not None
        self._cache.commit([self._slots[node] for node in path])
        self._parents, self._slots = [], []

    def watch(self, layers: list[int]) -> None:
        """Keep the features of these decoder layers from now on. Who does not ask pays nothing. UserError where a tree
        takes several forwards."""
        if layers and self.engine == "branches":
            raise UserError("engine", "branches, which keeps no features for the drafter", "another drafter, or model")
        if layers and self._steps is not None:
            self._steps, self._cache, self.engine = None, None, "eager"
            self.engine_note = "the drafter reads features, which replayed graphs do not give"
        if self.native is not None:
            self.native.watch(layers)
            self._watched = sorted({*layers, *self._watched})
            return
        for layer in sorted(set(layers) - set(self._watched)):
            self.model.get_decoder().layers[layer].register_forward_hook(self._keeper(layer))
        self._watched = sorted({*layers, *self._watched})

    def _keeper(self, layer: int) -> Any:
        def keep(module: Any, inputs: Any, output: Any) -> None:
            states = output[0] if isinstance(output, tuple) else output
            # A copy of the last row, or a whole prompt's features would be held until the next forward.
            self._seen[layer] = states[0, -self._keep :].clone() if self._keep else states[0]

        return keep

    def features(self, layers: list[int], node: int) -> torch.Tensor:
        """Return the features [len(layers), hidden] of watched `layers` for a node of the last `extend`.

        `node` -1 is the last token of the last `append`."""
        row = -1 if node < 0 else self._rows[node]
        seen = self._seen if self.native is None else self.native.watched
        return torch.stack([seen[layer][row] for layer in layers]).to(self.dtype)

    def last_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last layer's keys (rotated) and values of the committed text, [kv_heads, length, head_dim].

        They are views where the cache is laid out so, else copies."""
        assert self._cache is not None, "reset() comes first"
        return self._cache.last_layer()

    def rewind(self, length: int) -> None:
        """Go back to the first `length` committed positions."""
        assert self._cache is not None
        self._cache.rewind(length)
        self._parents, self._slots = [], []

"""What a target lends a drafter beside its cache and features: its rotary tables, its embedding, rows of its head.

It does not know drafters.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from longspec.core.errors import UserError
from longspec.models.target import CausalLM


class Lending:
    """The parts of one target."""

    def __init__(self, target: CausalLM) -> None:
        self.target = target
        self._head: Any = None

    @torch.inference_mode()
    def rotary(self, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin [positions, rotated] of the last layer's rotary embedding. UserError when it has none."""
        target = self.target
        embedding = getattr(target.model.get_decoder(), "rotary_emb", None)
        if embedding is None:
            raise UserError(target.config.model_type, "has no rotary embedding", "a model with one")
        types = getattr(target.config, "layer_types", None) or []
        by_type = "layer_type" in inspect.signature(embedding.forward).parameters
        like = torch.empty(0, dtype=target.dtype, device=target.device)
        at = torch.arange(positions, device=target.device)[None]
        cos, sin = embedding(like, at, *(types[-1:] if by_type else []))
        return cos[0], sin[0]

    @torch.inference_mode()
    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """The target's input embeddings [..., hidden] of ids [...]."""
        embedded: torch.Tensor = self.target.model.get_input_embeddings()(ids)
        return embedded

    @torch.inference_mode()
    def head_rows(self, ids: torch.Tensor) -> torch.Tensor:
        """The output head's weights [n, hidden] of ids [n], as written, whatever the engine made of them."""
        if self._head is None:
            output = self.target.model.get_output_embeddings()
            tied = getattr(self.target.config, "tie_word_embeddings", False)
            packed = None if tied else getattr(output, "packed", None)
            source = self.target.model.get_input_embeddings() if tied else output
            self._head = source.weight if packed is None else packed.to_dense()
        rows: torch.Tensor = self._head[ids]
        return rows

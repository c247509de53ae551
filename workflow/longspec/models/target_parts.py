"""Gives a drafter the parts of a target that it shares: rotary tables, input embedding, rows of the output head."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from longspec.core.errors import UserError
from longspec.models.target import CausalLM

GROWING = ("dynamic", "longrope")
"""Types of rotary embedding whose tables change with the longest position so far."""
SIZES = ("hidden_size", "intermediate_size", "num_attention_heads")


@torch.inference_mode()
def require_last_layer(target: CausalLM, drafter: str) -> None:
    """Raise UserError for a target whose last layer's keys and values a drafter cannot use.

    `drafter`: its name, for the message. Runs one token, and forgets the target's text."""
    lack = _lack(target)
    if lack is not None:
        raise UserError(
            f"drafter {drafter}",
            f"a target of type {target.config.model_type}, {lack}",
            "a target with a static rotary embedding and plain keys and values in its last layer, or another drafter",
        )


def _lack(target: CausalLM) -> str | None:
    config, embedding = target.config, _rotary_embedding(target)
    if embedding is None:
        return "which has no rotary embedding"
    kind = getattr(embedding, "rope_type", None)
    kind = kind.get("".join(_last_type(config))) if isinstance(kind, dict) else kind
    if kind in GROWING:
        return f"whose rotary embedding ({kind}) changes with the text's length"
    missing = [name for name in SIZES if not getattr(config, name, None)]
    if missing:
        return f"whose configuration has no {missing[0]}"
    target.reset(1)
    target.append([0])
    try:
        keys, values = target.last_layer()
    except AssertionError:
        return "whose last layer keeps no keys of its own"
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if keys.shape != (heads, 1, width) or values.shape != keys.shape:
        return f"whose last layer keeps {list(keys.shape)} and {list(values.shape)} a token, not {[heads, 1, width]}"
    return None


def _rotary_embedding(target: CausalLM) -> Any:
    return getattr(target.model.get_decoder(), "rotary_emb", None)


def _last_type(config: Any) -> list[str]:
    return list(getattr(config, "layer_types", None) or [])[-1:]


class TargetParts:
    """Return the parts of one target that a drafter shares."""

    def __init__(self, target: CausalLM) -> None:
        self.target = target
        self._head: Any = None

    @torch.inference_mode()
    def rotary(self, positions: int, dtype: torch.dtype | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute cos and sin [positions, rotated] of the last layer's rotary embedding, in the target's number format
        or another. UserError when it has none."""
        target = self.target
        embedding = _rotary_embedding(target)
        if embedding is None:
            raise UserError(target.config.model_type, "has no rotary embedding", "a model with one")
        by_type = "layer_type" in inspect.signature(embedding.forward).parameters
        like = torch.empty(0, dtype=dtype or target.dtype, device=target.device)
        at = torch.arange(positions, device=target.device)[None]
        cos, sin = embedding(like, at, *(_last_type(target.config) if by_type else []))
        return cos[0], sin[0]

    @torch.inference_mode()
    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Look up the target's input embeddings [..., hidden] of ids [...]."""
        embedded: torch.Tensor = self.target.model.get_input_embeddings()(ids)
        return embedded.to(self.target.dtype)

    @torch.inference_mode()
    def head_rows(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the output head's weights [n, hidden] of ids [n], in the original layout whatever the engine."""
        if self._head is None:
            output = self.target.model.get_output_embeddings()
            tied = getattr(self.target.config, "tie_word_embeddings", False)
            packed = None if tied else getattr(output, "packed", None)
            source = self.target.model.get_input_embeddings() if tied else output
            self._head = source.weight if packed is None else packed.to_dense()
        rows: torch.Tensor = self._head[ids]
        return rows.to(self.target.dtype)

"""The forward of GLIDE's drafter layer, and of the hybrid that also reads the target's features.

One decoder layer of the target's sizes (LongSpec, arXiv 2502.17421; GLIDE with a CaPE, arXiv 2402.02082):

    h = embed(token)                                            the target's own embedding
    h = h + fuse(norm(features)) + lag_embedding[lag]           the hybrid alone
    h = h + self_attn(input_layernorm(h))                       its keys and values are made of input_layernorm(embed)
    h = h + cross_attn(post_self_attention_layernorm(h))        keys and values: the target's last layer's
    h = h + mlp(post_cross_attention_layernorm(h))              SwiGLU
    logits = lm_head(norm(h))                                   the target's own head; published ones have no norm

`features` are those of some layers at the last verified position, `lag` positions before the token whose successor
is drafted (as in EAGLE-3, arXiv 2503.01840). The self-attention's keys depend on the token and its position alone,
in the hybrid too: a cached key does not depend on the step that drafted its token, and one pass trains on any lag.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

from longspec.models.attention.hybrid import products

LAGS = 8
"""Number of lag embeddings; longer lags use the last."""


@dataclass(frozen=True)
class Sizes:
    """Hold the sizes of the target that its drafter layer shares."""

    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float

    @classmethod
    def of(cls, config: object) -> Sizes:
        """Read the sizes from a transformers text configuration."""
        heads, hidden = config.num_attention_heads, config.hidden_size  # type: ignore[attr-defined]
        return cls(
            hidden=hidden,
            intermediate=config.intermediate_size,  # type: ignore[attr-defined]
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or hidden // heads,
            eps=getattr(config, "rms_norm_eps", None) or 1e-6,
        )


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Apply rotary embedding to x [..., n, head_dim] by cos and sin [..., n, rotated], rotated <= head_dim."""
    width = cos.shape[-1]
    turned, rest = (x, None) if width == x.shape[-1] else (x[..., :width], x[..., width:])
    first, second = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat((-second, first), dim=-1) * sin
    return turned if rest is None else torch.cat((turned, rest), dim=-1)


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, added: torch.Tensor | None = None
) -> torch.Tensor:
    """Attend with query [b, heads, n, d] to key and value [b, kv_heads, l, d]; returns [b, n, heads * d].

    `added` [b or 1, 1, n, l] is added to the scores. Query heads that share a key head are run as further rows of it.
    """
    batch, heads, n, d = query.shape
    groups = heads // key.shape[1]
    if added is not None and n > 1 and groups > 1:
        added = added.repeat(1, 1, groups, 1)
    rows = query.reshape(batch, heads // groups, groups * n, d)
    if torch.is_inference_mode_enabled() and query.device.type == "cpu":
        # Faster than the fused kernel there, and the target's keys are stored for it: see models/attention/hybrid.py.
        added = None if added is None else added[0, 0]
        mixed = products(rows[0], key[0], value[0], d**-0.5, added, None)
    else:
        mixed = scaled_dot_product_attention(rows, key, value, attn_mask=added)
    return mixed.reshape(batch, heads, n, d).transpose(1, 2).reshape(batch, n, heads * d)


class Attention(nn.Module):
    """Hold the projections of one attention: queries and output, and with `kv` keys and values in one matrix."""

    def __init__(self, sizes: Sizes, bias: bool, kv: bool) -> None:
        super().__init__()
        self.head_dim = sizes.head_dim
        self.q_proj = nn.Linear(sizes.hidden, sizes.heads * sizes.head_dim, bias=bias)
        if kv:
            self.kv_proj = nn.Linear(sizes.hidden, 2 * sizes.kv_heads * sizes.head_dim, bias=bias)
        self.o_proj = nn.Linear(sizes.heads * sizes.head_dim, sizes.hidden, bias=False)

    def split(self, projected: torch.Tensor) -> torch.Tensor:
        """Split projected rows [b, n, heads * d] into heads [b, heads, n, d]."""
        return projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


class MLP(nn.Module):
    """Compute a SwiGLU feed-forward of the target's sizes."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(sizes.hidden, 2 * sizes.intermediate, bias=False)
        self.down_proj = nn.Linear(sizes.intermediate, sizes.hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [..., hidden] to [..., hidden]."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        mixed: torch.Tensor = self.down_proj(silu(gate) * up)
        return mixed


class Fusion(nn.Module):
    """Fuse features of several target layers into one vector that is added to the embedding."""

    def __init__(self, sizes: Sizes, layers: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(sizes.hidden, eps=sizes.eps) for _ in range(layers))
        self.proj = nn.Linear(layers * sizes.hidden, sizes.hidden, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map features [..., layers, hidden] to [..., hidden]."""
        normed = [norm(part) for norm, part in zip(self.norms, features.unbind(-2), strict=True)]
        fused: torch.Tensor = self.proj(torch.cat(normed, dim=-1))
        return fused


class Glide(nn.Module):
    """Run GLIDE's decoder layer; the checkpoint decides which optional parts it has (checkpoints.py)."""

    def __init__(self, sizes: Sizes, bias: bool = False, norm: bool = True, feature_layers: int = 0) -> None:
        super().__init__()
        self.sizes = sizes
        self.self_attn = Attention(sizes, bias, kv=True)
        self.cross_attn = Attention(sizes, bias, kv=False)
        self.mlp = MLP(sizes)
        self.input_layernorm = nn.RMSNorm(sizes.hidden, eps=sizes.eps)
        self.post_self_attention_layernorm = nn.RMSNorm(sizes.hidden, eps=sizes.eps)
        self.post_cross_attention_layernorm = nn.RMSNorm(sizes.hidden, eps=sizes.eps)
        self.norm = nn.RMSNorm(sizes.hidden, eps=sizes.eps) if norm else None
        self.fusion = Fusion(sizes, feature_layers) if feature_layers else None
        if feature_layers:
            self.lag_embedding = nn.Parameter(torch.zeros(LAGS, sizes.hidden))

    def keys_values(
        self, embedded: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the self-attention's keys (rotated) and values [b, kv_heads, n, d] of embeddings [b, n, hidden]."""
        attn = self.self_attn
        keys, values = attn.split(attn.kv_proj(self.input_layernorm(embedded))).chunk(2, dim=1)
        return rotate(keys, cos, sin), values

    def forward(
        self,
        h: torch.Tensor,
        rotary: tuple[torch.Tensor, torch.Tensor],
        window: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None],
        target: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None],
    ) -> torch.Tensor:
        """Map embeddings h [b, n, hidden] to the hidden states [b, n, hidden] that the target's head reads.

        `window` and `target`: keys and values [b, kv_heads, l, d] of the self- and the cross-attention, and what is
        added to their scores [b, 1, n, l], or None.
        """
        attn = self.self_attn
        query = rotate(attn.split(attn.q_proj(self.input_layernorm(h))), *rotary)
        h = h + attn.o_proj(attend(query, *window))
        attn = self.cross_attn
        query = rotate(attn.split(attn.q_proj(self.post_self_attention_layernorm(h))), *rotary)
        h = h + attn.o_proj(attend(query, *target))
        h = h + self.mlp(self.post_cross_attention_layernorm(h))
        return h if self.norm is None else self.norm(h)

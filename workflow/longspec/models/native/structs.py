"""The declarations of sources/model.h for ctypes: what the compiled step is given."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_int64, c_void_p

import torch


class Linear(ctypes.Structure):
    """struct Linear of sources/products.h."""

    _fields_ = [
        ("weights", c_void_p),
        ("bias", c_void_p),
        ("inputs", c_int32),
        ("outputs", c_int32),
        ("half", c_int32),
    ]


class Layer(ctypes.Structure):
    """struct Layer."""

    _fields_ = [
        *((name, Linear) for name in ("qkv", "output", "gate_up", "down")),
        *((name, c_void_p) for name in ("attention_norm", "attention_out_norm", "mlp_norm", "mlp_out_norm")),
        *((name, c_void_p) for name in ("query_norm", "key_norm", "cosines", "sines", "keys", "values", "watched")),
        ("window", c_int32),
    ]


class Model(ctypes.Structure):
    """struct Model."""

    _fields_ = [
        ("layers", c_void_p),
        ("final_norm", c_void_p),
        ("head", Linear),
        *((name, c_int32) for name in ("layer_count", "hidden", "inner", "heads", "kv_heads", "head_dim", "rotary")),
        *((name, c_int32) for name in ("capacity", "half_cache", "half_rows", "interleaved", "activation")),
        ("norm_whole", c_int32),
        *((name, c_float) for name in ("epsilon", "attention_scale", "attention_softcap", "residual_scale")),
        *((name, c_float) for name in ("logit_scale", "logit_softcap")),
    ]


class Text(ctypes.Structure):
    """struct Text."""

    _fields_ = [(name, c_int32) for name in ("begin", "end", "prefix", "tail", "cache")]


class Rows(ctypes.Structure):
    """struct Rows."""

    _fields_ = [
        *((name, c_void_p) for name in ("hidden", "positions", "slots", "shared", "path_start", "path", "logits")),
        ("texts", c_void_p),
        *((name, c_int32) for name in ("text_count", "count", "keep", "threads")),
    ]


class CrossLayer(ctypes.Structure):
    """struct CrossLayer of sources/cross_layer.h."""

    _fields_ = [
        ("own", Layer),
        *((name, Linear) for name in ("query", "cross_query", "cross_output", "fusion")),
        *((name, c_void_p) for name in ("cross_norm", "feature_norms", "lags")),
        *((name, c_int32) for name in ("features", "lag_count")),
    ]


class CrossRows(ctypes.Structure):
    """struct CrossRows."""

    _fields_ = [
        ("rows", Rows),
        *((name, c_void_p) for name in ("keys", "values")),
        *((name, c_int32) for name in ("seen", "capacity")),
        *((name, c_void_p) for name in ("features", "fused")),
        ("last", c_int32),
    ]


def require_sizes(library: ctypes.CDLL) -> None:
    """Check that the compiled structs have the sizes that are declared here."""
    library.longspec_workspace.restype = c_void_p
    kinds = (Linear, Layer, Model, Rows, CrossLayer, CrossRows, Text)
    sizes = (c_int64 * len(kinds))()
    library.longspec_sizes(sizes)
    assert list(sizes) == [ctypes.sizeof(kind) for kind in kinds]


def pointer(tensor: torch.Tensor | None) -> int | None:
    """Return the address of a contiguous tensor's data; the caller keeps the tensor alive."""
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    return tensor.data_ptr()

"""Makes Triton's interpreter compute bfloat16 as the hardware does.

Triton 3.8 keeps bfloat16 as uint16 in numpy: its interpreter multiplies those bit patterns as integers, and cuts off
where a GPU rounds to the nearest. Both are replaced here by what the hardware does, through torch.
"""

from __future__ import annotations

import os

import numpy as np
import torch
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

_dot, _cast = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl


def _float32(x: TensorHandle) -> TensorHandle:
    if x.dtype.scalar != tl.bfloat16:
        return x
    return TensorHandle((x.data.astype(np.uint32) << 16).view(np.float32), tl.float32)


def create_dot(self, a, b, d, *rest):
    """Multiply bfloat16 in float32, where its products are exact."""
    return _dot(self, _float32(a), _float32(b), d, *rest)


def cast_impl(self, src, dst_type):
    """Round to the nearest, ties to even."""
    if (src.dtype.scalar, dst_type.scalar) != (tl.float32, tl.bfloat16):
        return _cast(self, src, dst_type)
    rounded = torch.from_numpy(np.ascontiguousarray(src.data)).to(torch.bfloat16).view(torch.int16)
    return TensorHandle(rounded.numpy().view(np.uint16), dst_type.scalar)


def install() -> None:
    """Replace the interpreter's operations; call it before any kernel runs."""
    assert os.environ.get("TRITON_INTERPRET") == "1"
    InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl = create_dot, cast_impl

"""Hugging Face `generate` without speculation: the baseline that most papers use, and the test of ours."""

from __future__ import annotations

from typing import Any

from longspec.backends.peers._huggingface import Generate

DRAFTS = False
OPTIONS: dict[str, dict[str, object]] = {}


def make(model: Any) -> Generate:
    """`generate` as it is."""
    return Generate(model, {})

"""Hugging Face `generate` without speculation: the baseline of most papers, and the reference that checks ours."""

from __future__ import annotations

from typing import Any

from longspec.backends.peers._huggingface import Generate

DRAFTS = False
OPTIONS: dict[str, dict[str, object]] = {}


def make(model: Any) -> Generate:
    """Make `generate` without drafts."""
    return Generate(model, {})

"""Hugging Face `generate` with prompt lookup (Saxena 2023): n-grams of the text draft what followed them."""

from __future__ import annotations

from typing import Any

from longspec.backends.peers._huggingface import Generate

DRAFTS = True
OPTIONS = {
    "prompt_lookup_num_tokens": {
        "type": "integer",
        "minimum": 1,
        "default": 10,
        "description": "Tokens drafted a step, as the option of generate.",
    },
    "max_matching_ngram_size": {
        "type": "integer",
        "minimum": 1,
        "default": 2,
        "description": "Longest n-gram that is looked up, as the option of generate (its own default).",
    },
}


def make(model: Any, prompt_lookup_num_tokens: int, max_matching_ngram_size: int) -> Generate:
    """Make `generate` with prompt lookup."""
    options = {"prompt_lookup_num_tokens": prompt_lookup_num_tokens, "max_matching_ngram_size": max_matching_ngram_size}
    # Prompt lookup may draft beyond max_new_tokens.
    return Generate(model, options, ahead=prompt_lookup_num_tokens - 1)

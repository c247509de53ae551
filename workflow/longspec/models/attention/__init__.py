"""Attention for prompts, decoding steps and trees of drafts, and the kernels behind it."""

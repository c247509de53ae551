"""Checks, before a job loads a model, that our engine computes what transformers does (docs/losslessness.md)."""

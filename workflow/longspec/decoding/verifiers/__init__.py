"""Verifiers: which drafts are kept and which tokens are emitted. One file each, found by its name."""

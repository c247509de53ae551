"""The decoding loop that every method and drafter goes through, and its parts: tree, methods, verifiers, sampling."""

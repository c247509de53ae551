"""The one decoding loop, and what it is made of: tree, methods, verifiers, sampling."""

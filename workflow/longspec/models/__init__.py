"""The target: its files, weights, forward, attention and caches, and the machine that it runs on."""

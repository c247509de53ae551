"""Runs models: their files, weights, forward, attention and caches, and the machine that they run on."""

"""Drafters: what guesses the tokens of a proposal. One file or folder each, found by its name."""

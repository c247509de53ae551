"""The shape of a proposal: one file a method, found by its name."""

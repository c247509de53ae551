"""Methods: the shape of a proposal. One file each, found by its name."""

"""Peers: other libraries' decoding loops over the same model. One file each, found by its name."""

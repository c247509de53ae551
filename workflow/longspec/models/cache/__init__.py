"""Preallocated key/value caches, with a tail of nodes that are not decided on yet."""

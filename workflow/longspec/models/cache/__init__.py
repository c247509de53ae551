"""Preallocated key/value caches: a committed prefix, and a tail of nodes that are not decided on yet."""

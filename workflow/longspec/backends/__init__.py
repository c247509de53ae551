"""Backends: what a job times. Our decoding loop, or another library's, behind one interface (interface.py)."""

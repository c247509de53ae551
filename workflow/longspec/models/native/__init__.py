"""A decoder step in C++ for CPUs: weights read once, sums in float32, each row's bits independent of its company."""

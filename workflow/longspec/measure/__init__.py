"""Runs one timed job, from its lock to its complete journal: supervisor, worker, warm-up, order, journal."""

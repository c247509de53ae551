"""One timed job, from its lock to its last line: supervisor, worker, warm-up, journal."""

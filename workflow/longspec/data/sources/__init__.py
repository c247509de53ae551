"""One file a source of rows, found by its name."""

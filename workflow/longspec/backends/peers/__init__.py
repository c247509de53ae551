"""One file a peer, found by its name: another library's own loop over the same model."""

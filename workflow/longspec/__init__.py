"""How much faster is speculative decoding, and is the output still the same? docs/architecture.md has the map."""

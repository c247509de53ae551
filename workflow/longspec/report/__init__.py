"""What a person reads: pages, charts, tables for papers. Nothing is computed here that is not in a table."""

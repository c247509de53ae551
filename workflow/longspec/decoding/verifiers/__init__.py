"""Which drafts the target keeps: one file a rule, found by its name."""

"""Who fills a proposal: one file or folder a drafter, found by its name."""

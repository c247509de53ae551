"""One attention function for prompts, steps and trees, and the kernels behind it."""

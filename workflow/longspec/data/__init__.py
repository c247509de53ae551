"""Where prompts come from and how they become token ids."""

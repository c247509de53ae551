"""Is the output the model's, and are the files what was measured? The gate, and two audits."""

"""Checks that outputs are the model's and that files are what was measured: the gate, and two audits."""

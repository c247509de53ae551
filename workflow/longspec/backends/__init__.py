"""What is timed: our loop, or another library's or engine's, behind one interface (base.py)."""

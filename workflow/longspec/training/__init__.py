"""Trains a GLIDE drafter: collects a target's own answers, and trains one layer on them."""

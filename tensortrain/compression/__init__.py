"""Whole networks and checkpoints: find every conv kernel, decompose it, replace it, record it, verify it."""

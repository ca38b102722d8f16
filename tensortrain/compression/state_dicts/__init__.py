"""State dicts: read checkpoints, find their kernels, decompose many of them, and record what was done."""

"""State dicts: read checkpoints, find their kernels, decompose many of them, and record the results in a file."""

"""What several test modules share: NumPy oracles, references, runs and videos."""

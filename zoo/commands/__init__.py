"""What each command of `zoo` takes and does."""

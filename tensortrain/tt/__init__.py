"""Standard tensor trains (TTD) of tensors and of matrices."""

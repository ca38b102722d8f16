"""What a computation costs on the machine at hand: seconds, multiply-accumulates, memory, and convolutions alone."""

"""What a computation costs on this machine: seconds, multiply-accumulates, memory, and its convolutions alone."""

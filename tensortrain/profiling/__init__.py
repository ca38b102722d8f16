"""Measure the cost of a computation on this machine: time, multiply-accumulates, memory and isolated convolutions."""

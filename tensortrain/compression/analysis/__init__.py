"""Measurements of a network before a budget is set: calls, statistics of inputs, error curves, costs and times."""

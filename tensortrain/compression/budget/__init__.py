"""From a budget to a network: share it among the layers, refit them in the order of execution, and build the result."""

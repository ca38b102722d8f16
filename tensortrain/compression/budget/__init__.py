"""Share a budget among the layers of a network, refit the layers in the order of execution, and build the result."""

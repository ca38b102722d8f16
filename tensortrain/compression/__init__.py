"""Whole networks and checkpoints: share a budget among the layers, replace them, record what was done, and verify it.

| package | what it does |
|---|---|
| `state_dicts` | read checkpoints, find their kernels, decompose many of them, and record what was done |
| `layers` | find the layers of a model, say which can be replaced, and put others in their place |
| `analysis` | what is measured of a network first: calls, statistics of inputs, error curves, costs and times |
| `budget` | from a budget to a network: allocation, fitted forms, refit, and the built result |
| `reports` | what a compression did: measured on the built network, printed, drawn, and written as a page |

| module | what it does |
|---|---|
| `network` | `tt.compress` and `tt.compression_curve`: a whole network to a budget |
| `model` | `tt.nn.decompose`, `save` and `load`: every layer by limits of its own |
| `result`, `options` | what `tt.compress` returns, and the arguments that its callers share |
| `verify`, `verify_outputs`, `certificates` | recompute errors, bounds and outputs; certify the errors of a file |
| `command`, `user_code` | the command `tensortrain compress`, and the functions that its user names |

Of the packages, each imports only those above it in the table.
"""

"""Whole networks and checkpoints: share a budget among the layers, replace them, record the changes, and verify them.

| package | what it does |
|---|---|
| `state_dicts` | reads checkpoints, finds their kernels, decomposes many of them, and records the results |
| `layers` | finds the layers of a model, decides which can be replaced, and inserts their replacements |
| `analysis` | measures a network: calls, statistics of inputs, error curves, costs and times |
| `budget` | turns a budget into a network: allocation, fitted forms, refit, and the built result |
| `reports` | measures the built network, and prints, draws and writes the results |

| module | what it does |
|---|---|
| `network` | `tt.compress` and `tt.compression_curve` compress a whole network to a budget |
| `analysed` | a network that has been analysed, and is compressed to one budget after the other |
| `model` | `tt.nn.decompose`, `save` and `load`: every layer has its own limits |
| `result`, `options` | the result of `tt.compress`, and the arguments that its callers share |
| `verify`, `verify_outputs`, `certificates` | recompute errors, bounds and outputs, and certify the errors of a file |
| `command`, `user_code` | the command `tensortrain compress`, and the functions of its user |

Each package imports only the packages above it in the table.
"""

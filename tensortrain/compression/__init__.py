"""Whole networks and checkpoints: find the conv kernels, decompose them, replace them, record and verify the result.

| module | what it does |
|---|---|
| `kernels` | the conv kernels of a checkpoint or a model: find them, select some by pattern |
| `limits` | one limit for all kernels, or a mapping of patterns |
| `layers` | decompose kernels one after the other, put the cores in their place |
| `records` | what the file of a decomposed network says about its layers |
| `checkpoints` | checkpoints that other programs wrote: which state dict, which prefix |
| `shards` | checkpoints in several files with an index |
| `names`, `parts` | names in a `state_dict`; weights that it holds in parts, such as those of weight norm |
| `ties` | convs that share one weight |
| `verify` | recompute errors and bounds, and compare |
| `model` | the same for an `nn.Module`: `decompose`, `save`, `load` |
"""

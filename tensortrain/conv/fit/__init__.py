"""Decompose a convolution kernel: choose ranks, run a solver, and bound the error of the result.

| module | what it does |
|---|---|
| `decomposition` | `decompose` and `bounds`: limits on the size, choice of the ranks, rounding to the dtype |
| `options` | what every solver takes besides the kernel |
| `kernel` | the kernel as the solvers see it |
| `exact` | exact chains, whose cores but one are shifted identities |
| `sweep` | first guesses and their a-priori bound |
| `spectral`, `lbfgs` | refinement of chains |
| `chain` | chains of spatial cores: from a first guess to the refined chain |
| `depthwise` | chains with depthwise or blocked middle cores |
| `lower_bounds` | errors that no chain of the given ranks can go below |
| `ranks` | useful ranks and the order in which they grow |
| `solver` | one kernel, one format, fixed ranks |
| `choose_format` | the best format for a kernel and a budget |
| `progress` | a progress bar for long decompositions |
"""

from tensortrain.conv.fit.decomposition import Decomposition, bounds, decompose

__all__ = ["Decomposition", "bounds", "decompose"]

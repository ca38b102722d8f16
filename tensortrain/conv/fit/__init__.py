"""Decompose a convolution kernel: choose the ranks, run a solver, and bound the error of the result.

| module | content |
|---|---|
| `decomposition` | `decompose` and `bounds`: limits on the size, choice of the ranks, rounding to the dtype |
| `options` | the options of all solvers |
| `kernel` | the kernel in the form that all solvers use |
| `exact` | exact chains: all cores except one are shifted identities |
| `sweep` | initial chains and a bound of their errors |
| `spectral`, `lbfgs` | refinement of chains |
| `chain` | chains of spatial cores, from the initial to the refined chain |
| `blocks` | unknowns and initial values of chains with depthwise or blocked middle cores |
| `depthwise` | the solver of these chains |
| `lower_bounds` | lower bounds of the error of all chains with given ranks |
| `ranks` | useful ranks and the order in which they grow |
| `solver` | the fit of one kernel in one format with fixed ranks |
| `choose_format` | the choice of the best format for a kernel and a budget |
| `progress` | a progress bar for long decompositions |
"""

from tensortrain.conv.fit.decomposition import Decomposition, bounds, decompose

__all__ = ["Decomposition", "bounds", "decompose"]

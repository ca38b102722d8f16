"""The evaluations of both kinds of trains as functions of plain tensors, for code that keeps its own parameters.

| function | computes |
|---|---|
| `conv_tt` | the output of a convolutional tensor train, core by core, eq. (6) of the Conv-TT-LSTM paper |
| `conv_sum` | the same output with dense kernels, eq. (5) |
| `compose` | the kernel that equals two successive convolutions |
| `compose_all` | the kernel of a whole chain of cores, eq. (4) |
| `tt_evaluate` | a tensor train contracted with a vector for each axis, core by core, eq. (3) |
| `tt_evaluate_dense` | the same value from the dense tensor, eq. (2) |
| `tt_reconstruct` | the dense tensor that a train represents, eq. (1) |
| `tt_matvec` | the product of a TT-matrix with the columns of a dense matrix, core by core |

>>> import torch
>>> cores = [torch.ones(4, 2, 3, 3), torch.ones(2, 8, 3, 3)]
>>> conv_tt(cores, [None, torch.ones(1, 8, 16, 16)]).shape
torch.Size([1, 4, 16, 16])
>>> compose_all(cores, groups=(1, 1)).shape
torch.Size([4, 8, 5, 5])
>>> tt_reconstruct([torch.ones(1, 2, 3), torch.ones(3, 4, 1)]).shape
torch.Size([2, 4])
"""

from tensortrain.conv.functional import compose, compose_all, conv_sum, conv_tt
from tensortrain.tt.functional import tt_evaluate, tt_evaluate_dense, tt_matvec, tt_reconstruct

__all__ = [
    "compose",
    "compose_all",
    "conv_sum",
    "conv_tt",
    "tt_evaluate",
    "tt_evaluate_dense",
    "tt_matvec",
    "tt_reconstruct",
]

"""TT-matrices to test: of partial differential equations and of spin chains."""

import torch
from torch import Tensor

from tensortrain.tt.matrix import TensorTrainMatrix

F64 = torch.float64


def second_difference(size: int, drift: float = 0.0) -> Tensor:
    """−u″ on a grid of spacing 1 with zeros beside it, and `drift` times the one-sided u′, which is not symmetric."""
    below = torch.ones(size - 1, dtype=F64).diag(-1)
    one = torch.eye(size, dtype=F64)
    return 2 * one - below - below.T + drift * (one - below)


def kronecker_sum(matrix: Tensor, order: int) -> TensorTrainMatrix:
    """`M ⊗ 1 ⊗ ⋯ + 1 ⊗ M ⊗ ⋯ + …`, of ranks 2."""
    one, zero = torch.eye(len(matrix), dtype=matrix.dtype), torch.zeros_like(matrix)
    core = torch.stack([torch.stack([one, zero], -1), torch.stack([matrix, one], -1)])
    if order == 1:
        return TensorTrainMatrix([core[1:, ..., :1]])
    return TensorTrainMatrix([core[1:], *[core] * (order - 2), core[..., :1]])


def ising(sites: int, field: float) -> TensorTrainMatrix:
    """`−Σ Z_l Z_{l+1} − field Σ X_l` of an open chain, of ranks 3."""
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=F64)
    z, one, zero = torch.tensor([1.0, -1.0], dtype=F64).diag(), torch.eye(2, dtype=F64), torch.zeros(2, 2, dtype=F64)
    rows = [[one, -z, -field * x], [zero, zero, z], [zero, zero, one]]
    core = torch.stack([torch.stack(row, -1) for row in rows])
    return TensorTrainMatrix([core[:1], *[core] * (sites - 2), core[..., 2:]])

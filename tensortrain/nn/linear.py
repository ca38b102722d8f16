"""A linear layer with a TT-matrix as weight (Novikov et al. 2015, "Tensorizing neural networks")."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.nn.from_cores import summary
from tensortrain.nn.from_matrix import FromMatrix, check_plain, decomposed, factors
from tensortrain.nn.low_rank import plain_linear
from tensortrain.tt.matrix import TensorTrainMatrix


class TTLinear(FromMatrix):
    """`nn.Linear` with a TT-matrix as weight.

    `weight`, `(out_features, in_features)`, exists for code that reads it. Each access computes it from the cores, with
    at most `out_features · in_features · R m` multiplications, where R is the largest rank.

    Each core `(R_{l-1}, O_l, I_l, R_l)` is stored as a plain linear layer from `I_l R_l` to `O_l R_{l-1}` features, so
    that compilers, autocast and quantisation tools see only linear layers. The bias, one number for each of the
    `O_1 ⋯ O_m` outputs, is a parameter of the layer itself.

    Args:
        matrix: the weight, `(out_features, in_features)`; its cores are copied.
        bias: the bias, `(out_features,)`, or None.

    Attributes:
        error: relative error of the decomposition from which the layer was built; None if there was none. Training does
            not update it.

    Raises:
        TensorTrainError: the matrix is not a TT-matrix of a real floating dtype, or the bias does not fit.

    >>> matrix = TensorTrainMatrix([torch.ones(1, 2, 3, 4), torch.ones(4, 5, 2, 1)])
    >>> TTLinear(matrix)(torch.ones(7, 6)).shape
    torch.Size([7, 10])
    """

    cores: Any  # an nn.ModuleList of nn.Linear
    bias: Tensor | None

    def __init__(self, matrix: TensorTrainMatrix, bias: Tensor | None = None) -> None:
        super().__init__("matrix", matrix, lambda core: plain_linear(core.flatten(2).flatten(0, 1)))
        self.out_features, self.in_features = matrix.shape
        self.out_shape, self.in_shape = matrix.out_shape, matrix.in_shape
        checks.bias(bias, self.out_features, matrix.cores[0])
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    @classmethod
    def from_linear(
        cls,
        linear: nn.Linear,
        out_shape: Sequence[int] | None = None,
        in_shape: Sequence[int] | None = None,
        *,
        ranks: int | Sequence[int] | None = None,
        rtol: float | None = None,
        max_parameters: int | None = None,
        budget: float | None = None,
        seed: int = 0,
    ) -> Self:
        """Return the layer that replaces `linear`, with its weight decomposed by `TensorTrainMatrix.decompose`.

        Bias, dtype, device, `requires_grad` and training mode are those of `linear`. A weight in half precision is
        decomposed in single precision; `error` does not include the rounding of the cores to half precision.

        Args:
            linear: the plain module.
            out_shape: `O_1 … O_m` with product `out_features`. By default the number of factors is that of `in_shape`,
                or two, and the factors are as equal as possible.
            in_shape: `I_1 … I_m` with product `in_features`; the default is analogous to that of `out_shape`.
            ranks, rtol, max_parameters, budget, seed: arguments of `TensorTrainMatrix.decompose`.

        Raises:
            TensorTrainError: the module is not a plain linear layer, or `TensorTrainMatrix.decompose` fails.

        >>> TTLinear.from_linear(nn.Linear(320, 50), budget=0.3)
        TTLinear(
          16·20, 5·10, ranks=(1, 17, 1), bias=True, 4,760 of 16,000 parameters, error=...
          (cores): ModuleList(
            (0): Linear(in_features=272, out_features=5, bias=False)
            (1): Linear(in_features=20, out_features=170, bias=False)
          )
        )
        >>> linear = nn.Linear(12, 6)
        >>> layer = TTLinear.from_linear(linear, (2, 3), (3, 4), rtol=1e-6)
        >>> torch.allclose(layer(torch.ones(5, 12)), linear(torch.ones(5, 12)), atol=1e-5)
        True
        """
        check_plain("linear", linear, nn.Linear)
        weight = linear.weight.detach()
        rows, columns = factors(out_shape, in_shape, (linear.out_features, linear.in_features))
        limits = {"ranks": ranks, "rtol": rtol, "max_parameters": max_parameters, "budget": budget, "seed": seed}
        return cls.like(linear, decomposed(weight, rows, columns, **limits))

    @classmethod
    def like(cls, linear: nn.Linear, matrix: TensorTrainMatrix) -> Self:
        """Return the layer that replaces `linear`, with this matrix as weight; everything else is that of `linear`.

        Bias, dtype, device, `requires_grad` and training mode are those of `linear`.

        Args:
            linear: the plain module.
            matrix: the weight, `(out_features, in_features)`; its cores are copied.

        Raises:
            TensorTrainError: the module is not a plain linear layer, or the matrix has another size, is not a TT-matrix
                of a real floating dtype, or has entries that are too large for the dtype of `linear`.

        >>> TTLinear.like(nn.Linear(6, 10).double(), TensorTrainMatrix.random((2, 5), (3, 2), 4)).weight.dtype
        torch.float64
        """
        check_plain("linear", linear, nn.Linear)
        if isinstance(matrix, TensorTrainMatrix):  # the constructor refuses everything else
            if matrix.shape != linear.weight.shape:
                raise TensorTrainError(f"matrix is {matrix.shape}; linear has a weight {tuple(linear.weight.shape)}")
            matrix = matrix.to(linear.weight)
        layer = cls(matrix, linear.bias)
        layer.cores.requires_grad_(linear.weight.requires_grad)
        if layer.bias is not None:
            layer.bias.requires_grad_(linear.bias.requires_grad)
        return layer.train(linear.training)

    @staticmethod
    def plain_class() -> type[nn.Module]:
        """Return the plain class that this layer replaces."""
        return nn.Linear

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Return the shape of `weight`, without computing it."""
        return self.out_features, self.in_features

    @property
    def matrix(self) -> TensorTrainMatrix:
        """Return the current weight; its cores are views of the parameters, not copies."""
        return TensorTrainMatrix(self._matrix_cores())

    def merge(self) -> nn.Linear:
        """Return one plain linear layer with the dense weight.

        >>> TTLinear(TensorTrainMatrix.random((2, 5), (3, 2), 4)).merge()
        Linear(in_features=6, out_features=10, bias=False)
        """
        with torch.no_grad():
            linear = plain_linear(self.weight)
        linear.weight.requires_grad_(self.cores[0].weight.requires_grad)
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias.detach().clone(), requires_grad=self.bias.requires_grad)
        return linear.train(self.training)

    def forward(self, input: Tensor) -> Tensor:
        """Map `(…, in_features)` to `(…, out_features)`, core by core from the last to the first."""
        # before step l the value is (batch, O_{l+1} ⋯ O_m, I_1 ⋯ I_{l-1}, (I_l, R_l))
        done, left = 1, self.in_features
        if input.shape[-1:] != (self.in_features,):
            raise TensorTrainError(f"input {tuple(input.shape)} must have the shape (…, {self.in_features})")
        value = input.reshape(-1, 1, 1, self.in_features)
        for core, out, size in zip(
            reversed(self.cores._modules.values()), self.out_shape[::-1], self.in_shape[::-1], strict=True
        ):
            left //= size
            value = core(value.reshape(value.shape[0], done, left, core.in_features))
            value = value.unflatten(-1, (out, -1)).permute(0, 3, 1, 2, 4)
            done *= out
        output = value.reshape(*input.shape[:-1], self.out_features)
        # under autocast the bias has another dtype than the output
        return output if self.bias is None else output + self.bias.to(output.dtype)

    def extra_repr(self) -> str:
        """Return the factors of the features, the ranks, the bias, the parameters and the error."""
        return (
            f"{'·'.join(map(str, self.in_shape))}, {'·'.join(map(str, self.out_shape))}, ranks={self.ranks},"
            f" bias={self.bias is not None}{summary(self, self.in_features * self.out_features)}"
        )

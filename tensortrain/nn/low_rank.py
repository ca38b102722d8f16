"""A linear layer whose weight is a product of two narrow matrices."""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.nn.from_cores import FromCores, summary


def _check_factors(outer: Tensor, inner: Tensor) -> None:
    """Refuse factors that are not real floating matrices."""
    for name, factor in (("outer", outer), ("inner", inner)):
        if checks.tensor(name, factor).dim() != 2 or not factor.is_floating_point():
            raise TensorTrainError(
                f"{name} has shape {tuple(factor.shape)} and dtype {factor.dtype}; a real floating matrix is needed"
            )


class LowRankLinear(FromCores):
    """`nn.Linear` with the weight `outer @ inner` of rank R: a chain of two plain linear layers, output side first.

    Its parameters are named like those of the convolution layers: `cores.0.weight`, `cores.0.bias` and
    `cores.1.weight`. `weight`, `(out_features, in_features)`, exists for code that reads it; each access computes the
    product.

    Args:
        outer: the left factor, `(out_features, R)`; it is copied.
        inner: the right factor, `(R, in_features)`; it is copied.
        bias: the bias, `(out_features,)`, or None.

    Attributes:
        error: relative Frobenius error of the approximation from which the layer was built; None if there was none.
            Training does not update it.

    Raises:
        TensorTrainError: the factors are not real floating matrices with the same rank, or the bias does not fit.

    >>> layer = LowRankLinear(torch.ones(5, 2), torch.ones(2, 3))
    >>> layer(torch.ones(4, 3)).shape, layer.weight.shape, layer.rank
    (torch.Size([4, 5]), torch.Size([5, 3]), 2)
    """

    derived = ("weight", "bias")

    cores: Any  # an nn.ModuleList of two nn.Linear

    def __init__(self, outer: Tensor, inner: Tensor, bias: Tensor | None = None, *, error: float | None = None) -> None:
        super().__init__()
        _check_factors(outer, inner)
        if outer.shape[1] != inner.shape[0]:
            raise TensorTrainError(
                f"outer is {tuple(outer.shape)}, inner {tuple(inner.shape)}; outer must have as many columns as inner"
                " has rows"
            )
        checks.agrees("inner", inner, outer)
        checks.bias(bias, outer.shape[0], outer)
        self.out_features, self.in_features, self.rank = outer.shape[0], inner.shape[1], outer.shape[1]
        self.error = error
        self.cores = nn.ModuleList([plain_linear(outer, bias), plain_linear(inner)])

    @classmethod
    def like(cls, linear: nn.Linear, outer: Tensor, inner: Tensor, *, error: float | None = None) -> Self:
        """Return the layer with the weight `outer @ inner` and all other attributes of `linear`.

        Bias, dtype, device, `requires_grad` and training mode are those of `linear`.

        Args:
            linear: the plain linear layer.
            outer: the left factor of the weight, `(out_features, R)`.
            inner: the right factor of the weight, `(R, in_features)`.
            error: relative Frobenius error of the approximation, or None.

        Raises:
            TensorTrainError: the module is not a plain linear layer, or the factors are not real floating matrices of
                these sizes.

        >>> LowRankLinear.like(nn.Linear(3, 5), torch.ones(5, 2), torch.ones(2, 3)).rank
        2
        """
        cls.check(linear)
        _check_factors(outer, inner)  # before a conversion to the dtype of `linear`, which would drop imaginary parts
        if (outer.shape[0], inner.shape[1]) != tuple(linear.weight.shape):
            raise TensorTrainError(
                f"outer {tuple(outer.shape)} @ inner {tuple(inner.shape)} is not a {tuple(linear.weight.shape)} weight"
            )
        layer = cls(outer.to(linear.weight), inner.to(linear.weight), linear.bias, error=error)
        for core in layer.cores:
            core.weight.requires_grad_(linear.weight.requires_grad)
        if linear.bias is not None:
            layer.cores[0].bias.requires_grad_(linear.bias.requires_grad)
        return layer.train(linear.training)

    @classmethod
    def check(cls, linear: nn.Linear) -> None:
        """Refuse a module that the layer could not replace exactly.

        Raises:
            TensorTrainError: the module has another type, its own `forward`, hooks, parametrizations or further
                tensors, or no floating weight.
        """
        name = type(linear).__name__
        if not isinstance(linear, nn.Linear):
            raise TensorTrainError(f"linear is a {name}; a plain nn.Linear is needed")
        if checks.has_own_forward(linear, nn.Linear):
            raise TensorTrainError(f"linear is a {name} with its own forward; a plain nn.Linear is needed")
        if nn.parameter.is_lazy(linear.weight):
            raise TensorTrainError(f"linear is a {name} without a weight; run it once on an input first")
        if parametrize.is_parametrized(linear):
            raise TensorTrainError(
                "linear is parametrized, and the layer would lose that; first apply"
                ' torch.nn.utils.parametrize.remove_parametrizations(linear, "weight")'
            )
        if checks.has_hooks(linear):
            raise TensorTrainError(
                "linear has hooks, perhaps of weight_norm or pruning, and the layer would lose them; remove them first"
            )
        checks.no_additions("linear", linear)
        if not linear.weight.is_floating_point():
            raise TensorTrainError(f"linear.weight has dtype {linear.weight.dtype}; a real floating dtype is needed")

    def _rebuild(self) -> Tensor:
        """Return the dense weight."""
        product: Tensor = self.cores[0].weight @ self.cores[1].weight
        return product

    @property
    def bias(self) -> nn.Parameter | None:
        """Return the bias `(out_features,)`, which is the parameter `cores.0.bias`, or None."""
        bias: nn.Parameter | None = self.cores[0].bias
        return bias

    @property
    def weight_shape(self) -> tuple[int, int]:
        """Return the shape of `weight`, without computing it."""
        return self.out_features, self.in_features

    def merge(self) -> nn.Linear:
        """Return one plain linear layer with the product of both factors.

        >>> LowRankLinear(torch.ones(5, 2), torch.ones(2, 3)).merge()
        Linear(in_features=3, out_features=5, bias=False)
        """
        outer = self.cores[0]
        with torch.no_grad():
            linear = plain_linear(self.weight, outer.bias)
        linear.weight.requires_grad_(outer.weight.requires_grad)
        if outer.bias is not None:
            linear.bias.requires_grad_(outer.bias.requires_grad)
        return linear.train(self.training)

    def forward(self, input: Tensor) -> Tensor:
        """Map `(…, in_features)` to `(…, out_features)`."""
        for core in reversed(self.cores._modules.values()):
            input = core(input)
        return input

    def extra_repr(self) -> str:
        """Return the features, the rank, the bias, the parameters and the error."""
        bias = getattr(next(iter(self.cores), None), "bias", None)  # what somebody put in place of a core may have none
        sizes = f"{self.in_features}, {self.out_features}, rank={self.rank}, bias={bias is not None}"
        return f"{sizes}{summary(self, self.in_features * self.out_features)}"


def plain_linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Return a plain linear layer with copies of the parameters, built on the meta device without random numbers."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            setattr(linear, name, nn.Parameter(value.detach().clone(memory_format=torch.contiguous_format)))
    return linear

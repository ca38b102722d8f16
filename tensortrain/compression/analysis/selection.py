"""Which tensor of a network's output counts."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import Tensor
from torch.utils import _pytree as pytree

from tensortrain.errors import TensorTrainError

Selector: TypeAlias = str | int | Callable[[Any], Tensor] | None


def select(output: Any, selector: Selector) -> Tensor:
    """The tensor to compare in what a network returned.

    Args:
        output: a tensor, or tuples, lists, dicts and the like with tensors.
        selector: a key, an attribute, an index or a function that names the tensor; None takes the first floating one.

    Raises:
        TensorTrainError: no such tensor.

    >>> import torch
    >>> select({"loss": 0.5, "logits": torch.zeros(2, 3)}, None).shape
    torch.Size([2, 3])
    """
    if selector is None:
        value: Any = next((x for x in pytree.tree_leaves(_plain(output)) if _is_floating(x)), None)
    elif callable(selector):
        value = selector(output)
    elif isinstance(output, Tensor):
        value = None
    else:
        try:
            value = output[selector]
        except (KeyError, IndexError, TypeError):
            value = getattr(output, str(selector), None)
    if not _is_floating(value):
        what = "has no floating tensor" if selector is None else f"has no floating tensor {selector!r}"
        raise TensorTrainError(
            f"the output of the model, a {type(output).__name__}, {what}; name one with output=, a key, an index or a"
            " function"
        )
    tensor: Tensor = value
    return tensor


def _plain(output: Any) -> Any:
    """Mappings that torch does not know as such, as dicts: the outputs of some libraries."""
    return dict(output) if isinstance(output, Mapping) else output


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 0

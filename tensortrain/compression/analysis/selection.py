"""Select the tensor of a network's output that is compared."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tensortrain.errors import TensorTrainError

Selector: TypeAlias = str | int | Callable[[Any], Tensor] | None


def select(output: Any, selector: Selector) -> Tensor:
    """Return the tensor to compare from the output of a network.

    Args:
        output: a tensor, or a structure of tensors, such as a tuple, a list or a dict.
        selector: a key, an attribute, an index or a function of the output. None selects the first floating tensor.

    Raises:
        TensorTrainError: there is no such floating tensor, or the function raises an error.

    >>> import torch
    >>> select({"loss": 0.5, "logits": torch.zeros(2, 3)}, None).shape
    torch.Size([2, 3])
    """
    if selector is None:
        value: Any = next((x for x in pytree.tree_leaves(_plain(output)) if _is_floating(x)), None)
    elif callable(selector):
        try:
            value = selector(output)
        except Exception as error:  # whatever the user's function raises
            raise TensorTrainError(
                f"the function output= raised {type(error).__name__}: {error}; it gets the output of the model, a"
                f" {type(output).__name__}, and must return a floating tensor"
            ) from error
    elif isinstance(output, Tensor):
        value = None
    else:
        try:
            value = output[selector]
        except Exception:  # each type of output refuses an unknown key in its own way
            value = getattr(output, str(selector), None)
    if not _is_floating(value):
        what = "has no floating tensor" if selector is None else f"has no floating tensor {selector!r}"
        raise TensorTrainError(
            f"the output of the model, a {type(output).__name__}, {what}; select one with output=: a key, an index or a"
            " function"
        )
    tensor: Tensor = value
    return tensor


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Return `a - b`, which is 0 where both are the same infinity, as masked logits are.

    >>> difference(torch.tensor([3.0, -torch.inf]), torch.tensor([1.0, -torch.inf]))
    tensor([2., 0.])
    """
    return torch.where(a == b, 0.0, a - b)


def _plain(output: Any) -> Any:
    """Convert mappings that torch does not recognise, such as the outputs of some libraries, to dicts."""
    return dict(output) if isinstance(output, Mapping) else output


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 0

"""Compare what two networks return for the same inputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tensortrain.compression.calibration import Calibration
from tensortrain.errors import TensorTrainError

Selector: TypeAlias = str | int | Callable[[Any], Tensor] | None


@dataclass(frozen=True)
class Difference:
    """How far the outputs of a network are from those of the original.

    Attributes:
        error: relative, `‖y − ŷ‖ / ‖y‖` over all outputs.
        kl: mean Kullback–Leibler divergence of the class probabilities in nats; None if the outputs are no logits.
        agreement: part of the samples with the same largest logit; likewise.
    """

    error: float
    kl: float | None
    agreement: float | None

    @property
    def loss(self) -> float:
        """What a change must lower to be kept: the divergence, or the error of outputs that are no logits."""
        return self.error if self.kl is None else self.kl


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


def reference_outputs(model: nn.Module, calibration: Calibration, selector: Selector) -> list[Tensor]:
    """The selected outputs for all batches, in portions."""
    return [select(calibration.run(model, batch), selector) for batch in calibration.chunks()]


def compare(
    reference: list[Tensor], model: nn.Module, calibration: Calibration, selector: Selector, logits: bool | None = None
) -> Difference:
    """Compare a network with the outputs of the original.

    Args:
        reference: what `reference_outputs` returned for the original.
        model: the network.
        calibration: the same inputs.
        selector: the same selector.
        logits: whether outputs are logits, classes on the last axis; None: if they are `(samples, classes)`, with two
            classes or more.
    """
    squares = total = divergence = agreeing = 0.0
    count = 0
    has_logits = reference[0].dim() == 2 and reference[0].shape[-1] > 1 if logits is None else logits
    for expected, output in zip(reference, reference_outputs(model, calibration, selector), strict=True):
        if expected.shape != output.shape:
            return Difference(float("nan"), None, None)
        y, z = expected.double(), output.double()
        squares += float((y - z).square().sum())
        total += float(y.square().sum())
        if has_logits:
            a, b = y.log_softmax(-1), z.log_softmax(-1)
            divergence += float((a.exp() * (a - b)).sum())
            agreeing += float((y.argmax(-1) == z.argmax(-1)).sum())
            count += y.numel() // y.shape[-1]
    error = (squares / total) ** 0.5 if total else squares**0.5
    if not has_logits:
        return Difference(error, None, None)
    return Difference(error, divergence / count, agreeing / count)

"""Compare the outputs of two networks for the same inputs."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tensortrain.compression.analysis.calibration import Calibration
from tensortrain.compression.analysis.selection import Selector, difference, select
from tensortrain.errors import TensorTrainError
from tensortrain.linalg import frobenius_norm


@dataclass(frozen=True)
class Difference:
    """How far the outputs of a network are from those of the original.

    Attributes:
        error: relative error, `‖y − ŷ‖ / ‖y‖` over all outputs.
        kl: mean Kullback–Leibler divergence of the class probabilities in nats; None if the outputs are not logits.
        agreement: share of the samples with the same largest logit; None if the outputs are not logits.
    """

    error: float
    kl: float | None
    agreement: float | None

    @property
    def loss(self) -> float:
        """The divergence, or the error if the outputs are not logits. A change of the network must lower it."""
        return self.error if self.kl is None else self.kl


def reference_outputs(model: nn.Module, calibration: Calibration, selector: Selector) -> list[Tensor]:
    """Return the selected outputs of a network, one tensor for each chunk of the inputs.

    Raises:
        TensorTrainError: outputs are NaN or +∞.
    """
    outputs = [select(calibration.run(model, batch), selector) for batch in calibration.chunks()]
    for output in outputs:
        if bool(output.isnan().any()) or bool((output == math.inf).any()):
            raise TensorTrainError(
                "the outputs of the model are NaN or infinite for these inputs; only -inf is legal, for masked logits"
            )
    return outputs


def compare(
    reference: list[Tensor], model: nn.Module, calibration: Calibration, selector: Selector, logits: bool | None = None
) -> Difference | None:
    """Compare the outputs of a network with those of the original.

    Args:
        reference: the result of `reference_outputs` for the original network.
        model: the network.
        calibration: the same inputs.
        selector: the same selector.
        logits: whether outputs are logits, with classes on the last axis. If None, outputs of shape
            `(samples, classes)` with at least two classes are logits.

    Returns:
        The difference; None if the outputs differ in shape, as lists of detections may.
    """
    distance = total = divergence = agreeing = 0.0
    count = 0
    has_logits = reference[0].dim() == 2 and reference[0].shape[-1] > 1 if logits is None else logits
    for expected, output in zip(reference, reference_outputs(model, calibration, selector), strict=True):
        if expected.shape != output.shape:
            return None
        y, z = expected.double(), output.double()
        distance = math.hypot(distance, frobenius_norm(difference(y, z)))
        total = math.hypot(total, frobenius_norm(torch.where(y.isinf(), 0.0, y)))
        if has_logits:
            a, b = y.log_softmax(-1), z.log_softmax(-1)
            divergence += float(torch.where(a.isinf(), 0.0, a.exp() * (a - b)).sum())
            agreeing += float((y.argmax(-1) == z.argmax(-1)).sum())
            count += y.numel() // y.shape[-1]
    error = distance / total if total else distance
    if not has_logits:
        return Difference(error, None, None)
    return Difference(error, divergence / count, agreeing / count)

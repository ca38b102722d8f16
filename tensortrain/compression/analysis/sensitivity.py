"""Measure how strongly the error of each layer changes the outputs of a network that calls its layers repeatedly.

If a network is called step by step, the error of a layer returns to it through the state, for some layers many times
more strongly than for others. In a trained ConvLSTM, equal relative errors of two layers changed the predicted frames
by squared errors that differed by a factor of 25. So one form of each layer is tried alone, in a free-running pass. Its
effect on the outputs is the weight of the squared errors of all forms of that layer. In networks that call each layer
once, relative errors are as good a guide, and need no further passes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tensortrain.compression.analysis.calibration import Calibration
from tensortrain.compression.analysis.costs import parameters
from tensortrain.compression.analysis.selection import Selector, select
from tensortrain.compression.analysis.statistics import Call, watched
from tensortrain.compression.layers.candidates import Curve, approximate
from tensortrain.compression.layers.modules import factorised
from tensortrain.compression.layers.unfolding import PatchMap

PART = 0.5  # largest share of its parameters that a layer keeps in the form that is tried
LEAST = 1e-3  # smallest weight, relative to the mean weight


@dataclass(frozen=True)
class Probe:
    """One form of a layer, which is tried alone.

    Attributes:
        layer: the layer in this form.
        error: its squared relative error.
    """

    layer: nn.Module
    error: float


def probe(own: PatchMap, curve: Curve, outputs: Tensor, inputs: Tensor | None) -> Probe | None:
    """Return the best form with at most half of the parameters; None if there is no such form, or if it has no error.

    Args:
        own: the layer.
        curve: errors of its forms.
        outputs: second moment of its outputs, from which the errors were computed.
        inputs: second moment of its inputs.
    """
    prices = parameters(own, own.layer)
    errors = curve.errors.masked_fill(prices.of(curve.ranks, own) > PART * prices.present, float("inf"))
    index = int(errors.argmin())
    if not 0 < float(errors[index]) < float("inf"):
        return None
    outer, inner = curve.ranks[index].tolist()
    factors = approximate(own.matrix(), outputs, inputs, own.taps, (outer, inner))
    return Probe(factorised(own, factors), float(errors[index]))


def weigh(
    model: nn.Module, probes: Mapping[str, Probe | None], calibration: Calibration, selector: Selector
) -> dict[str, float]:
    """Measure the effect of each layer's squared relative error on the squared error of the outputs.

    Args:
        model: the dense network, in evaluation mode.
        probes: the form of each layer that is tried alone; a layer without one has the weight 1.
        calibration: the inputs, of which a few are used.
        selector: selects the output to compare.

    Returns:
        The weights, relative to their mean, by the name of the layer; empty if they could not be measured.
    """
    batch = calibration.small_batch()
    expected = select(calibration.run(model, batch), selector).double()
    changes: dict[str, float] = {}
    for name, form in probes.items():
        if form is None:
            continue
        layer: Any = form.layer

        def handler(name: str, call: Call, layer: nn.Module = layer) -> Tensor:
            return call.with_layer(layer)

        with watched(model, [name], handler):
            outputs = select(calibration.run(model, batch), selector).double()
        if outputs.shape != expected.shape or not bool(torch.isfinite(outputs).all()):
            return {}
        changes[name] = float((outputs - expected).square().sum()) / form.error
    mean = sum(changes.values()) / max(1, len(changes))
    if not mean:
        return {}
    return {name: max(change / mean, LEAST) for name, change in changes.items()}

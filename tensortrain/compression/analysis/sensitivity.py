"""How much the error of a layer changes the outputs of the network, where layers are called again.

Where a network is called step by step, what a layer gets wrong comes back to it through the state, for one layer many
times as strongly as for another: in a trained ConvLSTM equal relative errors of two layers changed the predicted frames
by squared errors that differed by a factor of 25. So one form of each layer is tried alone, in a free-running pass, and
the squared errors of all its forms are weighed by what that did to the outputs. In networks that call each layer once
relative errors are as good a guide, without the passes.
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

PART = 0.5  # of its parameters, that the form of a layer which is tried may keep
LEAST = 1e-3  # of the mean weight, below which no weight falls


@dataclass(frozen=True)
class Probe:
    """One form of a layer.

    Attributes:
        layer: the layer in this form.
        error: its squared relative error.
    """

    layer: nn.Module
    error: float


def probe(own: PatchMap, curve: Curve, outputs: Tensor, inputs: Tensor | None) -> Probe | None:
    """The best form with at most half of the parameters; None if there is none, or one without error.

    Args:
        own: the layer.
        curve: errors of its forms.
        outputs: moment of its outputs, which the errors refer to.
        inputs: moment of its inputs.
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
    """For each layer what its squared relative error does to that of the network's outputs, relative to the mean.

    Args:
        model: the dense network, in evaluation mode.
        probes: the replacement of each layer, tried alone; a layer without one has the weight 1.
        calibration: the inputs; a few of them are used.
        selector: selects the output to compare.
    """
    batch = calibration.small_batch()
    expected = select(calibration.run(model, batch), selector).double()
    changes: dict[str, float] = {}
    for name, tried in probes.items():
        if tried is None:
            continue
        layer: Any = tried.layer

        def handler(name: str, call: Call, layer: nn.Module = layer) -> Tensor:
            return call.with_layer(layer)

        with watched(model, [name], handler):
            outputs = select(calibration.run(model, batch), selector).double()
        if outputs.shape != expected.shape or not bool(torch.isfinite(outputs).all()):
            return {}
        changes[name] = float((outputs - expected).square().sum()) / tried.error
    mean = sum(changes.values()) / max(1, len(changes))
    if not mean:
        return {}
    return {name: max(change / mean, LEAST) for name, change in changes.items()}

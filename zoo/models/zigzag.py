"""PredRNN, PredRNN++ and models between them: one network with three kinds of cells, with or without a highway."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from zoo.networks import Slot
from zoo.papers import PREDRNN, PREDRNN_PP, Paper
from zoo.registry import PresetOptions, register

if TYPE_CHECKING:
    from zoo.networks.zigzag import Zigzag


def make_zigzag(
    cell: Literal["st-lstm", "causal-lstm", "spatial-to-temporal"],
    highway: Slot | None = None,
    hidden: Sequence[int] = (128, 64, 64, 64),
    kernel: int = 5,
    form: Literal["paper", "released"] = "paper",
    overrides: dict[str, Any] | None = None,
    channels: int = 1,
    patch: int = 4,
    sigmoid: bool = False,
) -> "Zigzag":
    """A network of layers with two memories. Its default channels are those of all models in the PredRNN++ paper.

    The second memory passes through all layers within a step, then from the top layer to the lowest of the next one.
    The forms "paper" and "released" differ in the kernel of one convolution, in what two gates read, and in biases,
    layer norms and first weights; `zoo.cells.Form` lists the differences.

    Args:
        cell: the kind of the layers.
        highway: the place of the gradient highway: "bottom" as in the final PredRNN++ model, "middle" or "top" (Table
            2), or a number k for between layers k and k + 1. It has as many channels as the layer below it.
        hidden: channels of each layer, for any number of layers; a highway needs at least two.
        kernel: side k of the square kernels.
        form: "paper" for the equations of the paper, or "released" for what its authors' code computes.
        overrides: options of `zoo.cells.Form` that are replaced in that form, such as `{"layer_norm": True}`.
        channels: number of channels C of the frames.
        patch: side of the blocks of pixels that become channels.
        sigmoid: apply a sigmoid to the predictions, so that they lie in (0, 1).
    """
    from zoo.cells import CausalLSTMCell, SpatialToTemporalCell, STLSTMCell, find_form
    from zoo.networks.zigzag import Zigzag

    cells = {"st-lstm": STLSTMCell, "causal-lstm": CausalLSTMCell, "spatial-to-temporal": SpatialToTemporalCell}
    base = {"forget_bias": 1.0} if cell == "st-lstm" else {}  # as in ST-LSTM's own equations
    settings = find_form(form, overrides, base)
    return Zigzag(cells[cell], hidden, kernel, settings, channels, patch, sigmoid, highway)


class _Variant(NamedTuple):
    """A model of the family: its summary, paper, size and cell, and the place of its highway if it has one."""

    summary: str
    paper: Paper
    parameters: int
    cell: str
    highway: Slot | None = None


_VARIANTS = {
    "predrnn": _Variant("PredRNN: a stack of ST-LSTMs.", PREDRNN, 9_446_608, "st-lstm"),
    "predrnn-ghu": _Variant("PredRNN with a gradient highway.", PREDRNN_PP, 11_085_008, "st-lstm", "bottom"),
    "causal-lstm": _Variant(
        "Causal LSTM network: PredRNN++ without its gradient highway.",
        PREDRNN_PP,
        13_036_560,
        "causal-lstm",
    ),
    "causal-lstm-s2t": _Variant(
        "Causal LSTM network that updates the spatial memory before the temporal one.",
        PREDRNN_PP,
        13_057_040,
        "spatial-to-temporal",
    ),
    "predrnn-pp": _Variant(
        "PredRNN++: causal LSTMs with a gradient highway above the lowest layer.",
        PREDRNN_PP,
        14_674_960,
        "causal-lstm",
        "bottom",
    ),
}
# these layers, with two memories and seven gates, have more parameters for each channel than those of
# `zoo.models.stack`; with fewer channels, both networks have about a million
_BRIEF = {"hidden": [40] * 4, "kernel": 3, "patch": 4}
_SMALL = {"hidden": [40] * 4, "kernel": 3, "patch": 4}
_DEMO = {"hidden": [32, 32], "kernel": 3, "patch": 4}
_SIGMOID = {"sigmoid": True}  # not mentioned in the papers, but Conv-TT-LSTM has a sigmoid for KTH

for _name, _variant in _VARIANTS.items():
    _highway = {"highway": _variant.highway}
    register(
        _name,
        _variant.paper,
        PREDRNN_PP,  # this paper also says how it trains PredRNN; PredRNN's own settings were not available
        presets=PresetOptions(_SMALL, _BRIEF, _DEMO, _SIGMOID),
        summary=_variant.summary,
        parameters=_variant.parameters,
        fixed={"cell": _variant.cell} | ({} if _variant.highway else _highway),
        defaults=_highway if _variant.highway else {},
        training_only=("overrides.uniform",),
    )(make_zigzag)

"""The models of the Conv-TT-LSTM paper: one network, with ConvLSTM or Conv-TT-LSTM cells."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from zoo.papers import CONV_TT_LSTM
from zoo.registry import PresetOptions, register

if TYPE_CHECKING:
    from zoo.networks.stack import RecurrentStack


def make_stack(
    cell: Literal["conv-lstm", "conv-tt-lstm"],
    window: Literal["sliding", "fixed"] = "sliding",
    order: int = 3,
    steps: int = 3,
    rank: int = 8,
    hidden: Sequence[int] = (32, 48, 48, 32),
    layers: Sequence[int] = (3, 3, 3, 3),
    kernel: int = 5,
    channels: int = 1,
    patch: int = 1,
    sigmoid: bool = False,
) -> "RecurrentStack":
    """A stack of ConvLSTMs or Conv-TT-LSTMs, as published: 12 layers with two skip connections.

    `layers=(1, 1, 1, 1)` is our reading of the paper's ablation with 4 layers, of which it gives the number alone: with
    the channels and the skip connections of the blocks. With a fixed window the cells see all `steps` past states; in
    the authors' code the reported model (order 1, steps 3, rank 8) saw the last one only, as its ring of past states
    turns on the order.

    Args:
        cell: kind of the layers.
        window: which hidden states a core sees, see `zoo.cells.ConvTTLSTMCell`.
        order: m, cores in each layer's train.
        steps: n ≥ order, past hidden states that a layer sees.
        rank: R of the train.
        hidden: channels of each block.
        layers: layers of each block.
        kernel: k of every convolution, 5 or 3 in the paper.
        channels: C of the frames.
        patch: side of the pixel blocks that become channels; 1 in the paper.
        sigmoid: apply a sigmoid to the predictions; on for KTH in the paper.
    """
    from zoo.cells import ConvLSTMCell, ConvTTLSTMCell
    from zoo.networks.stack import RecurrentStack

    def make_cell(inputs: int, outputs: int) -> ConvLSTMCell | ConvTTLSTMCell:
        if cell == "conv-lstm":
            return ConvLSTMCell(inputs, outputs, kernel)
        return ConvTTLSTMCell(inputs, outputs, kernel, order, steps, rank, window)

    return RecurrentStack(make_cell, hidden, layers, channels, patch, sigmoid)


_BRIEF = {"hidden": [64] * 4, "layers": [1] * 4, "kernel": 3, "patch": 4}
_SMALL = {"hidden": [64] * 4, "layers": [1] * 4, "kernel": 3, "patch": 4}
_DEMO = {"hidden": [32, 32], "layers": [1, 1], "kernel": 3, "patch": 4}
_RANK = {"rank": 16}  # a quarter of the channels, as the paper's 8 of 32
_SIGMOID = {"sigmoid": True}

# name, summary, parameters, fixed arguments, other defaults, options of the presets "small" and "brief"
_VARIANTS: list[tuple[str, str, int, dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (
        "conv-lstm",
        "ConvLSTM network, the paper's baseline: 12 layers with two skip connections.",
        3_973_201,
        {"cell": "conv-lstm", "window": "sliding", "order": 1, "steps": 1, "rank": 1},
        {},
        _SMALL,
        _BRIEF,
    ),
    (
        "conv-tt-lstm-sw",
        "Conv-TT-LSTM with a sliding window: the paper's model.",
        2_687_281,
        {"cell": "conv-tt-lstm", "window": "sliding"},
        {},
        _SMALL | _RANK,
        _BRIEF | _RANK,
    ),
    (
        "conv-tt-lstm-fw",
        "Conv-TT-LSTM with a fixed window: every core sees all steps.",
        2_648_497,
        {"cell": "conv-tt-lstm", "window": "fixed"},
        {"order": 1},
        _SMALL | _RANK,
        _BRIEF | _RANK,
    ),
]

for _name, _summary, _parameters, _fixed, _defaults, _small, _brief in _VARIANTS:
    register(
        _name,
        CONV_TT_LSTM,
        presets=PresetOptions(_small, _brief, _DEMO, _SIGMOID),
        summary=_summary,
        parameters=_parameters,
        fixed=_fixed,
        defaults=_defaults,
    )(make_stack)

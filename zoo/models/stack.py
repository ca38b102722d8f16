"""The models of the Conv-TT-LSTM paper: one network with either ConvLSTM or Conv-TT-LSTM cells."""

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
    """A stack of ConvLSTM or Conv-TT-LSTM layers, as published: 12 layers with two skip connections.

    The paper's ablation with 4 layers does not say more than their number. We read it as `layers=(1, 1, 1, 1)`, with
    the channels and skip connections of the blocks. With a fixed window, the cells read all `steps` past states. In the
    authors' code, the reported model (order 1, steps 3, rank 8) read only the last one, because its ring buffer of past
    states wraps at the order instead of at the number of steps.

    Args:
        cell: the kind of the layers.
        window: which hidden states each core reads; see `zoo.cells.ConvTTLSTMCell`.
        order: m, the number of cores in each layer's train.
        steps: n ≥ order, the number of past hidden states that a layer reads.
        rank: R, the rank of the train.
        hidden: number of channels of each block.
        layers: number of layers of each block.
        kernel: side k of all kernels; 5 or 3 in the paper.
        channels: number of channels C of the frames.
        patch: side of the blocks of pixels that become channels; 1 in the paper.
        sigmoid: apply a sigmoid to the predictions, as the paper does for KTH.
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
_RANK = {"rank": 16}  # a quarter of the channels, like the paper's 8 of 32
_SIGMOID = {"sigmoid": True}

# name, summary, parameters, fixed arguments, other defaults, options of the presets "small" and "brief"
_VARIANTS: list[tuple[str, str, int, dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    (
        "conv-lstm",
        "ConvLSTM network, the baseline of the Conv-TT-LSTM paper: 12 layers with two skip connections.",
        3_973_201,
        {"cell": "conv-lstm", "window": "sliding", "order": 1, "steps": 1, "rank": 1},
        {},
        _SMALL,
        _BRIEF,
    ),
    (
        "conv-tt-lstm-sw",
        "Conv-TT-LSTM with a sliding window, the model of the Conv-TT-LSTM paper.",
        2_687_281,
        {"cell": "conv-tt-lstm", "window": "sliding"},
        {},
        _SMALL | _RANK,
        _BRIEF | _RANK,
    ),
    (
        "conv-tt-lstm-fw",
        "Conv-TT-LSTM with a fixed window: every core reads all past states.",
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

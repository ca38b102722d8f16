"""Causal LSTM networks without a gradient highway, of both orders of the memories."""

from collections.abc import Sequence
from typing import Any, Literal

from zoo.cells import CausalLSTMCell, SpatialToTemporalCell, find_form
from zoo.networks.zigzag import Zigzag
from zoo.registry import register

PAPER = "PredRNN++ (Wang et al., 2018), Table 1"


@register("causal-lstm", PAPER, setting="predrnn-pp")
def causal_lstm(
    hidden: Sequence[int] = (128, 64, 64, 64),
    kernel: int = 5,
    form: Literal["paper", "released"] = "paper",
    overrides: dict[str, Any] | None = None,
    channels: int = 1,
    patch: int = 4,
    sigmoid: bool = False,
) -> Zigzag:
    """Causal LSTM network: PredRNN++ without its highway.

    Args:
        hidden: channels of each layer, any number of them.
        kernel: k of the square kernels.
        form: "paper" or "released": the equations, or what the authors' code makes of them.
        overrides: options of `zoo.cells.Form` to replace in that form, such as `{"layer_norm": True}`.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels.
        sigmoid: squash the predictions into (0, 1).
    """
    return Zigzag(CausalLSTMCell, hidden, kernel, find_form(form, overrides), channels, patch, sigmoid)


@register("causal-lstm-s2t", PAPER, setting="predrnn-pp")
def causal_lstm_s2t(
    hidden: Sequence[int] = (128, 64, 64, 64),
    kernel: int = 5,
    form: Literal["paper", "released"] = "paper",
    overrides: dict[str, Any] | None = None,
    channels: int = 1,
    patch: int = 4,
    sigmoid: bool = False,
) -> Zigzag:
    """Causal LSTM network, spatial-to-temporal: the spatial memory first.

    Options as for `causal-lstm`.
    """
    return Zigzag(SpatialToTemporalCell, hidden, kernel, find_form(form, overrides), channels, patch, sigmoid)

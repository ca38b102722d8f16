"""PredRNN, alone and with a gradient highway."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from zoo.cells import PREDRNN, Form, STLSTMCell, find_form
from zoo.networks.zigzag import Slot, Zigzag
from zoo.registry import register


@register("predrnn", paper="PredRNN (Wang et al., 2017)", setting="predrnn-pp")
def predrnn(
    hidden: Sequence[int] = (128, 64, 64, 64),
    kernel: int = 5,
    form: Literal["paper", "released"] = "paper",
    overrides: dict[str, Any] | None = None,
    channels: int = 1,
    patch: int = 4,
    sigmoid: bool = False,
) -> Zigzag:
    """PredRNN: a stack of ST-LSTMs.

    Its layers are as wide as those of the PredRNN++ paper, so that the family compares; the size in PredRNN's own
    paper was not at hand.

    Args:
        hidden: channels of each layer, any number of them.
        kernel: k of the square kernels.
        form: "paper" or "released": the equations, or what the authors' code makes of them.
        overrides: options of `zoo.cells.Form` to replace in that form, such as `{"layer_norm": True}`.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels.
        sigmoid: squash the predictions into (0, 1).
    """
    return Zigzag(STLSTMCell, hidden, kernel, _form(form, overrides), channels, patch, sigmoid)


@register("predrnn-ghu", paper="PredRNN++ (Wang et al., 2018), Table 1", setting="predrnn-pp")
def predrnn_ghu(
    highway: Slot = "bottom",
    hidden: Sequence[int] = (128, 64, 64, 64),
    kernel: int = 5,
    form: Literal["paper", "released"] = "paper",
    overrides: dict[str, Any] | None = None,
    channels: int = 1,
    patch: int = 4,
    sigmoid: bool = False,
) -> Zigzag:
    """PredRNN with a gradient highway.

    Args:
        highway: where: "bottom", "middle", "top", or k for between layers k and k + 1.
        hidden: as for `predrnn`, like the other options.
        kernel: k of the square kernels.
        form: "paper" or "released".
        overrides: options of `zoo.cells.Form` to replace in that form.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels.
        sigmoid: squash the predictions into (0, 1).
    """
    return Zigzag(STLSTMCell, hidden, kernel, _form(form, overrides), channels, patch, sigmoid, highway)


def _form(name: str, overrides: dict[str, Any] | None) -> Form:
    """The form of that name with ST-LSTM's forget bias, unless an override says otherwise."""
    form = find_form(name, overrides)
    return form if "forget_bias" in (overrides or {}) else replace(form, forget_bias=PREDRNN.forget_bias)

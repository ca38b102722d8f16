"""PredRNN++: causal LSTMs and a gradient highway."""

from collections.abc import Sequence
from typing import Any, Literal

from zoo.cells import CausalLSTMCell, find_form
from zoo.networks.zigzag import Slot, Zigzag
from zoo.registry import register


@register("predrnn-pp", paper="PredRNN++ (Wang et al., 2018)", setting="predrnn-pp")
def predrnn_pp(
    highway: Slot = "bottom",
    hidden: Sequence[int] = (128, 64, 64, 64),
    kernel: int = 5,
    form: Literal["paper", "released"] = "paper",
    overrides: dict[str, Any] | None = None,
    channels: int = 1,
    patch: int = 4,
    sigmoid: bool = False,
) -> Zigzag:
    """PredRNN++: causal LSTMs with a gradient highway above the lowest one.

    The form "released" has the authors' 15,390,160 parameters, 15,375,056 without layer norm.

    Args:
        highway: where: "bottom" as in the final model, "middle", "top" (Table 2), or k for between layers k and k + 1.
        hidden: channels of each layer, any number of at least two; the highway is as wide as the layer below it.
        kernel: k of the square kernels.
        form: "paper" or "released": equations (1)–(2), or what the authors' code makes of them.
        overrides: options of `zoo.cells.Form` to replace in that form, such as `{"layer_norm": True}`.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels.
        sigmoid: squash the predictions into (0, 1).
    """
    return Zigzag(CausalLSTMCell, hidden, kernel, find_form(form, overrides), channels, patch, sigmoid, highway)

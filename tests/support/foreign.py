"""Small checkpoints in the names, shapes and gate orders of other code bases, from the reference weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Weights = dict[str, Tensor]
TF_NAMES = {
    "conv_x": ("input_to_state", "i f g I F G o", "i g f o I G F"),
    "conv_h": ("temporal_state_transition", "i f g o", "i g f o"),
    "conv_c": ("temporal_memory_transition", "i f g", "i g f"),
    "conv_m": ("spatial_memory_transition", "i f m", "i f m"),
    "conv_c2m": ("c2m", "i g f o", "i g f o"),
    "conv_om": ("m_to_o", "o", "o"),
    "conv_last": ("memory_reduce", "h", "h"),
}


def conv_tt_lstm_names(weights: Mapping[str, Tensor], meta: Mapping[str, Any], flat: bool = False) -> Weights:
    """A reference network as the Conv-TT-LSTM code names it; `flat` as its optimised code shapes it."""
    places = [f"b{b}l{at}" for b, depth in enumerate(meta["layers_per_block"]) for at in range(depth)]
    named = {}
    for name, weight in weights.items():
        head, _, rest = name.partition(".")
        if head == "layer":
            at, _, inner = rest.partition(".")
            inner = inner.replace("window.", "layers_.").replace("core.", "layers.")
            name = f"layers.{places[int(at)]}.{inner}"
        else:
            name = f"layers.{name}"
        if flat and weight.dim() == 5:  # states joined along the channels, the oldest first
            weight = weight.permute(0, 4, 1, 2, 3).flatten(1, 2)
        named[name] = weight.contiguous()
    return named


def tensorflow_names(weights: Mapping[str, Tensor], scope: str = "predrnn_pp/") -> Weights:
    """The reference PredRNN++ as its authors' TensorFlow code names it, with biases of zero."""
    named = {}
    for name, weight in weights.items():
        if name.endswith("conv_o.0.weight"):  # dead, and not there
            continue
        head, *parts = name.split(".")
        if head == "cell_list":
            there, theirs, ours = TF_NAMES[parts[1]]
            place = f"lstm_{int(parts[0]) + 1}/{there}"
            gates = dict(zip(theirs.split(), weight.chunk(len(theirs.split())), strict=True))
            weight = torch.cat([gates[gate] for gate in ours.split()])
        elif head == "gradient_highway":
            place = f"highway/{'input' if parts[0] == 'x_concat' else 'state'}_to_state"
        else:
            place = "back_to_pixel"
        named[f"{scope}{place}/kernel"] = weight.permute(2, 3, 1, 0).contiguous()
        named[f"{scope}{place}/bias"] = torch.zeros(len(weight), dtype=weight.dtype)
    return named

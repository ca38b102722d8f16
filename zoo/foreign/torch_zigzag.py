"""PredRNN and PredRNN++ by the names of OpenSTL and of predrnn-pytorch, which are the same.

The order of gates in the output channels is: i f g i' f' g' o in `conv_x`, i f g o in `conv_h`, i f g in `conv_c`, i f
g in `conv_m` of PredRNN, i f and W3's map in `conv_m` of PredRNN++, and i g f o in `conv_c2m`. This package has i f g o
in place of the last, and the same order elsewhere.
"""

from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.foreign.ledger import Foreign, Ledger, Weights, check_odd, reorder, unfolded


def read_predrnn(ledger: Ledger, channels: int) -> Foreign:
    """Read PredRNN, or PredRNN-v2, which predicts in the same way and differs in its loss."""
    parts = {"from_h": ("conv_h", 1, 4), "from_m": ("conv_m", 1, 3), "from_memories": ("conv_o", 2, 1)}
    weights, options = _layers(ledger, channels, parts)
    for place in range(len(options["hidden"])):  # ST-LSTM's input convolution always has a bias here
        like = weights[f"layers.{place}.from_x.conv.weight"]
        weights.setdefault(f"layers.{place}.from_x.conv.bias", like.new_zeros(len(like)))
    ledger.leave(["adapter.weight"], "only the loss of PredRNN-v2 reads it")
    ledger.finish()
    return Foreign("predrnn", options | {"form": "paper"}, weights, ledger.remarks)


def read_predrnn_pp(ledger: Ledger, channels: int) -> Foreign:
    """Read PredRNN++, whose code corresponds to the form "released"."""
    parts = {
        "from_h": ("conv_h", 1, 4),
        "from_first": ("conv_c", 1, 3),
        "from_second": ("conv_m", 1, 3),
        "from_new_first": ("conv_c2m", 1, 4),
        "from_new_second": ("conv_om", 1, 1),
    }
    weights, options = _layers(ledger, channels, parts)
    count, kernel = options["hidden"][0], options["kernel"]
    for place in range(len(options["hidden"])):
        there, here = f"cell_list.{place}.conv_o", f"layers.{place}.from_new_first"
        ledger.leave([f"{there}.0.weight", f"{there}.1.weight", f"{there}.1.bias"], "its own code never reads it")
        for name in [name for name in weights if name.startswith(here)]:
            weights[name] = reorder(weights[name], "igfo", "ifgo")
    for source in "xz":
        weights |= _conv(
            ledger, f"gradient_highway.{source}_concat", f"highway.from_{source}", count, 2 * count, kernel
        )
    ledger.finish()
    return Foreign("predrnn-pp", options | {"form": "released", "highway": "bottom"}, weights, ledger.remarks)


def _layers(ledger: Ledger, channels: int, parts: dict[str, tuple[str, int, int]]) -> tuple[Weights, dict[str, Any]]:
    """Read the layers and the output convolution, and derive the options from their shapes.

    Args:
        ledger: the account of the file.
        channels: C of the frames.
        parts: for each of our convolutions over states: the name of theirs, and its numbers of inputs and outputs in
            multiples of C.
    """
    pixels = ledger.look("conv_last.weight", 4).shape[0]
    patch, order = unfolded(pixels, channels, ledger.where)
    hidden, weights, below = list[int](), Weights(), pixels
    kernel = ledger.look("cell_list.0.conv_h.0.weight", 4).shape[2]
    check_odd(ledger, kernel)
    while f"cell_list.{len(hidden)}.conv_h.0.weight" in ledger:
        place = len(hidden)
        there, here = f"cell_list.{place}", f"layers.{place}"
        count = ledger.look(f"{there}.conv_h.0.weight", 4).shape[1]
        weights |= _conv(ledger, f"{there}.conv_x", f"{here}.from_x", below, 7 * count, kernel)
        for name, (theirs, inputs, outputs) in parts.items():
            weights |= _conv(ledger, f"{there}.{theirs}", f"{here}.{name}", inputs * count, outputs * count, kernel)
        weights[f"{here}.mix.weight"] = ledger.take(f"{there}.conv_last.weight", count, 2 * count, 1, 1)
        if f"{there}.conv_last.bias" in ledger:
            weights[f"{here}.mix.bias"] = ledger.take(f"{there}.conv_last.bias", count)
        hidden.append(count)
        below = count
    if len(set(hidden)) > 1:
        raise ZooError(f"{ledger.where} has layers of {hidden} channels, but those of a {ledger.kind} are equally wide")
    weights["output.weight"] = ledger.take("conv_last.weight", pixels, below, 1, 1)[order]
    weights["output.bias"] = weights["output.weight"].new_zeros(pixels)
    first = "layers.0.from_x.conv.weight"
    weights[first] = weights[first][:, order]
    overrides = {
        "bias": any(name.endswith("mix.bias") for name in weights),
        "layer_norm": any(".norm." in name for name in weights),
    }
    options = {"hidden": hidden, "kernel": kernel, "channels": channels, "patch": patch, "overrides": overrides}
    return weights, options


def _conv(ledger: Ledger, there: str, here: str, inputs: int, outputs: int, kernel: int) -> Weights:
    """A convolution, with its bias and layer norm if the file has them."""
    weights = {f"{here}.conv.weight": ledger.take(f"{there}.0.weight", outputs, inputs, kernel, kernel)}
    if f"{there}.0.bias" in ledger:
        weights[f"{here}.conv.bias"] = ledger.take(f"{there}.0.bias", outputs)
    if f"{there}.1.weight" in ledger:
        for kind in ("weight", "bias"):
            weights[f"{here}.norm.{kind}"] = _by_channel(ledger, f"{there}.1.{kind}", outputs)
    return weights


def _by_channel(ledger: Ledger, name: str, outputs: int) -> Tensor:
    """The gain or shift of a layer norm, `(outputs, H, W)` in the file and `(outputs,)` here.

    Raises:
        ZooError: if it differs between positions, which no model of this package supports.
    """
    whole = ledger.take(name, outputs, *ledger.look(name, 3).shape[1:])
    first = whole[:, 0, 0]
    if not torch.equal(whole, first[:, None, None].expand_as(whole)):
        raise ZooError(
            f"{ledger.where}: {name} differs from pixel to pixel, but the layer norms of this package have one value "
            "for each channel; so weights that were trained with --layer_norm 1 cannot be imported"
        )
    return first

"""ConvLSTM and Conv-TT-LSTM networks by the names of OpenSTL and of the Conv-TT-LSTM paper's code."""

import re
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.foreign.ledger import Foreign, Ledger, Weights, check_odd, reorder, unfolded


def read_conv_lstm(ledger: Ledger, channels: int) -> Foreign:
    """Read OpenSTL's ConvLSTM: layers without skip connections or biases, with gates i f g o.

    Raises:
        ZooError: if it has layer norms, or layers of three different widths, where our network has skip connections.
    """
    norms = [name for name in ("cell_list.0.conv_x.1.weight", "cell_list.0.conv_h.1.weight") if name in ledger]
    if norms:
        raise ZooError(f"{ledger.where} has layer norms ({norms[0]}), but no ConvLSTM of this package has")
    pixels = ledger.look("conv_last.weight", 4).shape[0]
    patch, order = unfolded(pixels, channels, ledger.where)
    kernel = ledger.look("cell_list.0.conv_h.0.weight", 4).shape[2]
    check_odd(ledger, kernel)
    widths, maps, below = list[int](), list[Weights](), pixels
    while f"cell_list.{len(widths)}.conv_h.0.weight" in ledger:
        there = f"cell_list.{len(widths)}"
        count = ledger.look(f"{there}.conv_h.0.weight", 4).shape[1]
        from_x = ledger.take(f"{there}.conv_x.0.weight", 4 * count, below, kernel, kernel)
        from_h = ledger.take(f"{there}.conv_h.0.weight", 4 * count, count, kernel, kernel)
        maps.append(
            {"from_x.weight": reorder(from_x, "ifgo", "ifog"), "from_h.weight": reorder(from_h, "ifgo", "ifog")}
        )
        maps[-1]["from_x.bias"] = from_x.new_zeros(4 * count)
        ledger.leave([f"{there}.conv_o.0.weight", f"{there}.conv_last.weight"], "its own code never reads it")
        widths.append(count)
        below = count
    blocks = [(width, len(list(group))) for width, group in groupby(widths)]
    if len(blocks) > 2:
        raise ZooError(
            f"{ledger.where} has layers of {widths} channels; from the third width on, this package's network has skip "
            "connections, which theirs does not have"
        )
    maps[0]["from_x.weight"] = maps[0]["from_x.weight"][:, order]
    places = [f"blocks.{b}.{layer}" for b, (_, depth) in enumerate(blocks) for layer in range(depth)]
    weights = {
        f"{place}.{name}": each for place, parts in zip(places, maps, strict=True) for name, each in parts.items()
    }
    weights["output.weight"] = ledger.take("conv_last.weight", pixels, below, 1, 1)[order]
    weights["output.bias"] = weights["output.weight"].new_zeros(pixels)
    ledger.finish()
    options: dict[str, Any] = {"kernel": kernel, "channels": channels, "patch": patch}
    options |= {"hidden": [width for width, _ in blocks], "layers": [depth for _, depth in blocks]}
    return Foreign("conv-lstm", options, weights, ledger.remarks)


def read_conv_tt_lstm(ledger: Ledger, sigmoid: bool) -> Foreign:
    """Read the networks of the Conv-TT-LSTM paper's code, with ConvLSTM or (sliding-window) Conv-TT-LSTM layers.

    The last of the m `layers` reads first the input and then the value of the train. They count windows and the other
    cores from the oldest states, and we from the gates. They order the states in a window from the oldest, and we from
    the newest. A window is a 3-D convolution or, in their optimised code, a 2-D one over joined channels.

    Args:
        ledger: the account of the file.
        sigmoid: whether the network applies a sigmoid to its predictions, which the file does not say.
    """
    blocks = _blocks(ledger)
    train = "layers.b0l0.layers.0.weight" in ledger
    channels = ledger.look("layers.output.weight", 4).shape[0]
    options: dict[str, Any] = {}
    hidden, weights, below = list[int](), Weights(), channels
    for b, depth in enumerate(blocks):
        for layer in range(depth):
            cell, options = (_conv_tt_lstm_layer if train else _conv_lstm_layer)(ledger, f"layers.b{b}l{layer}", below)
            weights |= {f"blocks.{b}.{layer}.{name}": each for name, each in cell.items()}
            below = len(cell["from_x.bias"]) // 4
        hidden.append(below)
        below += hidden[b - 2] if b >= 2 else 0
    weights["output.weight"] = ledger.take("layers.output.weight", channels, below, 1, 1)
    weights["output.bias"] = ledger.take("layers.output.bias", channels)
    ledger.finish()
    options |= {"hidden": hidden, "layers": blocks, "channels": channels, "sigmoid": sigmoid}
    return Foreign("conv-tt-lstm-sw" if train else "conv-lstm", options, weights, ledger.remarks)


def _blocks(ledger: Ledger) -> list[int]:
    """The number of layers of each block, from names such as `b0l0`."""
    pattern = re.compile(r"layers\.b(\d{1,3})l(\d{1,3})\.")
    places = {(int(match[1]), int(match[2])) for name in ledger.names if (match := pattern.match(name))}
    blocks = [sum(block == b for block, _ in places) for b in range(len({block for block, _ in places}))]
    if not blocks or places != {(b, layer) for b, depth in enumerate(blocks) for layer in range(depth)}:
        raise ZooError(f"{ledger.where} does not have all layers b0l0, b0l1, …, as a {ledger.kind} does")
    return blocks


def _conv_lstm_layer(ledger: Ledger, there: str, inputs: int) -> tuple[Weights, dict[str, Any]]:
    """A ConvLSTM layer: one convolution over input and h, with gates i f o g as in this package."""
    outputs, _, kernel, _ = ledger.look(f"{there}.conv.weight", 4).shape
    check_odd(ledger, kernel)
    joint = ledger.take(f"{there}.conv.weight", outputs, inputs + outputs // 4, kernel, kernel)
    bias = ledger.take(f"{there}.conv.bias", outputs)
    cell = {"from_x.weight": joint[:, :inputs], "from_h.weight": joint[:, inputs:], "from_x.bias": bias}
    return cell, {"kernel": kernel}


def _conv_tt_lstm_layer(ledger: Ledger, there: str, inputs: int) -> tuple[Weights, dict[str, Any]]:
    """A Conv-TT-LSTM layer with a sliding window."""
    order = 0
    while f"{there}.layers.{order}.weight" in ledger:
        order += 1
    outputs, joined, kernel, _ = ledger.look(f"{there}.layers.{order - 1}.weight", 4).shape
    check_odd(ledger, kernel)
    rank, count = joined - inputs, outputs // 4
    joint = ledger.take(f"{there}.layers.{order - 1}.weight", outputs, inputs + rank, kernel, kernel)
    cell = {
        "from_x.weight": joint[:, :inputs],
        "gate_core.weight": joint[:, inputs:],
        "from_x.bias": ledger.take(f"{there}.layers.{order - 1}.bias", outputs),
    }
    for q in range(order - 1):
        cell[f"cores.{order - 2 - q}.weight"] = ledger.take(f"{there}.layers.{q}.weight", rank, rank, kernel, kernel)
        cell[f"cores.{order - 2 - q}.bias"] = ledger.take(f"{there}.layers.{q}.bias", rank)
    newest_first = list(reversed(range(order)))
    windows = [_window(ledger, f"{there}.layers_.{q}.weight", rank, count, kernel) for q in newest_first]
    if len({len(window) for window in windows}) > 1:
        raise ZooError(
            f"{ledger.where}: the windows of {there} read different numbers of states, but those of a {ledger.kind} "
            "read the same number"
        )
    cell["windows.weight"] = torch.cat(windows)
    cell["window_biases"] = torch.stack([ledger.take(f"{there}.layers_.{q}.bias", rank) for q in newest_first])
    steps = len(windows[0]) // rank + order - 1
    return cell, {"kernel": kernel, "order": order, "steps": steps, "rank": rank}


def _window(ledger: Ledger, name: str, rank: int, count: int, kernel: int) -> Tensor:
    """The map from h to its share of a window, `(lags · R, C, k, k)`, with the newest state first."""
    shape = ledger.look(name, 4, 5).shape
    if len(shape) == 5:
        oldest_first = ledger.take(name, rank, count, kernel, kernel, shape[4]).permute(4, 0, 1, 2, 3)
    else:
        lags = max(1, shape[1] // count)
        joined = ledger.take(name, rank, lags * count, kernel, kernel)
        oldest_first = joined.unflatten(1, (lags, count)).transpose(0, 1)
    return oldest_first.flip(0).flatten(0, 1)

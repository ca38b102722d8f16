"""Outputs of independent implementations (`tests/reference/*.npz`) and their weights in our layout."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import zoo
from zoo.cells import Cell, ConvTTLSTMCell, STLSTMCell
from zoo.networks.stack import RecurrentStack
from zoo.networks.zigzag import Zigzag
from zoo.registry import find_model

FOLDER = Path(__file__).parents[1] / "reference"


def shipped_models(reads: str = "video") -> list[str]:
    """The models of the package that read these clips, without models that other tests register."""
    entries = [find_model(name) for name in zoo.list_models()]
    return [one.name for one in entries if one.reads == reads and one.make.__module__.startswith("zoo.models")]


def layered_models() -> list[str]:
    """Those of the two papers: layers of recurrent cells, with the options `hidden`, `kernel` and `patch`."""
    families = ("zoo.models.stack", "zoo.models.zigzag")
    return [name for name in shipped_models() if find_model(name).make.__module__ in families]


def read(name: str) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """Settings, weights and the other tensors of a reference."""
    with np.load(FOLDER / f"{name}.npz") as file:
        meta = json.loads(str(file["meta"]))
        tensors = {key: torch.as_tensor(file[key]) for key in file.files if key != "meta"}
    weights = {key.removeprefix("weight/"): value for key, value in tensors.items() if key.startswith("weight/")}
    return meta, weights, {key: value for key, value in tensors.items() if not key.startswith("weight/")}


def load_cell(cell: Cell, weights: dict[str, Tensor]) -> None:
    """Give a cell the reference's weights; core and window q are index m - q of eq. (6)."""
    if not isinstance(cell, ConvTTLSTMCell):
        joint = weights["conv.weight"]
        state = {
            "from_x.weight": joint[:, : cell.inputs],
            "from_h.weight": joint[:, cell.inputs :],
            "from_x.bias": weights["conv.bias"],
        }
    else:
        last = cell.order - 1
        joint = weights[f"core.{last}.weight"]
        newest_first = [weights[f"window.{q}.weight"].permute(4, 0, 1, 2, 3).flip(0) for q in range(last, -1, -1)]
        state = {
            "from_x.weight": joint[:, : cell.inputs],
            "gate_core.weight": joint[:, cell.inputs :],
            "from_x.bias": weights[f"core.{last}.bias"],
            "windows.weight": torch.stack(newest_first).flatten(0, 2),
            "window_biases": torch.stack([weights[f"window.{q}.bias"] for q in range(last, -1, -1)]),
        }
        for q in range(last):
            for kind in ("weight", "bias"):
                state[f"cores.{last - 1 - q}.{kind}"] = weights[f"core.{q}.{kind}"]
    cell.load_state_dict(state)


def load_network(network: RecurrentStack, weights: dict[str, Tensor]) -> None:
    """Give a network of cells the reference's weights."""
    cells = [cell for block in network.blocks for cell in block]
    for at, cell in enumerate(cells):
        prefix = f"layer.{at}."
        load_cell(cell, {key.removeprefix(prefix): w for key, w in weights.items() if key.startswith(prefix)})
    network.output.load_state_dict({kind: weights[f"output.{kind}"] for kind in ("weight", "bias")})


def load_zigzag(network: Zigzag, weights: dict[str, Tensor]) -> None:
    """Give PredRNN or PredRNN++ in the released form the reference's weights; it has no biases: ours stay zero."""
    maps = {"from_x.conv": "conv_x.0", "from_h.conv": "conv_h.0", "mix": "conv_last"}
    if isinstance(network.layers[0], STLSTMCell):
        maps |= {"from_m.conv": "conv_m.0", "from_memories.conv": "conv_o.0"}
    else:
        maps |= {"from_first.conv": "conv_c.0", "from_second.conv": "conv_m.0", "from_new_second.conv": "conv_om.0"}
    state = {name: value for name, value in network.state_dict().items() if name.endswith("bias")}
    for at in range(len(network.layers)):
        there = {name: weights[f"cell_list.{at}.{source}.weight"] for name, source in maps.items()}
        if "from_first.conv" in maps:
            i, g, f, o = weights[f"cell_list.{at}.conv_c2m.0.weight"].chunk(4)
            there["from_new_first.conv"] = torch.cat([i, f, g, o])
        state |= {f"layers.{at}.{name}.weight": weight for name, weight in there.items()}
    if network.highway is not None:
        for source in "xz":
            state[f"highway.from_{source}.conv.weight"] = weights[f"gradient_highway.{source}_concat.0.weight"]
    network.load_state_dict(state | {"output.weight": weights["conv_last.weight"]})

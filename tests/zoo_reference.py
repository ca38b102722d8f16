"""Outputs of independent implementations (`tests/reference/*.npz`) and their weights in our layout."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.cells import Cell, ConvTTLSTMCell
from zoo.models.stack import RecurrentStack

FOLDER = Path(__file__).parent / "reference"


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
            "input_weight": joint[:, : cell.inputs],
            "hidden_weight": joint[:, cell.inputs :],
            "bias": weights["conv.bias"],
        }
    else:
        last = cell.order - 1
        joint = weights[f"core.{last}.weight"]
        newest_first = [weights[f"window.{q}.weight"].permute(4, 0, 1, 2, 3).flip(0) for q in range(last, -1, -1)]
        state = {
            "input_weight": joint[:, : cell.inputs],
            "gate_core": joint[:, cell.inputs :],
            "gate_bias": weights[f"core.{last}.bias"],
            "window_weight": torch.stack(newest_first),
            "window_bias": torch.stack([weights[f"window.{q}.bias"] for q in range(last, -1, -1)]),
        }
        for q in range(last):
            state[f"cores.{last - 1 - q}"] = weights[f"core.{q}.weight"]
            state[f"biases.{last - 1 - q}"] = weights[f"core.{q}.bias"]
    cell.load_state_dict(state)


def load_network(network: RecurrentStack, weights: dict[str, Tensor]) -> None:
    """Give a network of cells the reference's weights."""
    cells = [cell for block in network.blocks for cell in block]
    for at, cell in enumerate(cells):
        prefix = f"layer.{at}."
        load_cell(cell, {key.removeprefix(prefix): w for key, w in weights.items() if key.startswith(prefix)})
    network.output_weight = nn.Parameter(weights["output.weight"])
    network.output_bias = nn.Parameter(weights["output.bias"])

"""PredRNN++ by the names of its authors' TensorFlow code, read from an `.npz` file of named arrays.

A checkpoint of TensorFlow itself cannot be read. Names are such as
`predrnn_pp/lstm_1/temporal_state_transition/kernel`, and kernels have the axes H, W, inputs, outputs. The order of
gates in the outputs is: i g f o for h, i g f for c, i f and W3's map for m, i g f o i' g' f' for x, and i g f o for c'.
Each layer norm has a shift (…b) and a gain (…s).
"""

import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tensortrain import inputs
from tensortrain.errors import TensorTrainError
from zoo.errors import ZooError
from zoo.foreign.ledger import Foreign, Ledger, Weights, reorder, unfolded

_OPTIMIZER = ("Adam", "Adam_1", "beta1_power", "beta2_power")  # last parts of the names of the optimiser's state
_MOST_TIMES, _FREE = 64, 1 << 25  # a compressed file may unpack to this many times its size, plus this many bytes
# for each of our convolutions: theirs, its layer norm, their gates, our gates; those of the spatial memory are I F G
_PARTS = {
    "from_x": ("input_to_state", "x2c", "igfoIGF", "ifgIFGo"),
    "from_h": ("temporal_state_transition", "h2c", "igfo", "ifgo"),
    "from_first": ("temporal_memory_transition", "c2c", "igf", "ifg"),
    "from_second": ("spatial_memory_transition", "m2m", "IFm", "IFm"),
    "from_new_first": ("c2m", "c2m", "IGFo", "IFGo"),
    "from_new_second": ("m_to_o", "m2o", "o", "o"),
}


def read_arrays(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Read the arrays of an `.npz` file, and the names of those that are an optimiser's state.

    Scopes around the network are removed from the names.

    Raises:
        ZooError: if the file does not exist, is damaged, unpacks to far more than its size, or has two arrays of one
            name.
    """
    try:
        size = inputs.regular(path)
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MOST_TIMES * size + _FREE:
                raise ZooError(f"{path} would need far more memory than its {size:,} bytes; write it with numpy.savez")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except TensorTrainError as error:
        raise ZooError(str(error)) from None
    except ZooError:
        raise
    except Exception as error:  # zipfile and NumPy raise many types for damaged files
        raise ZooError(f"{path} cannot be read ({error}); write it with numpy.savez, by the variables' names") from None
    tensors: dict[str, Tensor] = {}
    state: list[str] = []
    for name, array in arrays.items():
        plain = name.removesuffix(":0")
        if plain.rpartition("/")[2] in _OPTIMIZER:
            state.append(name)
            continue
        match = re.search(r"(?:^|/)((?:lstm_\d+|highway|back_to_pixel)/.+)$", plain)
        plain = match[1] if match else plain
        if plain in tensors:
            raise ZooError(f"{path} holds two arrays {plain}; write only one network to it")
        if array.dtype.kind != "f":
            raise ZooError(f"{path}: {name} holds {array.dtype}, but must hold floating-point numbers")
        native = array.astype(f"f{min(array.dtype.itemsize, 8)}")  # torch has one order of bytes, and at most 64 bits
        tensors[plain] = torch.from_numpy(np.ascontiguousarray(native))
    return tensors, state


def read_predrnn_pp(ledger: Ledger, channels: int) -> Foreign:
    """Read PredRNN++ in the form "released". Layers may have different numbers of channels."""
    pixels = ledger.look("back_to_pixel/kernel", 4).shape[3]
    patch, order = unfolded(pixels, channels, ledger.where)
    hidden, weights = list[int](), Weights()
    while (name := f"lstm_{len(hidden) + 1}/temporal_state_transition/kernel") in ledger:
        hidden.append(ledger.look(name, 4).shape[2])
    if len(hidden) < 2:
        raise ZooError(
            f"{ledger.where} has {len(hidden)} layers lstm_1, lstm_2, …, but a {ledger.kind} has at least two"
        )
    kernel = ledger.look("lstm_1/temporal_state_transition/kernel", 4).shape[0]
    below = [pixels, *hidden[:-1]]
    memories = [hidden[-1], *hidden[:-1]]
    for place, count in enumerate(hidden):
        widths = {"from_x": below[place], "from_second": memories[place]}
        for here, (there, norm, theirs, ours) in _PARTS.items():
            conv = _conv(ledger, f"lstm_{place + 1}", there, norm, (kernel, widths.get(here, count), len(ours) * count))
            for kind, each in conv.items():
                weights[f"layers.{place}.{here}.{kind}"] = reorder(each, theirs, ours)
        scope = f"lstm_{place + 1}/memory_reduce"
        weights[f"layers.{place}.mix.weight"] = _kernel(ledger.take(f"{scope}/kernel", 1, 1, 2 * count, count))
        weights[f"layers.{place}.mix.bias"] = ledger.take(f"{scope}/bias", count)
    for here, there in (("from_x", "input_to_state"), ("from_z", "state_to_state")):
        conv = _conv(ledger, "highway", there, there, (kernel, hidden[0], 2 * hidden[0]))
        weights |= {f"highway.{here}.{kind}": each for kind, each in conv.items()}
    first = "layers.0.from_x.conv.weight"
    weights[first] = weights[first][:, order]
    weights["output.weight"] = _kernel(ledger.take("back_to_pixel/kernel", 1, 1, hidden[-1], pixels))[order]
    weights["output.bias"] = ledger.take("back_to_pixel/bias", pixels)[order]
    ledger.finish()
    options = {"hidden": hidden, "kernel": kernel, "channels": channels, "patch": patch, "form": "released"}
    options |= {"highway": "bottom", "overrides": {"layer_norm": any(".norm." in name for name in weights)}}
    return Foreign("predrnn-pp", options, weights, ledger.remarks)


def _conv(ledger: Ledger, scope: str, name: str, norm: str, sizes: tuple[int, int, int]) -> Weights:
    """A convolution with its bias, and with its layer norm if the file has one."""
    kernel, entering, leaving = sizes
    weights = {
        "conv.weight": _kernel(ledger.take(f"{scope}/{name}/kernel", kernel, kernel, entering, leaving)),
        "conv.bias": ledger.take(f"{scope}/{name}/bias", leaving),
    }
    if f"{scope}/{norm}s" in ledger:
        weights["norm.weight"] = ledger.take(f"{scope}/{norm}s", leaving)
        weights["norm.bias"] = ledger.take(f"{scope}/{norm}b", leaving)
    return weights


def _kernel(tensor: Tensor) -> Tensor:
    """Reorder a kernel from `(H, W, inputs, outputs)` to `(outputs, inputs, H, W)`."""
    return tensor.permute(3, 2, 0, 1)

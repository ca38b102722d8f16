"""Keep the finished layers of a refit in a file, so that an interrupted compression can be resumed.

The file has the format of a compressed network, in which some layers are not compressed yet. It also holds a digest of
the network, the inputs, the plan and the seed, so that it cannot be resumed with others.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from tensortrain import storage
from tensortrain.compression.layers.modules import FACTORISED, duplicate, outermost, places, swap
from tensortrain.compression.model import layer_records, load
from tensortrain.compression.state_dicts.matrices import matrix_records
from tensortrain.compression.state_dicts.records import Changes, network_header, read_changes
from tensortrain.digest import digest
from tensortrain.errors import TensorTrainError

INTERVAL = 5.0  # shortest time between two writes of the file, in seconds
SHARE = 0.05  # largest share of the time that is spent on writing


class Progress:
    """A file with the layers that a refit has finished.

    It is written from time to time when a layer is added, and if the body of its `with` statement is interrupted.

    Args:
        path: path of the file; None if nothing is to be kept.
        content: everything that determines the results of the refit, see `digest`.
    """

    def __init__(self, path: str | PathLike[str] | None, content: Any) -> None:
        self._path = None if path is None else Path(path)
        self._key = "" if path is None else digest(content)
        self._finished: dict[str, tuple[nn.Module, float]] = {}
        self._written = 0  # number of layers in the file
        self._due = time.monotonic() + INTERVAL  # when the file is written next

    def restored(self, model: nn.Module) -> tuple[nn.Module, dict[str, float]]:
        """Return the network with the finished layers, and the relative errors of these layers in the order of their
        refit.

        Args:
            model: the network to compress; it is not changed.

        Raises:
            TensorTrainError: the file cannot be read, or belongs to another compression, or no file can hold the state
                of the network.
        """
        if self._path is None:
            return duplicate(model), {}
        storage.check_tensors(model.state_dict())
        self._dense = model
        if not self._path.exists():
            return duplicate(model), {}
        about = read_changes(self._path).about or {}
        if about.get("key") != self._key:
            raise TensorTrainError(
                f"resume = {str(self._path)!r} belongs to another compression: its network, inputs, seed or budget"
                " differ; remove it, or name another file"
            )
        dense = duplicate(model)
        merged = {name: layer.merge() for name, layer in outermost(dense) if isinstance(layer, FACTORISED)}
        dense = swap(dense, places(dense, merged))  # the file has chains for layers that were factorised before, too
        network = load(dense, self._path)
        _lay_out(network, about.get("strides", {}))
        self._finished = {name: (network.get_submodule(name), float(error)) for name, error in about["finished"]}
        self._written = len(self._finished)
        return network, {name: error for name, (_, error) in self._finished.items()}

    def add(self, name: str, layer: nn.Module, error: float) -> None:
        """Keep a finished layer.

        Args:
            name: name of the layer.
            layer: the layer, which must not change any more.
            error: its relative error.
        """
        if self._path is None:
            return
        self._finished[name] = layer, error
        if time.monotonic() >= self._due:
            self._write(self._path)

    def _write(self, path: Path) -> None:
        """Write the network with the layers that are finished, and their errors, if a file can hold them."""
        began = time.monotonic()
        network = self._so_far()
        if any(isinstance(module, FACTORISED) for module in network.modules()):
            tensors = network.state_dict()
            strides = {name: list(value.stride()) for name, value in tensors.items()}
            finished = [(name, error) for name, (_, error) in self._finished.items()]
            about = {"key": self._key, "finished": finished, "strides": strides}
            header = network_header(layer_records(network), Changes(about=about), matrix_records(network))
            storage.write(path, tensors, header)
            self._written = len(self._finished)
        ended = time.monotonic()
        self._due = ended + max(INTERVAL, (ended - began) / SHARE)

    def _so_far(self) -> nn.Module:
        """Return the dense network with the layers that are finished, to be read only: it shares the tensors of both.

        The network that is refitted may be running, and its state in flux.
        """
        values = (part for m in self._dense.modules() for part in (m._parameters, m._buffers, vars(m)))
        shared = {id(x): x for part in values for x in part.values() if isinstance(x, Tensor)}
        network = copy.deepcopy(self._dense, shared)
        return swap(network, places(network, {name: layer for name, (layer, _) in self._finished.items()}))

    def remove(self) -> None:
        """Remove the file, which is no longer needed once the network is compressed."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._path is not None and self._written < len(self._finished):
            self._write(self._path)


def _lay_out(network: nn.Module, strides: Mapping[str, Sequence[int]]) -> None:
    """Give parameters the strides that they had before they were written to a file, which orders all entries alike.

    Layers may have the memory format `channels_last`, and another one may be slower and rounded differently.
    """
    for name, value in network.named_parameters():
        if list(value.stride()) != list(strides.get(name, value.stride())):
            memory = torch.empty_strided(value.shape, strides[name], dtype=value.dtype, device=value.device)
            value.data = memory.copy_(value.data)

"""Keep the finished layers of a refit in a file, so that an interrupted compression can be resumed.

The file has the format of a compressed network, in which some layers are not compressed yet. It also holds a digest of
the network, the inputs, the plan and the seed, so that it cannot be resumed with others.
"""

from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from tensortrain import storage
from tensortrain.compression.layers.modules import FACTORISED, duplicate, outermost, places, swap
from tensortrain.compression.model import layer_records, load
from tensortrain.compression.state_dicts.matrices import matrix_records
from tensortrain.compression.state_dicts.records import Changes, network_header, read_changes
from tensortrain.digest import digest
from tensortrain.errors import TensorTrainError


class Progress:
    """A file with the layers that a refit has finished.

    Args:
        path: path of the file; None if nothing is to be kept.
        content: everything that determines the results of the refit, see `digest`.
    """

    def __init__(self, path: str | PathLike[str] | None, content: Any) -> None:
        self._path = None if path is None else Path(path)
        self._key = "" if path is None else digest(content)

    def restored(self, model: nn.Module) -> tuple[nn.Module, dict[str, float]]:
        """Return the network with the finished layers, and the relative errors of these layers in the order of their
        refit.

        Args:
            model: the network to compress; it is not changed.

        Raises:
            TensorTrainError: the file cannot be read, or belongs to another compression.
        """
        if self._path is None or not self._path.exists():
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
        return load(dense, self._path), {name: float(error) for name, error in about["finished"]}

    def save(self, model: nn.Module, finished: dict[str, float]) -> None:
        """Write the network with the layers that are finished, and their errors."""
        if self._path is not None:
            about = {"key": self._key, "finished": list(finished.items())}
            header = network_header(layer_records(model), Changes(about=about), matrix_records(model))
            storage.write(self._path, model.state_dict(), header)

    def remove(self) -> None:
        """Remove the file, which is no longer needed once the network is compressed."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

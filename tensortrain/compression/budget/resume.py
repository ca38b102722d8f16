"""Finished layers of a refit on disk, so that an interrupted compression goes on where it stopped.

The file is that of a compressed network, of which some layers are not compressed yet. What it was begun for, the
network, the inputs, the plan and the seed, stands in it as a digest.
"""

from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from tensortrain import storage
from tensortrain.compression.layers.modules import duplicate
from tensortrain.compression.model import layer_records, load
from tensortrain.compression.state_dicts.records import Changes, network_header, read_changes
from tensortrain.digest import digest
from tensortrain.errors import TensorTrainError


class Progress:
    """The layers that a refit has finished, in a file.

    Args:
        path: path of the file; None keeps nothing.
        content: everything that determines the results of the refit, see `digest`.
    """

    def __init__(self, path: str | PathLike[str] | None, content: Any) -> None:
        self._path = None if path is None else Path(path)
        self._key = "" if path is None else digest(content)

    def begun(self, model: nn.Module) -> tuple[nn.Module, dict[str, float]]:
        """The network with the layers that are finished, and their relative errors in the order in which they were.

        Args:
            model: the dense network; it is not changed.

        Raises:
            TensorTrainError: a file that cannot be read, or was begun for another compression.
        """
        if self._path is None or not self._path.exists():
            return duplicate(model), {}
        about = read_changes(self._path).about or {}
        if about.get("key") != self._key:
            raise TensorTrainError(
                f"resume = {str(self._path)!r} was begun for another network, other inputs or another budget;"
                " remove it, or name another file"
            )
        return load(duplicate(model), self._path), {name: float(error) for name, error in about["finished"]}

    def save(self, model: nn.Module, finished: dict[str, float]) -> None:
        """Write the network as far as it is."""
        if self._path is not None:
            about = {"key": self._key, "finished": list(finished.items())}
            header = network_header(layer_records(model), Changes(about=about))
            storage.write(self._path, model.state_dict(), header)

    def remove(self) -> None:
        """Remove the file, which nobody needs once the network is compressed."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

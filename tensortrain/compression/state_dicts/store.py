"""Keep finished fits in a file, so that an interrupted decomposition of many kernels can be resumed.

The file has the format of a decomposed network, with the finished layers only. It also holds a digest of everything
that determines the results, so that it cannot be resumed with other weights or arguments.
"""

from os import PathLike
from typing import Any

from torch import Tensor

from tensortrain import checks, storage
from tensortrain.compression.state_dicts.names import join
from tensortrain.compression.state_dicts.records import Changes, LayerRecord, network_header, read_changes, read_network
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.solver import Fit
from tensortrain.conv.formats import Format
from tensortrain.digest import digest
from tensortrain.errors import TensorTrainError


class FitStore:
    """A file with the chains of the kernels that are finished.

    Args:
        path: path of the file; None if nothing is to be kept.
        content: everything that determines the results of the fits, see `digest`.

    Attributes:
        chains: the chains in the file, by the names of the tensors that they replace.

    Raises:
        TensorTrainError: the file cannot be read, or belongs to another decomposition.
    """

    def __init__(self, path: str | PathLike[str] | None, content: Any) -> None:
        self._path = None if path is None else checks.path("resume", path)
        self._key = "" if path is None else digest(content)
        self._records: list[LayerRecord] = []
        self._tensors: dict[str, Tensor] = {}
        self.chains: dict[str, ConvTensorTrain] = {}
        if self._path is None or not self._path.exists():
            return
        if (read_changes(self._path).about or {}).get("key") != self._key:
            raise TensorTrainError(
                f"resume = {str(self._path)!r} belongs to a decomposition of other weights or with other arguments;"
                " remove it, or name another file"
            )
        self._tensors, self._records = read_network(self._path)
        self.chains = {record.weight: record.chain(self._tensors) for record in self._records}

    def add(self, record: LayerRecord, chain: ConvTensorTrain) -> None:
        """Add a chain, and write the file."""
        if self._path is None:
            return
        self._records.append(record)
        self._tensors |= dict(zip(record.core_keys, chain.cores, strict=True))
        storage.write(self._path, self._tensors, network_header(self._records, Changes(about={"key": self._key})))

    def add_fit(self, name: str, kernel: NormalizedKernel, fit: Fit) -> None:
        """Add a fit to the normalised kernel of a layer, and write the file."""
        if self._path is not None:
            total = [kernel.conv_groups * g for g in fit.groups]
            chain = ConvTensorTrain([core.flatten(0, 1) for core in fit.cores], groups=total)
            shape = (kernel.conv_groups * kernel.channels[0], kernel.channels[1], *kernel.size)
            self.add(LayerRecord.of(join(name, "weight"), chain, shape, kernel.conv_groups), chain)

    def fit(self, name: str, kernel: NormalizedKernel) -> Fit:
        """Return the fit that `add_fit` has stored for a layer."""
        chain, g = self.chains[join(name, "weight")], kernel.conv_groups
        groups = tuple(total // g for total in chain.groups)
        cores = [core.to(kernel.weight.device).reshape(g, -1, *core.shape[1:]) for core in chain.cores]
        blocks = [None if n == 1 else (c.shape[1] // n, c.shape[2]) for n, c in zip(groups, cores, strict=True)]
        ranks = tuple(rank // g for rank in chain.ranks[1:-1])
        return Fit(Format(chain.kernel_sizes, tuple(blocks)), ranks, cores, groups, kernel.error(cores, groups), 1.0)

    def remove(self) -> None:
        """Remove the file, which is no longer needed once all fits are finished."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

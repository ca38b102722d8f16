"""The result of a compression: the network and its report, and how both are saved to a file."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import nn

from tensortrain import storage
from tensortrain.compression.layers.exchange import exchanged, exchanged_tensors
from tensortrain.compression.layers.modules import FACTORISED, outermost
from tensortrain.compression.model import layer_records
from tensortrain.compression.reports.report import Report
from tensortrain.compression.state_dicts.matrices import matrix_records
from tensortrain.compression.state_dicts.records import Changes, LayerRecord, copied_tensors, network_header
from tensortrain.digest import digest
from tensortrain.errors import TensorTrainError
from tensortrain.nn.from_cores import FromCores

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Compressed:
    """The result of `compress`.

    Attributes:
        model: the compressed network, a plain module that may be trained further.
        report: the report of the compression; `print` shows it.

    >>> import torch, tensortrain as tt
    >>> result = tt.compress(torch.nn.Sequential(torch.nn.Linear(8, 8)), parameters=0.7)
    >>> result.model(torch.zeros(2, 8)).shape, result.report.parameters
    (torch.Size([2, 8]), (72, 40))
    """

    model: nn.Module
    report: Report
    _original: Mapping[str, str | None] = field(repr=False)
    _built: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, model: nn.Module, report: Report, original: nn.Module) -> "Compressed":
        """Return the result for a network that was just built.

        `save` compares the network with its present state, to find out which layers have been trained since.

        Args:
            model: the compressed network.
            report: report of its compression.
            original: the network that was compressed.
        """
        tensors = exchanged_tensors(original.state_dict(), exchanged(model))
        built = {name: _digest(layer) for name, layer in outermost(model) if isinstance(layer, FACTORISED)}
        return cls(model, report, {name: _digest_if_stored(value) for name, value in tensors.items()}, built)

    def plot(self) -> "Figure":
        """Draw the parameters and errors of each layer, see `Report.plot`.

        Raises:
            TensorTrainError: matplotlib is not installed.
        """
        return self.report.plot()

    def save(self, path: str | PathLike[str], *, about: Mapping[str, Any] | None = None) -> None:
        """Write the network to a file, from which `tt.nn.load(architecture(), path)` rebuilds it.

        The file lists the tensors that differ from those of the original, and the errors of the layers. It has no
        errors of layers that have been trained since they were built.

        Args:
            path: the safetensors file.
            about: further values for the header, as JSON, such as how the architecture is built.

        Raises:
            TensorTrainError: no layer was factorised, `tt.nn.load` could not rebuild a layer, the network has state
                that a file cannot hold, or the file cannot be written.

        >>> import tempfile, torch, tensortrain as tt
        >>> path = tempfile.mkdtemp() + "/small.safetensors"
        >>> tt.compress(torch.nn.Sequential(torch.nn.Linear(8, 8)), parameters=0.7).save(path)
        >>> tt.nn.load(torch.nn.Sequential(torch.nn.Linear(8, 8)), path)[0].rank
        2
        """
        if not any(isinstance(module, FromCores) for module in self.model.modules()):
            raise TensorTrainError(
                f"the budget leaves every layer as it is, so the model is a {type(self.model).__name__} without any"
                " layer of tensortrain.nn that a file can hold; use a smaller budget, or save the model by torch.save"
            )
        records = layer_records(self.model)
        tensors = self.model.state_dict()
        storage.check_tensors(tensors)
        records = [self._with_errors(record) for record in records]
        cores = {key for record in records for key in record.core_keys}
        changed = {
            name: now
            for name, before in copied_tensors(self._original, records).items()
            if name in tensors and name not in cores and (now := digest(tensors[name])) != before
        }
        report = self.report
        calibration: dict[str, int | str] | None = None
        if report.digest is not None:
            calibration = {"samples": report.samples, "digest": report.digest, "seed": report.seed}
        changes = Changes(changed, tuple(exchanged(self.model)), calibration, about)
        storage.write(path, tensors, network_header(records, changes, matrix_records(self.model)))

    def _with_errors(self, record: LayerRecord) -> LayerRecord:
        """Return the record with the errors of the report, if the layer has not changed since it was built."""
        layers = {layer.name: layer for layer in self.report.layers}
        name = record.name
        report = layers.get(name)
        if report is None or self._built.get(name) != _digest(self.model.get_submodule(name)):
            return record
        known = record.weight in self._original  # otherwise the original had no dense weight here
        return dataclasses.replace(record, error=report.frobenius if known else None, data_error=report.error)

    def __str__(self) -> str:
        return str(self.report)


def _digest(layer: nn.Module) -> str:
    """Return the digest of everything that a layer computes with: its cores and its bias."""
    return digest(dict(layer.named_parameters()))


def _digest_if_stored(value: Any) -> str | None:
    """Return the digest of a value of a state dict, or None if no file can hold it; `save` then refuses it by name."""
    try:
        storage.check_tensors({"": value})
    except TensorTrainError:
        return None
    return digest(value)

"""Records of the layers whose weight is a TT-matrix, in the file of a network.

The header of such a file has them under `"matrices"`, beside the records of the layers that are chains.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from tensortrain.compression.state_dicts.names import join, layer_name
from tensortrain.errors import TensorTrainError
from tensortrain.nn.embedding import TTEmbedding, TTEmbeddingBag
from tensortrain.nn.from_matrix import FromMatrix
from tensortrain.nn.linear import TTLinear
from tensortrain.tt.matrix import TensorTrainMatrix

LAYERS: Mapping[str, type[Any]] = {layer.__name__: layer for layer in (TTLinear, TTEmbedding, TTEmbeddingBag)}


@dataclasses.dataclass(frozen=True)
class MatrixRecord:
    """The record of one layer in the header of a network.

    Attributes:
        weight: name of the dense weight that the TT-matrix replaces.
        layer: name of the layer's class.
        shape: shape of that weight. The TT-matrix of an embedding may have further rows, which are not used.
        out_shape: factors O_1 … O_m of the number of rows.
        in_shape: factors I_1 … I_m of the number of columns.
        ranks: ranks of the TT-matrix, both ends included.
        error: relative error of the decomposition; None if there was none.
    """

    weight: str
    layer: str
    shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    in_shape: tuple[int, ...]
    ranks: tuple[int, ...]
    error: float | None

    @classmethod
    def of(cls, name: str, layer: Any) -> Self:
        """Return the record of a layer that has this name in the network."""
        out_shape, in_shape = layer.shapes
        return cls(
            weight=join(name, "weight"),
            layer=type(layer).__name__,
            shape=layer.weight_shape,
            out_shape=out_shape,
            in_shape=in_shape,
            ranks=layer.ranks,
            error=layer.error,
        )

    @property
    def name(self) -> str:
        """Name of the layer, see `layer_name`."""
        return layer_name(self.weight)

    @property
    def n_parameters(self) -> int:
        """Number of entries of the cores."""
        ends = zip(self.ranks[:-1], self.ranks[1:], self.out_shape, self.in_shape, strict=True)
        return sum(math.prod(sizes) for sizes in ends)

    def __str__(self) -> str:
        sizes = " × ".join("·".join(map(str, shape)) for shape in (self.out_shape, self.in_shape))
        return f"{self.layer} {sizes}, ranks {self.ranks}, {self.n_parameters:,} parameters"

    def matrix(self, tensors: Mapping[str, Tensor]) -> TensorTrainMatrix:
        """Return the TT-matrix from the tensors of the file.

        Raises:
            TensorTrainError: cores are missing, or their shapes differ from the record.
        """
        cores = []
        for l, (out, size) in enumerate(zip(self.out_shape, self.in_shape, strict=True)):
            stored, (left, right) = tensors.get(join(self.name, f"cores.{l}.weight")), self.ranks[l : l + 2]
            if stored is None or stored.numel() != out * left * size * right:
                raise TensorTrainError(
                    f"the cores of {self.name!r} do not have the shapes in the header; the file is damaged"
                )
            cores.append(stored.reshape(out, left, size, right).transpose(0, 1))
        return TensorTrainMatrix(cores, error=self.error)

    def rebuilt(self, module: Any, tensors: Mapping[str, Tensor]) -> nn.Module:
        """Return the layer that replaces a module of the original architecture.

        Args:
            module: the plain layer, or already a layer with the shapes and ranks of the record, which is then returned.
            tensors: the tensors of the file.

        Raises:
            TensorTrainError: the module is neither, or the file is damaged.
        """
        kind = LAYERS[self.layer]
        if type(module) is kind and dataclasses.replace(MatrixRecord.of(self.name, module), error=self.error) == self:
            same: nn.Module = module
            return same
        plain = getattr(module, "weight", None)
        if not isinstance(module, kind.plain_class()) or plain is None or tuple(plain.shape) != self.shape:
            actual = "" if plain is None else f" with a weight {tuple(plain.shape)}"
            raise TensorTrainError(
                f"{self.name!r} is a {type(module).__name__}{actual} in the model; the file has a {self.layer} with a"
                f" weight {self.shape} for it"
            )
        layer: nn.Module = kind.like(module, self.matrix(tensors).to(plain.dtype).to(plain.device))
        return layer


def matrix_records(model: nn.Module) -> list[MatrixRecord]:
    """Return the records of the layers with a TT-matrix in a network, for the header of a file.

    Raises:
        TensorTrainError: a layer is of a class that `load` cannot rebuild.
    """
    records = []
    for name, layer in model.named_modules(remove_duplicate=False):
        if isinstance(layer, FromMatrix):
            if type(layer).__name__ not in LAYERS or type(layer) is not LAYERS[type(layer).__name__]:
                raise TensorTrainError(
                    f"{name!r} is a {type(layer).__name__}, which the file format of networks cannot hold; replace it"
                    f" by one of {', '.join(LAYERS)}, or save model.state_dict() with safetensors"
                )
            records.append(MatrixRecord.of(name, layer))
    return records

"""Records of the layers in the file of a decomposed network.

The file is of kind `"network"`. It holds the tensors of the network's `state_dict`. Its header has, under `"layers"`,
one record for each layer whose kernel is a chain. A linear layer of low rank is recorded as a chain without spatial
axes. Layers with a TT-matrix have records of their own, under `"matrices"`. The header also lists the other changes of
a compression.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Self, TypeVar

from torch import Tensor

from tensortrain import storage
from tensortrain.compression.state_dicts.matrices import MatrixRecord
from tensortrain.compression.state_dicts.names import join, layer_name, plain_modules, plain_names
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError
from tensortrain.nn.low_rank import LowRankLinear

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class LayerRecord:
    """The record of one layer in the header of a decomposed network.

    Attributes:
        weight: name of the dense weight that the chain replaces.
        shape: shape of that weight; two axes for a linear layer.
        dtype: dtype of that weight, such as `"float32"`.
        groups: number of groups of the convolution.
        transposed: whether it is a transposed convolution.
        kernel_sizes: kernel sizes of the cores, output side first.
        core_groups: numbers of groups of the cores.
        ranks: ranks of the chain, both ends included.
        error: relative Frobenius error against the dense weight; None if it is not known, for example because the chain
            was trained after the decomposition.
        upper_bound: upper bound of the error, see `ConvTensorTrain`.
        lower_bound: lower bound of the error, see `ConvTensorTrain`.
        data_error: relative error of the layer's outputs on the inputs that the network was compressed on; None if
            there were no inputs.
    """

    weight: str
    shape: tuple[int, ...]
    dtype: str
    groups: int
    transposed: bool
    kernel_sizes: tuple[tuple[int, ...], ...]
    core_groups: tuple[int, ...]
    ranks: tuple[int, ...]
    error: float | None
    upper_bound: float | None
    lower_bound: float | None
    data_error: float | None = None

    @classmethod
    def of_linear(cls, weight: str, layer: LowRankLinear) -> Self:
        """Return the record of a linear layer of low rank that replaces the matrix named `weight`.

        It has no error, because the layer may have been trained since it was built.

        Raises:
            TensorTrainError: the cores do not have one dtype and one rank, or have NaN or infinite entries.
        """
        chain = ConvTensorTrain([core.weight[..., None] for core in layer.cores])
        record = cls.of(weight, chain, layer.weight_shape, 1)
        return dataclasses.replace(record, kernel_sizes=((),) * chain.order)

    @classmethod
    def of(cls, weight: str, chain: ConvTensorTrain, shape: tuple[int, ...], groups: int) -> Self:
        """Return the record of a chain that replaces the tensor `weight` of this shape and these conv groups."""
        return cls(
            weight=weight,
            shape=shape,
            dtype=str(chain.dtype).removeprefix("torch."),
            groups=groups,
            transposed=chain.transposed,
            kernel_sizes=chain.kernel_sizes,
            core_groups=chain.groups,
            ranks=chain.ranks,
            error=chain.error,
            upper_bound=chain.upper_bound,
            lower_bound=chain.lower_bound,
        )

    @property
    def name(self) -> str:
        """Name of the layer, see `layer_name`."""
        return layer_name(self.weight)

    @property
    def dense_parameters(self) -> int:
        """Number of entries of the dense weight."""
        return math.prod(self.shape)

    @property
    def n_parameters(self) -> int:
        """Number of entries of the cores."""
        return sum(
            math.prod(size) * outer * inner // groups
            for size, groups, outer, inner in zip(
                self.kernel_sizes, self.core_groups, self.ranks[:-1], self.ranks[1:], strict=True
            )
        )

    @property
    def core_keys(self) -> list[str]:
        """Names of the cores' tensors in the `state_dict` of the network."""
        return [join(self.name, f"cores.{l}.weight") for l in range(len(self.kernel_sizes))]

    @property
    def linear(self) -> bool:
        """Whether the layer is linear and has no spatial axes."""
        return len(self.shape) == 2

    def chain(self, tensors: Mapping[str, Tensor]) -> ConvTensorTrain:
        """Build the layer's chain from the tensors of the file.

        The chain of a linear layer gets one spatial axis of length 1.

        Raises:
            TensorTrainError: cores are missing, or their shapes differ from the record.
        """
        missing = [key for key in self.core_keys if key not in tensors]
        if missing:
            raise TensorTrainError(f"the file has no {missing[0]!r}, which its header lists; the file is damaged")
        cores = [tensors[key] for key in self.core_keys]
        one = (1,) if self.linear else ()
        chain = ConvTensorTrain(
            [core.reshape(*core.shape, *one) for core in cores],
            groups=self.core_groups,
            transposed=self.transposed,
            error=self.error,
            upper_bound=self.upper_bound,
            lower_bound=self.lower_bound,
        )
        channels = (chain.out_channels, chain.in_channels)[:: -1 if self.transposed else 1]
        shape = (channels[0], channels[1] // self.groups, *chain.kernel_size)
        if (
            chain.kernel_sizes != tuple((*size, *one) for size in self.kernel_sizes)
            or chain.ranks != self.ranks
            or shape != (*self.shape, *one)
            or chain.conv_groups % self.groups
        ):
            raise TensorTrainError(
                f"the cores of {self.name!r} do not have the shapes in the header; the file is damaged"
            )
        return chain


def copied_tensors(tensors: Mapping[str, T], records: Iterable[LayerRecord]) -> dict[str, T]:
    """Return all tensors of a checkpoint except the decomposed kernels, whose biases get new names.

    The bias `conv1.bias` of a decomposed kernel becomes `conv1.cores.0.bias`, since the outermost core adds it. The
    values may be tensors, or anything that stands for them, such as digests.

    Raises:
        TensorTrainError: a tensor would get the name of another one or of a core, and one of the two would be lost.

    >>> import torch
    >>> chain = ConvTensorTrain([torch.ones(4, 1, 3), torch.ones(1, 4, 3)])
    >>> copied_tensors({"a.weight": 1, "a.bias": 2, "b": 3}, [LayerRecord.of("a.weight", chain, (4, 4, 5), 1)])
    {'a.cores.0.bias': 2, 'b': 3}
    """
    records = list(records)
    kernels = {record.weight for record in records}
    biases = {join(record.name, "bias"): join(record.name, "cores.0.bias") for record in records}
    # a layer of this library that the network had before has its cores among the tensors, but not its weight
    cores = [(key, f"a core of {r.weight!r}") for r in records if r.weight in tensors for key in r.core_keys]
    others = [(biases.get(name, name), repr(name)) for name in tensors if name not in kernels]
    sources: dict[str, str] = {}
    for name, source in cores + others:
        if name in sources:
            raise TensorTrainError(
                f"{sources[name]} and {source} would both be named {name!r}, and one of them would be lost; exclude"
                " this layer, or rename the tensors of the checkpoint"
            )
        sources[name] = source
    return {biases.get(name, name): tensor for name, tensor in tensors.items() if name not in kernels}


@dataclasses.dataclass(frozen=True)
class Changes:
    """The changes of a compression other than the replaced layers.

    Attributes:
        changed: tensors whose values differ from the original, such as refitted weights, biases and statistics of batch
            norm: their names, and the digests of the new values.
        exchanged: names of the attention modules that were replaced by a module of this library.
        calibration: number and digest of the inputs that the network was compressed on, and the seed; None if there
            were none.
        about: further values, as JSON, from the program that wrote the file; None if there are none.
    """

    changed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    exchanged: Sequence[str] = ()
    calibration: Mapping[str, int | str] | None = None
    about: Mapping[str, Any] | None = None


def network_header(
    layers: Sequence[LayerRecord], changes: Changes | None = None, matrices: Sequence[MatrixRecord] = ()
) -> storage.Header:
    """Return the header of a decomposed network."""
    header: storage.Header = {"kind": "network", "layers": [dataclasses.asdict(layer) for layer in layers]}
    if matrices:
        header["matrices"] = [dataclasses.asdict(layer) for layer in matrices]
    if changes is not None:
        header |= {**dataclasses.asdict(changes), "changed": list(changes.changed.items())}
    return header


def read_changes(path: str | PathLike[str]) -> Changes:
    """Read the changes from the header of a decomposed network. Modules and tensors are named as in the bare model.

    Raises:
        TensorTrainError: the file cannot be read, or is not that of a network.
    """
    header = storage.expect(path, storage.read_header(path), "network")
    plain = _plain_names(header, storage.names(path))
    changed = {plain.get(name, name): digest for name, digest in header.get("changed", ())}
    exchanged = list(plain_modules(header.get("exchanged", ()), plain).values())
    return Changes(changed, exchanged, header.get("calibration"), header.get("about"))


def read_network(path: str | PathLike[str]) -> tuple[dict[str, Tensor], list[LayerRecord]]:
    """Read the tensors and the layer records of a decomposed network, named as in the bare model.

    Raises:
        TensorTrainError: the file cannot be read, or is not that of a network.
    """
    tensors, header = storage.read(path)
    header = storage.expect(path, header, "network")
    plain = _plain_names(header, tensors)
    records = [LayerRecord(**{**fields, "weight": plain[fields["weight"]]}) for fields in header["layers"]]
    return {plain[name]: tensor for name, tensor in tensors.items()}, records


def read_matrices(path: str | PathLike[str]) -> list[MatrixRecord]:
    """Read the records of the layers with a TT-matrix from the file of a network, named as in the bare model.

    Raises:
        TensorTrainError: the file cannot be read, or is not that of a network.
    """
    header = storage.expect(path, storage.read_header(path), "network")
    plain = _plain_names(header, storage.names(path))
    return [MatrixRecord(**{**fields, "weight": plain[fields["weight"]]}) for fields in header.get("matrices", ())]


def _plain_names(header: storage.Header, tensors: Iterable[str]) -> dict[str, str]:
    """Map the names of the tensors and of the replaced weights in a file to those in the bare model."""
    weights = [record["weight"] for record in (*header["layers"], *header.get("matrices", ()))]
    return plain_names([*tensors, *weights])

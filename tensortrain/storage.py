"""Files: chains and decomposed networks as safetensors with a versioned header, and checkpoints of any origin.

The header is one JSON object in the safetensors metadata under the key `"tensortrain"`:
`{"version": 1, "kind": "chain" | "network", …}`. Files are written aside and renamed when complete; no
pickle is ever loaded.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError
from tensortrain.files import aside

VERSION = 1
HEADER = "tensortrain"
WRAPPERS = ("state_dict", "model_state_dict", "model")  # under which checkpoints of training runs hold the tensors

Header = dict[str, Any]


def write(path: str | PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a header (`"kind"` and whatever belongs to it) to a safetensors file.

    Raises:
        TensorTrainError: a path that cannot be written, or a dtype safetensors does not have.
    """
    with aside(path) as temporary:
        write_to(temporary, tensors, header)


def write_to(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """`write` without the care for half-written files, for use inside `aside`."""
    metadata = {HEADER: json.dumps({"version": VERSION, **header})}  # one entry: the order of several is random
    try:
        # copies, since safetensors refuses tensors that share memory, as tied weights do
        owned = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
        save_file(owned, path, metadata)
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise TensorTrainError(f"cannot write these tensors as safetensors: {reason}") from None


def read(path: str | PathLike[str]) -> tuple[dict[str, Tensor], Header | None]:
    """Tensors of a safetensors file and its header, None if another program wrote the file.

    Raises:
        TensorTrainError: a file that is missing, truncated, no safetensors, or of a newer version.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return tensors, _header(path, file.metadata() or {})


@contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except OSError as error:
        raise TensorTrainError(f"cannot read {path}: {error.strerror or 'no such file'}") from None
    except SafetensorError as error:
        raise TensorTrainError(f"cannot read {path}: truncated or no safetensors file ({error})") from None


def _header(path: str | PathLike[str], metadata: Mapping[str, str]) -> Header | None:
    if HEADER not in metadata:
        return None
    try:
        header = json.loads(metadata[HEADER])
        version = header["version"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise TensorTrainError(f"cannot read {path}: its {HEADER!r} header is damaged") from None
    if version != VERSION:
        raise TensorTrainError(f"{path} has format version {version!r}; this library reads {VERSION}: upgrade it")
    return dict(header)


def kind(path: str | PathLike[str]) -> str | None:
    """The kind of a file this library wrote, None for all others; its tensors are not read."""
    if not _is_safetensors(path):
        return None
    with _opened(path) as file:
        header = _header(path, file.metadata() or {})
    return None if header is None else header.get("kind")


def expect(path: str | PathLike[str], header: Header | None, kind: str) -> Header:
    """`header` if it is one of the given kind.

    Raises:
        TensorTrainError: otherwise, with what the file is.
    """
    if header is None or header.get("kind") != kind:
        found = "a plain safetensors file" if header is None else f"of kind {header.get('kind')!r}"
        raise TensorTrainError(f"{path} is {found}; one of kind {kind!r} that this library wrote is needed")
    return header


def save_chain(chain: ConvTensorTrain, path: str | PathLike[str]) -> None:
    """Write one chain, its error and bounds; see `load_chain`."""
    header = {"kind": "chain", **{name: getattr(chain, name) for name in _CHAIN_FIELDS}}
    write(path, {f"cores.{l}": core for l, core in enumerate(chain.cores)}, header)


def load_chain(path: str | PathLike[str]) -> ConvTensorTrain:
    """Read what `save_chain` wrote, on the CPU.

    Raises:
        TensorTrainError: a file that cannot be read or holds something else.
    """
    tensors, header = read(path)
    header = expect(path, header, "chain")
    try:
        cores = [tensors[f"cores.{l}"] for l in range(len(tensors))]
        return ConvTensorTrain(cores, **{name: header[name] for name in _CHAIN_FIELDS})
    except KeyError as error:
        raise TensorTrainError(f"{path} has no {error.args[0]!r}; the file is damaged") from None


_CHAIN_FIELDS = ("groups", "transposed", "error", "upper_bound", "lower_bound")


@dataclasses.dataclass(frozen=True)
class LayerRecord:
    """What the header of a decomposed network says about one layer.

    Attributes:
        weight: name of the dense weight that the chain replaces.
        shape: of that weight.
        dtype: of that weight, such as `"float32"`.
        groups: of the convolution.
        transposed: whether it is a transposed one.
        kernel_sizes: of the cores, output side first.
        core_groups: of the cores.
        ranks: both ends included.
        error: relative Frobenius error against the dense weight; None if the chain was trained, not decomposed.
        upper_bound: see `ConvTensorTrain`.
        lower_bound: likewise.
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

    @classmethod
    def of(cls, weight: str, chain: ConvTensorTrain, shape: tuple[int, ...], groups: int) -> Self:
        """The record of a chain that stands for the tensor named `weight`."""
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

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The record from its JSON object, where tuples have become lists."""
        frozen = {
            "shape": tuple(values["shape"]),
            "kernel_sizes": tuple(map(tuple, values["kernel_sizes"])),
            "core_groups": tuple(values["core_groups"]),
            "ranks": tuple(values["ranks"]),
        }
        return cls(**{**values, **frozen})

    @property
    def name(self) -> str:
        """The layer: the weight's name without its last part `weight`."""
        return layer_name(self.weight)

    @property
    def dense_parameters(self) -> int:
        """Entries of the dense weight."""
        return math.prod(self.shape)

    @property
    def n_parameters(self) -> int:
        """Entries of the cores."""
        return sum(
            math.prod(size) * outer * inner // groups
            for size, groups, outer, inner in zip(
                self.kernel_sizes, self.core_groups, self.ranks[:-1], self.ranks[1:], strict=True
            )
        )

    @property
    def core_keys(self) -> list[str]:
        """Names of the cores' tensors, as in the `state_dict` of a network that holds the layer."""
        return [join(self.name, f"cores.{l}.weight") for l in range(len(self.kernel_sizes))]

    def chain(self, tensors: Mapping[str, Tensor]) -> ConvTensorTrain:
        """The layer's chain out of the file's tensors.

        Raises:
            TensorTrainError: cores missing or of other shapes than the record says.
        """
        missing = [key for key in self.core_keys if key not in tensors]
        if missing:
            raise TensorTrainError(f"the file has no {missing[0]!r}, which its header names; it is damaged")
        chain = ConvTensorTrain(
            [tensors[key] for key in self.core_keys],
            groups=self.core_groups,
            transposed=self.transposed,
            error=self.error,
            upper_bound=self.upper_bound,
            lower_bound=self.lower_bound,
        )
        if chain.kernel_sizes != self.kernel_sizes or chain.ranks != self.ranks:
            raise TensorTrainError(f"the cores of {self.name!r} do not have the shapes the header says; it is damaged")
        return chain


def layer_name(weight: str) -> str:
    """`"conv1.weight"` → `"conv1"`; `"weight"` → `""`; any other name stays."""
    return "" if weight == "weight" else weight.removesuffix(".weight")


def join(prefix: str, name: str) -> str:
    """Two parts of a `state_dict` key, the first possibly empty."""
    return f"{prefix}.{name}" if prefix else name


def network_header(layers: list[LayerRecord]) -> Header:
    """The header of a decomposed network."""
    return {"kind": "network", "layers": [dataclasses.asdict(layer) for layer in layers]}


def read_network(path: str | PathLike[str]) -> tuple[dict[str, Tensor], list[LayerRecord]]:
    """Tensors and layers of a decomposed network.

    Raises:
        TensorTrainError: a file that cannot be read, or holds something else.
    """
    tensors, header = read(path)
    header = expect(path, header, "network")
    try:
        return tensors, [LayerRecord.from_json(values) for values in header["layers"]]
    except (KeyError, TypeError):
        raise TensorTrainError(f"cannot read {path}: its {HEADER!r} header is damaged") from None


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch checkpoint, by name.

    Torch files are read with `weights_only=True`. A `state_dict` nested in one is found, a prefix
    `module.` common to all names dropped, and what is no tensor left out.

    Raises:
        TensorTrainError: a file that is missing, truncated, holds no tensors, or more than plain data.
    """
    found: Any = read(path)[0] if _is_safetensors(path) else _read_torch(path)
    if isinstance(found, Mapping):
        found = next((found[name] for name in WRAPPERS if isinstance(found.get(name), Mapping)), found)
    named = found.items() if isinstance(found, Mapping) else ()
    tensors = {name: value for name, value in named if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise TensorTrainError(f"{path} holds no tensors by name; save model.state_dict() to it")
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _is_safetensors(path: str | PathLike[str]) -> bool:
    """By the first bytes: eight of length, then JSON."""
    try:
        with open(path, "rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise TensorTrainError(f"cannot read {path}: {error.strerror}") from None


def _read_torch(path: str | PathLike[str]) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names no type for damaged files: EOFError, RuntimeError, struct.error, …
        refused = re.search(r"unsupported GLOBAL:?(?: GLOBAL)? (\S+)", str(error), re.IGNORECASE)
        if refused:
            raise TensorTrainError(
                f"cannot read {path}: it holds more than tensors, {refused[1]}, which only an unsafe load would read;"
                " save model.state_dict() instead"
            ) from None
        raise TensorTrainError(f"cannot read {path}: truncated, or neither a safetensors nor a torch file") from None

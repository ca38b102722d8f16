"""Safetensors files with a versioned header, and the cores of a train as one of them.

The header is one JSON object in the safetensors metadata under the key `"tensortrain"`:
`{"version": 1, "kind": "chain" | "train" | "matrix" | "network", …}`. Files are written aside and renamed when
complete, and no pickle is ever loaded.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tensortrain import inputs
from tensortrain.errors import TensorTrainError
from tensortrain.files import aside

VERSION = 1
HEADER = "tensortrain"

Header = dict[str, Any]


def write(path: str | PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a header to a safetensors file, aside first and then renamed.

    Args:
        path: the file; an old one is replaced.
        tensors: by name, of any shape; they may share memory.
        header: its `"kind"`, and whatever files of this kind record.

    Raises:
        TensorTrainError: a path that cannot be written, or a dtype that safetensors does not have.
    """
    with aside(path) as temporary:
        write_to(temporary, tensors, header)


def write_to(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """`write` straight to `path`; use it inside `files.aside`, which removes a half-written file."""
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
    inputs.regular(path)
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


def is_safetensors(path: str | PathLike[str]) -> bool:
    """Whether a file begins like safetensors: eight bytes of length, then JSON.

    Raises:
        TensorTrainError: a file that cannot be read.
    """
    inputs.regular(path)
    try:
        with open(path, "rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise TensorTrainError(f"cannot read {path}: {error.strerror}") from None


def kind(path: str | PathLike[str]) -> str | None:
    """The kind of a file this library wrote, None for all others; its tensors are not read."""
    if not is_safetensors(path):
        return None
    with _opened(path) as file:
        header = _header(path, file.metadata() or {})
    return None if header is None else header.get("kind")


def expect(path: str | PathLike[str], header: Header | None, kind: str) -> Header:
    """Return `header` if it belongs to a file of this kind.

    Raises:
        TensorTrainError: otherwise; the message says what the file is.
    """
    if header is None or header.get("kind") != kind:
        actual = "a plain safetensors file" if header is None else f"of kind {header.get('kind')!r}"
        raise TensorTrainError(f"{path} is {actual}; one of kind {kind!r} that this library wrote is needed")
    return header


def save_cores(path: str | PathLike[str], kind: str, cores: Sequence[Tensor], fields: Mapping[str, Any]) -> None:
    """Write the cores of a train, and what else describes it.

    Complex cores are stored as pairs of real numbers, since safetensors has no complex128.

    Args:
        path: the file; an old one is replaced.
        kind: of the train, for the header.
        cores: of any shapes, all real or all complex.
        fields: for the header, plain values that JSON can hold.

    Raises:
        TensorTrainError: a path that cannot be written, or a dtype that safetensors does not have.
    """
    is_complex = cores[0].is_complex()
    stored = [torch.view_as_real(core.detach().resolve_conj()) if is_complex else core for core in cores]
    header = {"kind": kind, "complex": is_complex, **fields}
    write(path, {f"cores.{l}": core for l, core in enumerate(stored)}, header)


def load_cores(path: str | PathLike[str], kind: str, fields: Iterable[str]) -> tuple[list[Tensor], dict[str, Any]]:
    """Read what `save_cores` wrote, on the CPU.

    Args:
        path: the file.
        kind: that it must have.
        fields: names of those that the header must have.

    Returns:
        The cores in order, and the fields by name; tuples have become lists, as in all JSON.

    Raises:
        TensorTrainError: a file that cannot be read, is of another kind, or lacks a core or a field.
    """
    tensors, header = read(path)
    header = expect(path, header, kind)
    try:
        cores = [tensors[f"cores.{l}"] for l in range(len(tensors))]
        values = {name: header[name] for name in fields}
    except KeyError as error:
        raise TensorTrainError(f"{path} has no {error.args[0]!r}; the file is damaged") from None
    if not header.get("complex"):  # the first files of chains have no such entry
        return cores, values
    if any(core.shape[-1:] != (2,) for core in cores):
        raise TensorTrainError(f"{path} has cores that are no pairs of real numbers; the file is damaged")
    return [torch.view_as_complex(core) for core in cores], values

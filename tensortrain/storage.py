"""Read and write safetensors files with a versioned header, and the cores of a train as one such file.

The header is one JSON object in the safetensors metadata under the key `"tensortrain"`:
`{"version": 2, "digest": …, "kind": "chain" | "train" | "matrix" | "network", …}`. The digest covers all other fields
and all tensors, so that every change of the file is detected. Files of version 1 have no digest. Files are written
under a temporary name and renamed when complete, and no pickle is ever loaded.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tensortrain import inputs
from tensortrain.checks import unusual
from tensortrain.digest import digest
from tensortrain.errors import TensorTrainError
from tensortrain.files import aside

VERSION = 2
HEADER = "tensortrain"

Header = dict[str, Any]

_REAL = (torch.float16, torch.float32, torch.float64)  # dtypes whose pairs torch can view as complex numbers


def write(path: str | PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a header to a safetensors file, which appears only when it is complete.

    Args:
        path: the file to write; an old file is replaced.
        tensors: tensors by name, of any shapes; they may share memory.
        header: the `"kind"` of the file, and the other fields that files of this kind record. JSON must be able to hold
            them.

    Raises:
        TensorTrainError: the path cannot be written, `check_tensors` refuses a tensor, safetensors does not support the
            dtype of a tensor, or JSON cannot hold a value of the header.
    """
    with aside(path) as temporary:
        write_to(temporary, tensors, header)


def write_to(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write directly to `path`, like `write`. Use it inside `files.aside`, which removes a half-written file."""
    _save(path, tensors, {"version": VERSION, **header})


def write_plain(path: str | PathLike[str], tensors: Mapping[str, Tensor]) -> None:
    """Write tensors without a header of this library, as other programs do; otherwise like `write`."""
    with aside(path) as temporary:
        _save(temporary, tensors, None)


def _save(path: Path, tensors: Mapping[str, Tensor], fields: Mapping[str, Any] | None) -> None:
    """Write tensors and, unless `fields` is None, a header with a digest."""
    check_tensors(tensors)
    try:
        # copies, since safetensors refuses tensors that share memory, as tied weights do
        owned = {name: _owned(tensor) for name, tensor in tensors.items()}
        metadata = {}
        if fields is not None:  # a single entry, because safetensors writes several in random order
            plain = _as_read(fields)
            header = {**plain, "digest": digest({"header": plain, "tensors": owned})}
            metadata[HEADER] = json.dumps(header, allow_nan=False)
        save_tensors(path, owned, metadata)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise TensorTrainError(f"cannot write these tensors as safetensors: {reason}") from None


def _as_read(fields: Mapping[str, Any]) -> Header:
    """Return the fields of a header as they will be read from the file: plain values, with lists in place of tuples.

    Raises:
        TensorTrainError: JSON cannot hold a value, such as NaN, or would turn the key of a mapping into a string.
    """
    try:
        plain: Header = json.loads(json.dumps(fields), parse_constant=_refuse)
    except (TypeError, ValueError, RecursionError) as error:
        raise TensorTrainError(f"a file can hold tensors and plain values only: {error}") from None
    for key in _keys(fields):
        if not isinstance(key, str):
            raise TensorTrainError(f"a file can hold only mappings whose keys are strings; {key!r} is not a string")
    return plain


def _refuse(constant: str) -> None:
    """Refuse the numbers that `json` writes although JSON does not have them: NaN and both infinities."""
    raise ValueError(f"{constant} is not a number of JSON; leave this value out, or write it as a string")


def _keys(content: Any) -> Iterator[Any]:
    """Yield the keys of all mappings in some content."""
    if isinstance(content, Mapping):
        yield from content
    if isinstance(content, Mapping | list | tuple):
        for item in content.values() if isinstance(content, Mapping) else content:
            yield from _keys(item)


def check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that no safetensors file can hold.

    Raises:
        TensorTrainError: a value is not a tensor, or a tensor is sparse, quantised, nested or on the meta device. The
            message gives its name.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TensorTrainError(f"cannot write {name}: it is a {type(tensor).__name__}, and files hold tensors only")
        if tensor.is_meta:
            raise TensorTrainError(f"cannot write {name}: it is on the meta device and has no entries; load it first")
        if (tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested) and (reason := unusual(tensor)):
            raise TensorTrainError(f"cannot write {name}: it {reason}")


def _owned(tensor: Tensor) -> Tensor:
    """Return a contiguous copy of a tensor on the CPU."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu()
    return plain.clone(memory_format=torch.contiguous_format)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Call `safetensors.torch.save_file`, but raise `OSError` for errors of the operating system, as other writers do.

    Raises:
        OSError: an error of the operating system, such as a full disk.
        SafetensorError: the format cannot hold one of the tensors.
    """
    try:
        save_file(dict(tensors), path, dict(metadata))
    except SafetensorError as error:
        if system := re.search(r"I/O error: (.*) \(os error (\d+)\)", str(error)):
            raise OSError(int(system[2]), system[1]) from None
        raise


def read(path: str | PathLike[str]) -> tuple[dict[str, Tensor], Header | None]:
    """Return the tensors of a safetensors file and its header, which is None if another program wrote the file.

    Raises:
        TensorTrainError: the file is missing, truncated, damaged, not a safetensors file, or of a newer version.
    """
    with _opened(path) as file:
        try:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
            reason = str(error).partition("\n")[0]
            raise TensorTrainError(f"cannot read {path}: torch does not support its tensors ({reason})") from None
        fields = _header(path, file.metadata() or {})
    if fields is None:
        return tensors, None
    written = fields.pop("digest", None)
    if written is not None and written != digest({"header": fields, "tensors": tensors}):
        raise TensorTrainError(f"cannot read {path}: damaged, its digest does not match its content; use another copy")
    return tensors, fields


def names(path: str | PathLike[str]) -> list[str]:
    """Return the names of the tensors in a safetensors file.

    Raises:
        TensorTrainError: in the same cases as `read`.
    """
    with _opened(path) as file:
        return list(file.keys())


@contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[Any]:
    """Open a safetensors file and turn all errors into `TensorTrainError`."""
    inputs.regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except OSError as error:
        raise TensorTrainError(f"cannot read {path}: {error.strerror or 'no such file'}") from None
    except SafetensorError as error:
        raise TensorTrainError(f"cannot read {path}: truncated or not a safetensors file ({error})") from None


def _header(path: str | PathLike[str], metadata: Mapping[str, str]) -> Header | None:
    """Return the header in the metadata of a safetensors file, or None if it has none."""
    from tensortrain.schemas import parse_header

    if any(len(key) == len(HEADER) and sum(map(str.__ne__, key, HEADER)) == 1 for key in metadata):
        raise TensorTrainError(f"cannot read {path}: the name of its {HEADER!r} header is damaged")
    if HEADER not in metadata:
        return None
    try:
        return parse_header(metadata[HEADER])
    except TensorTrainError as error:
        raise TensorTrainError(f"cannot read {path}: {error}") from None


def is_safetensors(path: str | PathLike[str]) -> bool:
    """Return whether a file begins like a safetensors file, with eight bytes of length and then JSON.

    Raises:
        TensorTrainError: the file cannot be read.
    """
    inputs.regular(path)
    try:
        with open(path, "rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise TensorTrainError(f"cannot read {path}: {error.strerror}") from None


def read_header(path: str | PathLike[str]) -> Header | None:
    """Return the header of a file that this library wrote, or None for other files.

    The tensors are not read, and the digest is not checked.

    Raises:
        TensorTrainError: in the same cases as `read`.
    """
    if not is_safetensors(path):
        return None
    with _opened(path) as file:
        return _header(path, file.metadata() or {})


def expect(path: str | PathLike[str], header: Header | None, kind: str) -> Header:
    """Return `header` if it belongs to a file of this kind.

    Raises:
        TensorTrainError: the file is of another kind, which the message names.
    """
    if header is None or header["kind"] != kind:
        actual = "a plain safetensors file" if header is None else f"of kind {header['kind']!r}"
        raise TensorTrainError(f"{path} is {actual}; a file of kind {kind!r} that this library wrote is needed")
    return header


def save_cores(path: str | PathLike[str], kind: str, cores: Sequence[Tensor], fields: Mapping[str, Any]) -> None:
    """Write the cores of a train to a file, with the other values that describe the train.

    Complex cores are stored as pairs of real numbers, since safetensors has no complex128.

    Args:
        path: the file to write; an old file is replaced.
        kind: the kind of the train, which the header records.
        cores: the cores, of any shapes, all real or all complex.
        fields: further fields of the header; their values must be plain values that JSON can hold.

    Raises:
        TensorTrainError: the path cannot be written, or safetensors does not support the dtype of the cores.
    """
    is_complex = cores[0].is_complex()
    stored = [torch.view_as_real(core.detach().resolve_conj()) if is_complex else core for core in cores]
    header = {"kind": kind, "complex": is_complex, **fields}
    write(path, {f"cores.{l}": core for l, core in enumerate(stored)}, header)


def load_cores(path: str | PathLike[str], kind: str) -> tuple[list[Tensor], dict[str, Any]]:
    """Read a file that `save_cores` wrote, onto the CPU.

    Args:
        path: the file to read.
        kind: the kind that the file must have.

    Returns:
        The cores in order, and a dict of the fields, in which lists have become tuples.

    Raises:
        TensorTrainError: the file cannot be read, is of another kind, or lacks a core or a field.
    """
    tensors, header = read(path)
    fields = dict(expect(path, header, kind))
    for name in ("version", "kind"):
        del fields[name]
    try:
        cores = [tensors[f"cores.{l}"] for l in range(len(tensors))]
    except KeyError as error:
        raise TensorTrainError(f"{path} has no {error.args[0]!r}; the file is damaged") from None
    if not fields.pop("complex", False):
        return cores, fields
    if any(core.shape[-1:] != (2,) or core.dtype not in _REAL for core in cores):
        raise TensorTrainError(f"{path} has complex cores that are not pairs of real numbers; the file is damaged")
    return [torch.view_as_complex(core) for core in cores], fields

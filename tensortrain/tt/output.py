"""How trains leave the program: as text and as files."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from tensortrain import storage
from tensortrain.errors import TensorTrainError


def describe(head: str, train: Any) -> str:
    """The text of a train or TT-matrix: `head`, then ranks, counts and error."""
    share = train.n_parameters / train.dense_parameters
    lines = [
        f"{head}, {str(train.dtype).removeprefix('torch.')}",
        f"  ranks       {train.ranks}",
        f"  parameters  {train.n_parameters:,} of {train.dense_parameters:,} "
        f"({share:.1%}, compression {1 / share:.1f}×)",
        f"  MACs        {train.macs():,} sequential, {train.dense_macs():,} dense",
    ]
    if train.error is not None:
        lines.append(f"  error       {train.error:.4g} relative (Frobenius)")
    return "\n".join(lines)


def save_cores(path: str | PathLike[str], kind: str, cores: Sequence[Tensor], error: float | None) -> None:
    """Write cores to a safetensors file; complex ones as pairs of real numbers, since it has no complex128."""
    is_complex = cores[0].is_complex()
    stored = [torch.view_as_real(core.detach().resolve_conj()) if is_complex else core for core in cores]
    header = {"kind": kind, "complex": is_complex, "error": error}
    storage.write(path, {f"cores.{l}": core for l, core in enumerate(stored)}, header)


def load_cores(path: str | PathLike[str], kind: str) -> tuple[list[Tensor], float | None]:
    """The cores and the error that `save_cores` wrote.

    Raises:
        TensorTrainError: a file that cannot be read or holds something else.
    """
    tensors, header = storage.read(path)
    header = storage.expect(path, header, kind)
    try:
        cores = [tensors[f"cores.{l}"] for l in range(len(tensors))]
        return [torch.view_as_complex(core) if header["complex"] else core for core in cores], header["error"]
    except KeyError as error:
        raise TensorTrainError(f"{path} has no {error.args[0]!r}; the file is damaged") from None

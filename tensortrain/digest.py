"""A digest (SHA-256) of the tensors and values in a file, which changes whenever one of them changes."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError


def digest(content: Any) -> str:
    """Return the SHA-256 digest, in hexadecimal, of tensors and plain values in any nesting of mappings and sequences.

    The order of a mapping's entries, and the device and memory layout of a tensor, do not matter.

    Raises:
        TensorTrainError: a value is neither a tensor nor plain (None, a bool, an int, a float or a string), or a tensor
            is sparse, quantised, nested or on the meta device.

    >>> digest({"a": 1, "b": torch.zeros(2)}) == digest({"b": torch.zeros(2), "a": 1})
    True
    >>> digest({"a": torch.zeros(2)}) == digest({"a": torch.zeros(2, 1)})
    False
    """
    total = hashlib.sha256()
    for part in _parts(content):
        total.update(part)
    return total.hexdigest()


def entry_bytes(tensor: Tensor) -> Tensor:
    """Return the bytes of a dense tensor's entries, in row-major order, as a vector on the same device.

    >>> entry_bytes(torch.tensor([1, 2, 3], dtype=torch.int8)[::2])
    tensor([1, 3], dtype=torch.uint8)
    """
    rows = tensor.detach().resolve_conj().resolve_neg().contiguous()
    # torch calls a vector of at most one entry contiguous whatever its stride is, but refuses to view it as bytes
    return rows.as_strided((rows.numel(),), (1,)).view(torch.uint8)


def _parts(content: Any) -> Iterator[Any]:
    """Yield the bytes to hash; they include type and size of each value, so different contents give different bytes."""
    if isinstance(content, dict):
        yield f"dict {len(content)};".encode()
        for name in sorted(content, key=repr):
            yield from _parts(name)
            yield from _parts(content[name])
    elif isinstance(content, list | tuple):
        yield f"list {len(content)};".encode()
        for item in content:
            yield from _parts(item)
    elif isinstance(content, Tensor):
        if content.layout != torch.strided or content.is_quantized or content.is_nested or content.is_meta:
            raise TensorTrainError(
                f"a file can hold dense tensors with entries only; this tensor has the layout {content.layout}, or is"
                " quantised, nested or on the meta device"
            )
        yield f"{content.dtype} {tuple(content.shape)};".encode()
        yield entry_bytes(content.cpu()).numpy().data
    elif content is None or isinstance(content, bool | int | float | str):
        text = repr(content).encode()
        yield f"{type(content).__name__} {len(text)};".encode() + text
    else:
        raise TensorTrainError(f"a file can hold tensors and plain values only, not a {type(content).__name__}")

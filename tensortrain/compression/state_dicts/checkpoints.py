"""Read the checkpoints of other programs: safetensors files, in one piece or in shards, and torch files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

from torch import Tensor

from tensortrain import storage
from tensortrain.compression.state_dicts.names import common_prefix, plain_names
from tensortrain.compression.state_dicts.parts import fold, is_part
from tensortrain.compression.state_dicts.shards import INDEX, find_file, read_shards
from tensortrain.errors import TensorTrainError
from tensortrain.torch_files import read_torch

AVERAGED = "n_averaged"  # the buffer that torch's AveragedModel adds beside the averaged module
DEEPEST = 2  # largest number of keys above a state dict, as in {"ema": {"state_dict": {…}}}


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint, named as in the bare model.

    Attributes:
        tensors: tensors on the CPU, by name.
        key: key of the state dict in the file, such as `"model_ema"`; empty if the tensors are not nested.
        prefix: prefix that was removed from all names, such as `"module."`.
        checksummed: whether the file has checksums. They were compared with the content, so the file is not damaged.
        parts: for each weight that `folded` has computed, the names of the tensors from which it was computed.
    """

    tensors: dict[str, Tensor]
    key: str
    prefix: str
    checksummed: bool
    parts: dict[str, list[str]] = field(default_factory=dict)

    def folded(self) -> "Checkpoint":
        """Return the checkpoint with one tensor for each weight that it stores in parts; see the module `parts`.

        The names are then those of a model from which weight norm, spectral norm and pruning have been removed.
        """
        folded = fold(self.tensors)
        return replace(self, tensors=folded.tensors, parts=folded.parts)

    @property
    def remarks(self) -> list[str]:
        """Sentences that say how the tensors differ from those in the file."""
        remarks = [f"read from its key {self.key!r}"] if self.key else []
        remarks += [f"names without their prefix {self.prefix!r}"] if self.prefix else []
        remarks += [f"{name} was computed from {' and '.join(parts)}" for name, parts in self.parts.items()]
        return remarks + [
            f"{name} is a part of a weight and stays as it is; decompose with --fold to compute the weight"
            for name, tensor in self.tensors.items()
            if is_part(name) and 3 <= tensor.dim() <= 5
        ]


def read_checkpoint(path: str | PathLike[str], key: str | None = None) -> Checkpoint:
    """Read the tensors of a safetensors or torch checkpoint.

    Torch files are read with `weights_only=True`, so no code of the file runs. If the file holds one state dict under a
    key, that state dict is read. A wrapper's prefix, such as `module.`, is removed if all names have it. Values that
    are not tensors are left out.

    Args:
        path: a file. If the checkpoint consists of several files: their index, one of them, or their folder.
        key: key of the state dict in the file, such as `"params_ema"` or `"ema.state_dict"`. It is needed if the file
            holds several state dicts.

    Returns:
        The tensors, with the facts about how they were read.

    Raises:
        TensorTrainError: the file is missing or damaged; it holds no tensors, several state dicts, or objects other
            than plain data; it has no such key; or this library wrote it, so that it is decomposed already.

    >>> import tempfile, torch
    >>> path = tempfile.mkdtemp() + "/net.pt"
    >>> torch.save({"epoch": 3, "ema": {"module.conv.weight": torch.ones(2, 2, 3)}}, path)
    >>> checkpoint = read_checkpoint(path)
    >>> checkpoint.tensors.keys(), checkpoint.remarks
    (dict_keys(['conv.weight']), ["read from its key 'ema'", "names without their prefix 'module.'"])
    """
    file = find_file(Path(path))
    if file.name.endswith(INDEX):
        content: object = read_shards(file, lambda shard: _tensors(_read(shard)[0]))
        checksummed = False
    else:
        content, checksummed = _read(file)
    opened, tensors = _open(file, content, key)
    if all(name == AVERAGED or name.startswith("module.") for name in tensors):
        tensors.pop(AVERAGED, None)
    plain = plain_names(tensors)
    prefix = common_prefix(tensors) if any(name != bare for name, bare in plain.items()) else ""
    tensors = {plain[name]: Tensor.detach(tensor) for name, tensor in tensors.items()}
    return Checkpoint(tensors, opened, prefix, checksummed)


def _read(path: Path) -> tuple[object, bool]:
    """Return the content of a file, and whether the file has checksums."""
    if not storage.is_safetensors(path):
        file = read_torch(path)
        return file.content, file.checksummed
    tensors, header = storage.read(path)
    if header is not None:
        raise TensorTrainError(f"{path} is decomposed already (kind {header['kind']!r}); use the original checkpoint")
    return tensors, False


def _open(path: Path, content: object, key: str | None) -> tuple[str, dict[str, Tensor]]:
    """Return the key and the tensors of the only state dict in a file, or of the state dict under `key`.

    The key is empty if the file itself is the state dict.
    """
    known = _weights(content, "")
    dicts = known if key is None else _weights(_value(content, key), key)
    if len(dicts) == 1:
        return next(iter(dicts.items()))
    if not known:
        raise TensorTrainError(f"{path} holds no tensors by name; save model.state_dict() to it")
    actual = f"no state dict under key = {key!r}" if not dicts else "several state dicts"
    legal = ", ".join(repr(name) if name else "'' (the tensors without a key)" for name in dicts or known)
    raise TensorTrainError(f"{path} holds {actual}; choose one by its key: {legal}")


def _weights(content: object, key: str) -> dict[str, dict[str, Tensor]]:
    """Return the state dicts by their keys: those that hold a matrix or a kernel or, if there is none, all of them."""
    dicts = dict(_state_dicts(content, key, 0))
    return {name: tensors for name, tensors in dicts.items() if any(t.dim() > 1 for t in tensors.values())} or dicts


def _value(content: object, key: str) -> object:
    """Return the value under a key, or under several keys that are joined by dots."""
    if not isinstance(content, Mapping) or not key:
        return _tensors(content) if not key else None
    if key in content:
        return content[key]
    dots = (at for at, letter in enumerate(key) if letter == ".")
    inside = (_value(content[key[:at]], key[at + 1 :]) for at in dots if key[:at] in content)
    return next((value for value in inside if value is not None), None)


def _state_dicts(content: object, key: str, depth: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield mappings from names to tensors, with their keys.

    States of optimisers are left out, and so is the extra state of modules.
    """
    if not isinstance(content, Mapping):
        return
    tensors = _tensors(content)
    if tensors:
        yield key, tensors
    if depth == DEEPEST or (tensors and depth):
        return
    for name, value in content.items():
        if isinstance(name, str) and not name.lower().startswith("opt") and not name.endswith("_extra_state"):
            yield from _state_dicts(value, f"{key}.{name}" if key else name, depth + 1)


def _tensors(content: object) -> dict[str, Tensor]:
    entries = content.items() if isinstance(content, Mapping) else ()
    return {name: value for name, value in entries if isinstance(name, str) and isinstance(value, Tensor)}

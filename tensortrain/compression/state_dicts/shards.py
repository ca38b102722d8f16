"""Checkpoints in several files, with an index that says which tensor is in which: `*.safetensors.index.json`."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from tensortrain import inputs
from tensortrain.errors import TensorTrainError

INDEX = ".index.json"
MOST_BYTES = 2**26  # of an index; one of a hundred thousand tensors has 10 MB
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)")


def find_file(path: Path) -> Path:
    """The file to read where a user names a checkpoint: for one in several files its index.

    Args:
        path: a file, an index, one of the shards that an index names, the name of the whole that the index belongs
            to, or a folder with one index or one file of weights.

    Raises:
        TensorTrainError: a folder without such a file or with several, or a shard without an index.
    """
    if os.path.isdir(path):
        return _in_folder(path)
    index = path.with_name(path.name + INDEX)
    if not os.path.exists(path) and os.path.exists(index):
        return index
    shard = _SHARD.fullmatch(path.name)
    if shard is None or int(shard[2]) < 2:
        return path
    index = path.with_name(f"{shard[1]}{shard[3]}{INDEX}")
    if not os.path.exists(index):
        raise TensorTrainError(f"{path} is one of {int(shard[2])} parts, and their index {index.name} is not there")
    return index


def files_of(path: Path) -> list[Path]:
    """The files that a checkpoint is read from: one, or an index and the shards that it names.

    Args:
        path: see `find_file`.

    Raises:
        TensorTrainError: a path that `find_file` refuses, or an index that is damaged.
    """
    file = find_file(path)
    shards = dict.fromkeys(_read_index(file).values()) if file.name.endswith(INDEX) else {}
    return [file, *(file.parent / shard for shard in shards)]


def _in_folder(folder: Path) -> Path:
    try:
        names = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise TensorTrainError(f"cannot read {folder}: {error.strerror}") from None
    for suffixes in ((f".safetensors{INDEX}",), (INDEX,), (".safetensors",), (".pt", ".pth", ".ckpt", ".th", ".bin")):
        files = [path for path in names if path.name.endswith(suffixes)]
        if len(files) > 1:
            listed = ", ".join(path.name for path in files[:5]) + (", …" if len(files) > 5 else "")
            raise TensorTrainError(f"{folder} is a folder with several checkpoints; name one of them: {listed}")
        if files:
            return files[0]
    raise TensorTrainError(f"{folder} is a folder without a checkpoint in it; name a file")


def read_shards(index: Path, read: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of all shards, in the order of the index.

    Args:
        index: the file that names the shards; they lie in its folder.
        read: reads the tensors of one shard.

    Raises:
        TensorTrainError: an index that is damaged or names files outside of its folder, a shard that is missing or
            cannot be read, or one that does not hold exactly the tensors that the index says.
    """
    weight_map = _read_index(index)
    shards = {name: read(index.parent / name) for name in dict.fromkeys(weight_map.values())}
    for shard, tensors in shards.items():
        for name in tensors:
            if weight_map.get(name) != shard:
                place = f"puts it in {weight_map[name]}" if name in weight_map else "does not name it"
                raise TensorTrainError(f"{index.parent / shard} holds {name!r}, and the index {index.name} {place}")
    for name, shard in weight_map.items():
        if name not in shards[shard]:
            raise TensorTrainError(f"{index.parent / shard} does not hold {name!r}, which the index {index.name} says")
    return {name: shards[shard][name] for name, shard in weight_map.items()}


def _read_index(index: Path) -> dict[str, str]:
    """The shard of each tensor."""
    if inputs.regular(index) > MOST_BYTES:
        raise TensorTrainError(f"cannot read {index}: an index has {MOST_BYTES} bytes at most")
    from tensortrain.schemas import parse_index

    try:
        weight_map = parse_index(index.read_bytes())
    except TensorTrainError as error:
        raise TensorTrainError(f"cannot read {index}: {error}") from None
    except OSError as error:
        raise TensorTrainError(f"cannot read {index}: {error.strerror}") from None
    for shard in dict.fromkeys(weight_map.values()):
        path = Path(shard)
        if path.is_absolute() or ".." in path.parts or "\0" in shard or not path.parts:
            raise TensorTrainError(f"{index} names the file {shard!r}, which is not in its folder")
        if not os.path.exists(index.parent / path):
            raise TensorTrainError(f"{index} names {shard}, which is not there; get all parts of the checkpoint")
    return weight_map

"""Read checkpoints in several files. An index `*.safetensors.index.json` says which file holds which tensor."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from tensortrain import inputs
from tensortrain.errors import TensorTrainError

INDEX = ".index.json"
MOST_BYTES = 2**26  # largest size of an index; that of a hundred thousand tensors has 10 MB
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)")


def find_file(path: Path) -> Path:
    """Return the file to read for the path of a checkpoint: the index, if there are several files.

    Args:
        path: a file, an index, one of the shards that an index names, the name of an index without `.index.json`, or a
            folder with one index or one file of weights.

    Raises:
        TensorTrainError: a folder holds no such file or several, or a shard has no index.
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
        raise TensorTrainError(
            f"{path} is one of {int(shard[2])} parts, but their index {index.name} is missing; put it beside them"
        )
    return index


def files_of(path: Path) -> list[Path]:
    """Return the files that a checkpoint consists of: one file, or an index and the shards that it names.

    Args:
        path: see `find_file`.

    Raises:
        TensorTrainError: `find_file` refuses the path, or the index is damaged.
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
    raise TensorTrainError(f"{folder} is a folder without a checkpoint; name a file")


def read_shards(index: Path, read: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Read the tensors of all shards, in the order of the index.

    Args:
        index: the file that names the shards, which are in the same folder.
        read: a function that reads the tensors of one shard.

    Raises:
        TensorTrainError: the index is damaged or names a file outside of its folder; or a shard is missing, cannot be
            read, or does not hold exactly the tensors that the index lists.
    """
    weight_map = _read_index(index)
    shards = {name: read(index.parent / name) for name in dict.fromkeys(weight_map.values())}
    for shard, tensors in shards.items():
        for name in tensors:
            if weight_map.get(name) != shard:
                place = f"lists it in {weight_map[name]}" if name in weight_map else "does not list it"
                raise TensorTrainError(f"{index.parent / shard} holds {name!r}, but the index {index.name} {place}")
    for name, shard in weight_map.items():
        if name not in shards[shard]:
            raise TensorTrainError(f"{index.parent / shard} lacks {name!r}, which the index {index.name} lists")
    return {name: shards[shard][name] for name, shard in weight_map.items()}


def _read_index(index: Path) -> dict[str, str]:
    """Read an index: the name of the shard by the name of the tensor."""
    if inputs.regular(index) > MOST_BYTES:
        raise TensorTrainError(f"cannot read {index}: an index may have at most {MOST_BYTES} bytes")
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
            raise TensorTrainError(f"{index} names {shard}, which is missing; get all parts of the checkpoint")
    return weight_map

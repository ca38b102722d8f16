"""Checkpoints that other programs wrote: safetensors, and torch files without running any pickle of theirs."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from torch import Tensor

from tensortrain import storage
from tensortrain.errors import TensorTrainError
from tensortrain.torch_files import read_torch

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training runs save the tensors


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a safetensors or torch checkpoint, by name, on the CPU.

    Torch files are read with `weights_only=True`. A `state_dict` nested in the file is unwrapped, a prefix
    `module.` that all names have is dropped, and whatever is not a tensor is left out.

    Raises:
        TensorTrainError: a file that is missing, truncated, holds no tensors, or more than plain data.
    """
    content: Any = storage.read(path)[0] if storage.is_safetensors(path) else read_torch(path).content
    if isinstance(content, Mapping):
        content = next((content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)), content)
    entries = content.items() if isinstance(content, Mapping) else ()
    tensors = {name: value for name, value in entries if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise TensorTrainError(f"{path} holds no tensors by name; save model.state_dict() to it")
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}

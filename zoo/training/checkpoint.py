"""Checkpoints: tensors and plain values, written aside and then renamed, and read without running code."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from zoo.errors import ZooError
from zoo.files import aside

FORMAT = 2
_KEYS = {"format", "model", "options", "step", "weights"}


def save_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that `path` is whole or not there at all, even after a power cut.

    Raises:
        ZooError: the file cannot be written.
    """
    with aside(path) as temporary, temporary.open("wb") as file:
        torch.save({"format": FORMAT, **checkpoint}, file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint that `save_checkpoint` wrote; its tensors are on the CPU.

    Raises:
        ZooError: no such file, a file that was cut short, or one that is not a checkpoint of the zoo.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ZooError(f"no checkpoint at {path}; train first, or name one of {path.parent}") from error
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise ZooError(f"{path} cannot be read as a checkpoint ({reason}); it may be cut short: use another") from error
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= _KEYS or checkpoint["format"] != FORMAT:
        raise ZooError(f"{path} is not a checkpoint of the zoo (format {FORMAT}); give one that `zoo train` wrote")
    return checkpoint

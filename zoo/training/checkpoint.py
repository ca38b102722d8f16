"""Checkpoints: tensors and plain values, written aside and then renamed, read without running any code in them."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from zoo.errors import ZooError
from zoo.files import aside

FORMAT = 1
_KEYS = {"format", "model", "options", "step", "weights"}


def save_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write `path` whole or not at all, power cuts included.

    Raises:
        ZooError: it cannot be written.
    """
    with aside(path) as temporary, temporary.open("wb") as file:
        torch.save({"format": FORMAT, **checkpoint}, file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, tensors to the CPU.

    Raises:
        ZooError: no such file, cut short, or not a checkpoint of the zoo.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ZooError(f"no checkpoint at {path}; train first, or name one of {path.parent}") from error
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise ZooError(f"{path} cannot be read as a checkpoint ({reason}); it may be cut short: use another") from error
    if not isinstance(found, dict) or not found.keys() >= _KEYS or found["format"] != FORMAT:
        raise ZooError(f"{path} is not a checkpoint of the zoo (format {FORMAT}); give one that `zoo train` wrote")
    return found

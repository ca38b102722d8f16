"""The command `tensortrain`, in this process and as a user types it."""

import subprocess
import sys

import pytest
import torch

from tensortrain.cli import main


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def run(*arguments):
    """The command in this process; its exit status."""
    with pytest.raises(SystemExit) as exit:
        main([str(argument) for argument in arguments])
    return exit.value.code or 0


def shell(*arguments, **settings):
    """The command as a user types it."""
    command = [sys.executable, "-m", "tensortrain", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **settings)

"""Compiled cells."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from zoo.errors import ZooError
from zoo.video_model import VideoModel


def compile_cells(model: VideoModel) -> None:
    """`torch.compile` on the step of each of the model's cells, rather than on the unrolled loop; see `compiling`.

    Raises:
        ZooError: the model has no cells.
    """
    cells: list[Any] = [module for module in model.modules() if callable(getattr(module, "step", None))]
    if not cells:
        raise ZooError("no cell of this model has a step to compile; leave training.compile off")
    for cell in cells:
        cell.step = torch.compile(cell.step, dynamic=False)


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Where compiled cells may run: with room for a graph of every layer's shape.

    Raises:
        ZooError: nothing can be compiled here.
    """
    import torch._dynamo as dynamo

    try:
        # past its limit dynamo would go on eagerly, and say nothing
        with dynamo.config.patch(recompile_limit=64, fail_on_recompile_limit_hit=True):
            yield
    except dynamo.exc.ShortenTraceback as error:
        reason = " ".join(str(error).split())[:200]
        raise ZooError(f"torch.compile does not work here ({reason}); leave training.compile off") from error

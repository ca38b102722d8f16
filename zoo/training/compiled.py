"""Compile the cells of a model with `torch.compile`."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from zoo.errors import ZooError
from zoo.predictor import Predictor


def compile_cells(model: Predictor) -> None:
    """Compile the step of each cell, rather than the unrolled loop over the frames. Run the model within `compiling()`.

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
    """Run compiled cells within this block: it lets them compile a graph for the shapes of every layer.

    They launch their kernels one by one: `zoo.training.graph` records these, and cannot record a recording.

    Raises:
        ZooError: `torch.compile` does not work on this machine.
    """
    import torch._dynamo as dynamo
    import torch._inductor.config as inductor

    try:
        # beyond its limit dynamo would silently run the cells uncompiled
        limits = dynamo.config.patch(recompile_limit=64, fail_on_recompile_limit_hit=True)
        with limits, inductor.patch({"triton.cudagraphs": False}):
            yield
    except dynamo.exc.ShortenTraceback as error:
        reason = " ".join(str(error).split())[:200]
        raise ZooError(f"torch.compile does not work here ({reason}); leave training.compile off") from error

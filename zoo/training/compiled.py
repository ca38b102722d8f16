"""Compile a model with `torch.compile`: the cells of a video model, or the whole rollout of a series model."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from zoo.errors import ZooError
from zoo.predictors.predictor import Predictor
from zoo.predictors.series_model import SeriesModel


def compile_model(model: Predictor) -> None:
    """Compile the step of each cell, or the whole rollout of a series model. Run the model inside `compiling()`.

    In a video model, the time is spent in the cells, so the loop over frames stays as it is and compiling is quick. In
    a series model, calling an operator takes longer than computing it, so all steps become one graph. Compiling that
    may take minutes. It is repeated for another batch size or number of steps.

    Raises:
        ZooError: if a video model has no cells.
    """
    if isinstance(model, SeriesModel):
        model.forward = torch.compile(model.forward, dynamic=False)  # type: ignore[method-assign]
        return
    cells: list[Any] = [module for module in model.modules() if callable(getattr(module, "step", None))]
    if not cells:
        raise ZooError("this model has no cell with a step to compile; leave training.compile off")
    for cell in cells:
        cell.step = torch.compile(cell.step, dynamic=False)


@contextlib.contextmanager
def compiling() -> Iterator[None]:
    """Context manager in which to run a compiled model. It allows as many compiled graphs as the layers have shapes.

    Triton's own CUDA graphs are switched off: `zoo.training.graph` records the kernels, and a recording cannot be
    recorded again.

    Raises:
        ZooError: if `torch.compile` does not work on this machine.
    """
    import torch._dynamo as dynamo
    import torch._inductor.config as inductor

    try:
        # beyond its limit, dynamo would run the cells uncompiled without a word
        limits = dynamo.config.patch(recompile_limit=64, fail_on_recompile_limit_hit=True)
        with limits, inductor.patch({"triton.cudagraphs": False}):
            yield
    except dynamo.exc.ShortenTraceback as error:
        reason = " ".join(str(error).split())[:200]
        raise ZooError(f"torch.compile does not work here ({reason}); leave training.compile off") from error

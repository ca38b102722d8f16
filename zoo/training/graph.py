"""Record a training step as a CUDA graph: forward, loss, backward, clipping and optimiser of all frames in one launch.

A step of twelve layers over twenty frames launches about ten thousand kernels, most of which take less time than Python
needs to launch one. A replayed graph launches all of them at once. It repeats the same operators on the same memory. So
everything that changes from step to step is copied into tensors at fixed addresses.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from zoo.errors import ZooError
from zoo.training.step import StepInputs, TrainState, train_step

Results = TypeVar("Results")
WARM_UP = 3  # ordinary steps before the recording


class Graphed(Generic[Results]):
    """A function of tensors. The first calls run it as usual; then it is recorded, and later calls replay it.

    Every call computes the function once. If the shapes of the inputs change, the function is recorded again.

    Args:
        run: a function of nested tensors that returns tensors or nothing. Everything else that it reads or changes must
            be tensors at fixed addresses.
        warm_up: number of ordinary calls before the recording, on a separate stream. In these calls libraries
            initialise, kernels are compiled, and memory for gradients and the optimiser's moments is allocated.
    """

    def __init__(self, run: Callable[[Any], Results], warm_up: int = WARM_UP) -> None:
        self._run, self._warm_up = run, warm_up
        self._specs: Any = None

    def __call__(self, inputs: Any) -> Results:
        """Return the results. The next call overwrites them.

        Raises:
            ZooError: if the function does something that cannot be recorded, such as reading a number from the device.
        """
        specs = pytree.tree_map(lambda x: (x.shape, x.dtype, x.device), inputs)
        if specs != self._specs:
            self._specs, self._calls = specs, 0
            self._graph: torch.cuda.CUDAGraph | None = None
            self._inputs = pytree.tree_map(torch.clone, inputs)
        else:
            pytree.tree_map(Tensor.copy_, self._inputs, inputs)
        self._calls += 1
        if self._calls <= self._warm_up:
            return self._aside()
        if self._graph is None:
            self._graph, self._results = self._record()
        self._graph.replay()
        return self._results

    def _aside(self) -> Results:
        """Call the function on a separate stream."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            results = self._run(self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        return results

    def _record(self) -> tuple[torch.cuda.CUDAGraph, Results]:
        graph = torch.cuda.CUDAGraph()
        try:
            # other threads may call CUDA meanwhile, for instance the one that pins memory for the loader
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                return graph, self._run(self._inputs)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ZooError(
                f"this step cannot be recorded as a CUDA graph ({reason}); set training.graph to false"
            ) from error


def fastest_step(state: TrainState) -> Callable[[StepInputs], None]:
    """`train_step` for a state, recorded as a graph if the settings ask for it and it is possible, or else plain."""
    step = partial(train_step, state)
    if state.recipe.training.graph and state.recordable and state.fabric.world_size == 1:
        return Graphed(step)
    return step

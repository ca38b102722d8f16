"""Record a training step as a CUDA graph: forward, loss, backward, clipping and optimiser of all frames in one launch.

A step of twelve layers over twenty frames launches some ten thousand kernels, most of them shorter than the time that
Python takes to launch one. A replayed graph launches them all at once. It repeats the very same operators on the very
same memory, so whatever changes from step to step is copied into tensors that stay where they are.
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
WARM_UP = 3  # steps


class Graphed(Generic[Results]):
    """A function of tensors that is called as usual a few times, then recorded, and replayed from then on.

    Every call computes the function once. If a call comes with tensors of other shapes, the function is recorded anew.

    Args:
        run: takes nested tensors and returns tensors, or nothing. All else that it reads and changes must be tensors
            that stay where they are.
        warm_up: ordinary calls before the recording, on a stream of their own: libraries set themselves up in them,
            kernels are compiled, gradients and the optimiser's moments get their memory.
    """

    def __init__(self, run: Callable[[Any], Results], warm_up: int = WARM_UP) -> None:
        self._run, self._warm_up = run, warm_up
        self._specs: Any = None

    def __call__(self, inputs: Any) -> Results:
        """The results; the next call overwrites them.

        Raises:
            ZooError: the function does what cannot be recorded, such as reading a number from the device.
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
        """Call the function on a stream of its own."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            results = self._run(self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        return results

    def _record(self) -> tuple[torch.cuda.CUDAGraph, Results]:
        graph = torch.cuda.CUDAGraph()
        try:
            # other threads, such as one that pins memory for the loader, may do what a recording may not
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                return graph, self._run(self._inputs)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ZooError(
                f"this step cannot be recorded as a CUDA graph ({reason}); set training.graph to false"
            ) from error


def fastest_step(state: TrainState) -> Callable[[StepInputs], None]:
    """`train_step` of a state: recorded as a graph if the settings ask for it and it works here, else as it is."""
    step = partial(train_step, state)
    if state.recipe.training.graph and state.recordable and state.fabric.world_size == 1:
        return Graphed(step)
    return step

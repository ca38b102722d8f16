"""Run a network once to see which layers run, in which order, on which shapes, and which code reads their weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from tensortrain.profiling.macs import Recorder

# functions that read a property of a tensor, but none of its entries
_PROPERTIES = (
    "shape",
    "dtype",
    "device",
    "ndim",
    "layout",
    "requires_grad",
    "is_cuda",
    "is_meta",
    "is_leaf",
    "itemsize",
)
_METHODS = ("size", "dim", "numel", "stride", "element_size", "is_floating_point", "is_complex", "ndimension")
HARMLESS = {getattr(Tensor, name).__get__ for name in _PROPERTIES} | {getattr(Tensor, name) for name in _METHODS}


@dataclass
class Use:
    """The calls of a layer in one forward pass.

    Attributes:
        inputs: shape of the input of each call.
        outputs: shape of the output of each call.
        read: whether code outside of the layer read its weight.
    """

    inputs: list[tuple[int, ...]] = field(default_factory=list)
    outputs: list[tuple[int, ...]] = field(default_factory=list)
    read: bool = False

    @property
    def calls(self) -> int:
        """Number of calls."""
        return len(self.inputs)


@dataclass(frozen=True)
class Trial:
    """The result of a trial forward pass.

    Attributes:
        uses: the calls of each layer, by name. Layers that were called come first, in the order of their first call.
        samples: number of samples in the batch.
        macs: multiply-accumulates for each sample.
        bytes: largest memory that the inputs and outputs of one module take, in bytes for each sample.
        output: output of the network.
    """

    uses: dict[str, Use]
    samples: int
    macs: float
    bytes: int
    output: Any


def observe(run: Callable[[], Any], model: nn.Module, layers: Mapping[str, nn.Module], samples: int) -> Trial:
    """Run a network once and record the calls of its layers.

    Args:
        run: a function that computes one batch with `model`.
        model: the network. It gets hooks during the run.
        layers: the layers to record, by name.
        samples: number of samples in the batch.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    >>> trial = observe(lambda: model(torch.zeros(5, 1, 4, 4)), model, {"0": model[0], "2": model[2]}, 5)
    >>> trial.uses["0"].outputs, trial.macs == 4 * 18 + 24
    ([(5, 2, 2, 2)], True)
    """
    watch = _Watch(layers)
    handles: list[Any] = []
    try:
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):  # it has no hooks, and no layer that could be replaced
                continue
            handles.append(module.register_forward_pre_hook(watch.enter))
            handles.append(module.register_forward_hook(watch.leave, with_kwargs=True, always_call=True))
        with watch, Recorder() as recorder:
            output = run()
    finally:
        for handle in handles:
            handle.remove()
    called = sorted((name for name in layers if watch.uses[name].calls), key=watch.order.index)
    uses = {name: watch.uses[name] for name in [*called, *(n for n in layers if n not in called)]}
    return Trial(uses, samples, recorder.count.macs / samples, watch.bytes // samples, output)


class _Watch(TorchFunctionMode):
    """Keeps track of the running modules, and records when other code reads the weight of a layer."""

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names = {module: name for name, module in layers.items()}
        self.uses = {name: Use() for name in layers}
        self.order: list[str] = []
        self.bytes = 0
        self._running: list[nn.Module] = []
        self._owners = {id(p): module for module in layers.values() for p in module.parameters()}

    def enter(self, module: nn.Module, args: Any) -> None:
        self._running.append(module)

    def leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._running.pop()
        if output is None:  # the module raised an error
            return
        tensors = [x for x in pytree.tree_leaves((args, kwargs, output)) if isinstance(x, Tensor)]
        self.bytes = max(self.bytes, sum(x.numel() * x.element_size() for x in tensors))
        name = self.names.get(module)
        if name is not None and isinstance(output, Tensor):
            input = args[0] if args else kwargs["input"]
            self.uses[name].inputs.append(tuple(input.shape))
            self.uses[name].outputs.append(tuple(output.shape))
            if name not in self.order:
                self.order.append(name)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in HARMLESS:
            for x in pytree.tree_leaves((args, kwargs)):
                owner = self._owners.get(id(x))
                if owner is not None and owner not in self._running:
                    self.uses[self.names[owner]].read = True
        return func(*args, **kwargs)

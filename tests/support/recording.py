"""CUDA graphs imitated on a CPU, and the rules that a step must keep to be recorded as one."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


def tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def place(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


class Tape(TorchDispatchMode):
    """Records the operators of its block with the tensors themselves, and repeats them on the same memory.

    Like the recording of a CUDA graph it leaves no trace: what the block wrote is restored when it ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self._before: list[tuple[Tensor, Tensor]] = []
        self._own: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        named = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)} | kwargs
        for argument in func._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write:
                written = [x for x in tensors(named[argument.name]) if place(x) not in self._own]
                self._before += [(x, x.clone()) for x in written]
        result = func(*args, **kwargs)
        if not func.is_view:
            self._calls.append((func, args, kwargs, tensors(result)))
            self._own |= {place(x) for x in tensors(result)} - {place(x) for x in tensors((args, kwargs))}
        return result

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        with torch.no_grad():
            for x, value in reversed(self._before):
                x.copy_(value)

    def replay(self) -> None:
        with torch.inference_mode():
            for func, args, kwargs, results in self._calls:
                for kept, new in zip(results, tensors(func(*args, **kwargs)), strict=True):
                    kept.copy_(new)


def imitate_graphs(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """Imitate CUDA's streams and graphs on the CPU, where steps then count as recordable; the replays, as they come."""
    replayed: list[Tape] = []

    class Stream:
        def wait_stream(self, other: Any) -> None:
            pass

    class Graph:
        tape: Tape

        def replay(self) -> None:
            replayed.append(self.tape)
            self.tape.replay()

    @contextlib.contextmanager
    def record(graph: Graph, capture_error_mode: str) -> Iterator[None]:
        with Tape() as graph.tape:
            yield

    for name, stand_in in {
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "CUDAGraph": Graph,
        "graph": record,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr("zoo.training.step.recordable", lambda fabric, precision: True)
    return replayed


class Operators(TorchDispatchMode):
    """Lists the operators of its block: names, shapes, and numbers that they are called with."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        values = [tuple(x.shape) if isinstance(x, Tensor) else x for x in pytree.tree_leaves((args, kwargs))]
        if func.namespace != "profiler":  # marks for a profile, which no device sees
            self.calls.append((str(func), *values))
        return func(*args, **(kwargs or {}))


# results that the host waits for, or whose size depends on the numbers in a tensor
READ_BACK = {
    aten._local_scalar_dense,
    aten.equal,
    aten.nonzero,
    aten.masked_select,
    aten.repeat_interleave,
    aten._unique2,
    aten.unique_dim,
    aten.bincount,
}
# tensors made from Python numbers, such as `torch.tensor(0.5)`; a `scalar_tensor` is filled by the device
FROM_HOST = {aten.lift_fresh}
HOST_METHODS = {
    torch.Tensor.item,
    torch.Tensor.tolist,
    torch.Tensor.numpy,
    torch.Tensor.cpu,
    torch.Tensor.cuda,
    torch.Tensor.pin_memory,
    torch.Tensor.__bool__,
    torch.Tensor.__int__,
    torch.Tensor.__float__,
    torch.Tensor.__index__,
    torch.tensor,
    torch.as_tensor,
    torch.from_numpy,
}


class Unrecordable(AssertionError):
    """What cannot be part of a recorded step."""


class _OnTheDevice(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in READ_BACK | FROM_HOST:
            raise Unrecordable(str(func))
        if func.overloadpacket is aten.index and any(x is not None and x.dtype == torch.bool for x in args[1]):
            raise Unrecordable(f"{func} by a mask")
        result = func(*args, **kwargs)
        if len({x.device for x in tensors((args, kwargs, result))}) > 1:
            raise Unrecordable(f"{func} from one device to another")
        return result


class _NothingToTheHost(TorchFunctionMode):
    """What does nothing to a tensor that is on the CPU already, and so never reaches an operator there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in HOST_METHODS:
            raise Unrecordable(func.__name__)
        if func is torch.Tensor.to and any(isinstance(x, str | torch.device) for x in (*args[1:], *kwargs.values())):
            target = torch.device(next(x for x in (*args[1:], *kwargs.values()) if isinstance(x, str | torch.device)))
            if isinstance(args[1] if len(args) > 1 else None, str) or target != args[0].device:
                raise Unrecordable(f"to({target})")
        return func(*args, **kwargs)


@contextlib.contextmanager
def only_recordable() -> Iterator[None]:
    """Raise `Unrecordable` where the block does what a CUDA graph cannot record."""
    with _OnTheDevice(), _NothingToTheHost():
        yield

"""Keep the state of a network as it is while the network runs.

A network may remember what it has seen: in a buffer, such as a running mean, or in an attribute, such as a hidden state
or a cache. A compression runs it many times. Every pass must start from the state that the user's network has, so that
passes can be compared, and the result must be returned in that state.
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

OWN = frozenset(vars(nn.Module()))  # attributes of torch itself, such as hooks and the dict of submodules
CONTAINERS = (list, dict, OrderedDict, defaultdict, deque, set)  # copied with the tensors inside; subclasses are not
VALUES = (bool, int, float, complex, str, torch.Size)  # compared by value


class KeptState:
    """Lets the modules of a network work on copies of their state, and puts the state itself back at the end.

    The state is not written to at all, so an output that is a part of it keeps its values. Parameters, submodules and
    objects other than tensors and plain containers are not copied. Neither are scripted modules.

    Args:
        model: the network.
        changing: modules of the network whose state may change.

    Attributes:
        changed: whether the network changed its state; known at the end.

    >>> norm = nn.BatchNorm1d(2)
    >>> with KeptState(norm) as state:
    ...     y = norm(torch.randn(5, 2))
    >>> state.changed, norm.running_mean
    (True, tensor([0., 0.]))
    """

    def __init__(self, model: nn.Module, changing: Collection[nn.Module] = ()) -> None:
        self.changed = False
        self._copies = _Copies()
        self._places: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for module in model.modules():
            if module in changing or isinstance(module, torch.jit.ScriptModule):
                continue
            for values in (vars(module), module._buffers):
                self._places.append((values, _state(values)))

    def __enter__(self) -> "KeptState":
        copies = [{name: self._copies.of(value) for name, value in before.items()} for _, before in self._places]
        for (values, _), during in zip(self._places, copies, strict=True):  # only now, as memory may not suffice
            values.update(during)
        return self

    def __exit__(self, *error: object) -> None:
        self.changed = any(not self._copies.holds(before, _state(values)) for values, before in self._places)
        for values, before in self._places:
            for name in _state(values).keys() - before.keys():
                del values[name]
            values.update(before)


def _state(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in OWN}


class _Copies:
    """Copies of values, one for each object and each memory, so that what was shared stays shared, also by views."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}
        self._memory: dict[tuple[torch.device, int], torch.UntypedStorage] = {}  # copies, by the address of the memory
        self._versions: dict[int, int] = {}  # of each copied tensor; torch counts the changes in place
        self._compared: set[tuple[int, int]] = set()  # ends the comparison of a container that contains itself

    def of(self, value: Any) -> Any:
        """Return the copy of a value, or the value itself if it is neither a tensor nor a plain container."""
        if id(value) in self._known:
            return self._known[id(value)]
        if isinstance(value, Tensor):
            fixed = isinstance(value, nn.Parameter) or nn.parameter.is_lazy(value)
            copy: Any = value if fixed else self._copied(value)
            if not fixed:
                self._versions[id(copy)] = copy._version
        elif type(value) is tuple:
            copy = tuple(map(self.of, value))
        elif type(value) in CONTAINERS:
            copy = value.copy()
            self._known[id(value)] = copy  # before its entries, since one of them may be the container itself
            pairs = value.items() if isinstance(value, dict) else enumerate(() if isinstance(value, set) else value)
            for key, entry in pairs:
                copy[key] = self.of(entry)
        else:
            return value
        self._known[id(value)] = copy
        return copy

    def _copied(self, value: Tensor) -> Tensor:
        """Return a copy of a tensor. Views of the same memory become views of the same copy."""
        lazy = value.is_conj() or value.is_neg()  # a bit that says how the memory is to be read
        if type(value) is not Tensor or value.layout != torch.strided or value.is_quantized or value.is_meta or lazy:
            return value.detach().clone()
        memory = value.untyped_storage()
        place = memory.device, memory.data_ptr()
        if place not in self._memory:
            self._memory[place] = memory.clone()  # type: ignore[no-untyped-call]
        copy = torch.empty(0, dtype=value.dtype, device=value.device)
        return copy.set_(self._memory[place], value.storage_offset(), value.shape, value.stride())

    def holds(self, before: Any, after: Any) -> bool:
        """Return whether a value is equal to what it was, so that the network can go on with either.

        Tensors are compared by their values, because some networks compute a constant anew in every pass.
        """
        if before is after:
            return True
        if isinstance(before, Tensor) and isinstance(after, Tensor):
            is_copy = self._known.get(id(before)) is after
            return (is_copy and after._version == self._versions[id(after)]) or _equal(before, after)
        if type(before) is not type(after):
            return False
        if isinstance(before, CONTAINERS):
            if (id(before), id(after)) in self._compared:
                return True
            self._compared.add((id(before), id(after)))
        if isinstance(before, dict):
            return before.keys() == after.keys() and all(self.holds(v, after[k]) for k, v in before.items())
        if type(before) in (tuple, list, deque):
            return len(before) == len(after) and all(map(self.holds, before, after))
        return isinstance(before, (*VALUES, set)) and bool(before == after)


def _equal(a: Tensor, b: Tensor) -> bool:
    if (a.shape, a.dtype, a.device, a.layout) != (b.shape, b.dtype, b.device, b.layout):
        return False
    return a.layout == torch.strided and torch.equal(a, b)

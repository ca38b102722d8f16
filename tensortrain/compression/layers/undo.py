"""Put a model back to what it was, after a change of its layers or tensors that has failed half-way."""

from collections.abc import Callable

import torch
from torch import nn


def attributes(model: nn.Module) -> Callable[[], None]:
    """Return a function that gives all modules of a model the attributes, submodules and tensors that they have now.

    The entries of the tensors are not kept.

    >>> net = nn.Sequential(nn.Linear(2, 3))
    >>> undo = attributes(net)
    >>> net[0] = nn.ReLU()
    >>> undo()
    >>> net[0]
    Linear(in_features=2, out_features=3, bias=True)
    """
    own = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
    places = [values for m in own for values in (vars(m), m._modules, m._parameters, m._buffers)]
    before = [dict(values) for values in places]

    def undo() -> None:
        for values, former in zip(places, before, strict=True):
            values.clear()
            values.update(former)

    return undo


def entries(model: nn.Module) -> Callable[[], None]:
    """Return a function that writes to all parameters and buffers of a model the entries that they have now.

    >>> net = nn.Linear(2, 3)
    >>> undo, weight = entries(net), net.weight.detach().clone()
    >>> nn.init.zeros_(net.weight).sum().item()
    0.0
    >>> undo()
    >>> torch.equal(net.weight, weight)
    True
    """
    tensors = (x for x in (*model.parameters(), *model.buffers()) if x.layout == torch.strided and not x.is_meta)
    # whole memories, since tensors may share one, and torch does not write to a tensor whose own entries share a place
    memory = {(x.device, x.untyped_storage().data_ptr()): x.untyped_storage() for x in tensors}
    copies = {place: storage.clone() for place, storage in memory.items()}  # type: ignore[no-untyped-call]

    def undo() -> None:
        for place, copy in copies.items():
            memory[place].copy_(copy)

    return undo

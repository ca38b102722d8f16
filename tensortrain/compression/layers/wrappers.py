"""Remove the wrappers of a model, and refuse models whose layers cannot be replaced."""

import torch
from torch import nn

from tensortrain.errors import TensorTrainError


def unwrapped(model: object) -> nn.Module:
    """Return the module inside `DataParallel`, `DistributedDataParallel` and `torch.compile`, or else the model itself.

    Raises:
        TensorTrainError: the model is not a module, or it is a scripted module or an exported program, whose layers are
            not modules.

    >>> unwrapped(nn.DataParallel(nn.Linear(2, 3)))
    Linear(in_features=2, out_features=3, bias=True)
    """
    inner = getattr(model, "_orig_mod", None)
    if isinstance(inner, nn.Module):
        return unwrapped(inner)
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(model.module)
    if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise TensorTrainError(
            f"model is a {type(model).__name__}, a scripted or traced graph without layers that could be replaced;"
            " compress the Python module that it was made from, and script the result"
        )
    if isinstance(model, torch.export.ExportedProgram):
        raise TensorTrainError(
            "model is an ExportedProgram, a graph of operators without layers that could be replaced; compress the"
            " module that it was made from, and export the result"
        )
    if not isinstance(model, nn.Module):
        raise TensorTrainError(f"model is a {type(model).__name__}; an nn.Module is needed")
    return model

"""What the tasks of `libraries.py` have in common: other libraries, and what each of them runs."""

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tensortrain import TensorTrain

F64 = torch.float64

Run = Callable[[], Any]


class Task(NamedTuple):
    """What each library runs for a task, and what is said about its result."""

    task: str
    case: str
    runs: dict[str, Run]
    result: Callable[[Any], str]


def peer(name: str) -> Any:
    """The module of a library, silenced while it is imported, or None if it is not installed."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


TORCHTT, TNTORCH, TENEVA, QUIMB = peer("torchtt"), peer("tntorch"), peer("teneva"), peer("quimb.tensor")


def arrays(train: TensorTrain) -> Any:
    """The train as teneva has it."""
    return [np.ascontiguousarray(array) for array in train.to_arrays()]


def relative(exact: TensorTrain | Tensor) -> Callable[[Any], str]:
    """Says the relative Frobenius error of a train of any library, of its cores, or of a tensor or number."""

    def error(result: Any) -> str:
        if isinstance(exact, TensorTrain):
            train = result if isinstance(result, TensorTrain) else TensorTrain.from_foreign(result)
            return f"{float((train - exact).norm() / exact.norm()):.1e}"
        return f"{float((torch.as_tensor(result, dtype=exact.dtype) - exact).norm() / exact.norm()):.1e}"

    return error

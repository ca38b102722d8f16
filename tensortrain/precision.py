"""Calculations in the dtype of the stored numbers, also under `torch.autocast`.

Autocast is meant for products with inputs, as in the layers and in `evaluate`. A decomposition under autocast would run
partly in half precision: it would miss its tolerance, and its cores would have different dtypes.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

_KINDS = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def full_precision() -> Iterator[None]:
    """Switch autocast off on all devices within the block.

    >>> a = torch.ones(2, 2)
    >>> with torch.autocast("cpu", torch.bfloat16), full_precision():
    ...     (a @ a).dtype
    torch.float32
    """
    with ExitStack() as stack:
        for kind in _KINDS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def precise(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function so that it runs in `full_precision`.

    >>> a = torch.ones(2, 2)
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     precise(torch.matmul)(a, a).dtype
    torch.float32
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        if not torch._C._is_any_autocast_enabled():  # the common case costs a microsecond
            return function(*args, **kwargs)
        with full_precision():
            return function(*args, **kwargs)

    return wrapped

"""Calls that must raise the one exception type, with fragments that its message must hold."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from tensortrain import TensorTrainError

Call = Callable[[], object]


def ones(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.ones(shape, dtype=dtype)


WEIGHT = ones(4, 3, 5, 5)


def check(call: Call, *fragments: str) -> None:
    with pytest.raises(TensorTrainError) as caught:
        call()
    for fragment in fragments:
        assert fragment in str(caught.value), str(caught.value)


def table(*rows: tuple[Call, Sequence[str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("call", "fragments"), rows, ids=[" ".join(fragments)[:60] for _, fragments in rows])

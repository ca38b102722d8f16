"""Trains of other libraries, as they come and as they go, and dense arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.tt import functional
from tensortrain.tt.container import Cores

MOST_BYTES = 2**32
"""Of an array that is made without being asked for by name."""


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Exchange(Cores):
    """Conversions of cores `(R_{l-1}, I_l, R_l)` that share their numbers where both sides can."""

    def numpy(self) -> "np.ndarray[Any, Any]":
        """The dense tensor as a NumPy array, `(I_1, …, I_m)`, also by `np.asarray(train)`.

        Raises:
            TensorTrainError: more than 4 GiB (take entries by indexing), cores that require a gradient (`detach()`
                first) or are not on the CPU (`cpu()` first), or a dtype that NumPy does not have.

        >>> import numpy as np, tensortrain as tt
        >>> np.asarray(tt.TensorTrain.ones((2, 3))).shape
        (2, 3)
        """
        entries = self.ranks[0] * self.ranks[-1]
        for core in self.cores:
            entries *= core.shape[1]
        if entries * self.dtype.itemsize > MOST_BYTES:
            raise TensorTrainError(
                f"the dense array would have {entries:,} entries, more than {MOST_BYTES >> 30} GiB; look up the "
                "entries that you need, train[i, j, …]"
            )
        if self.requires_grad:
            raise TensorTrainError("a NumPy array has no gradient; call train.detach().numpy()")
        if self.device.type != "cpu":
            raise TensorTrainError(f"the train is on {self.device}, and NumPy on the CPU; call train.cpu().numpy()")
        if self.dtype == torch.bfloat16:
            raise TensorTrainError("NumPy has no bfloat16; call train.to(torch.float32).numpy()")
        return functional.tt_reconstruct([core.resolve_conj().resolve_neg() for core in self.cores]).numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
        if copy is False:
            raise TensorTrainError("a train has no dense array that could be shared; without copy=False one is built")
        return self.numpy().astype(dtype, copy=False)

    def to_tensorly(self) -> Any:
        """A `tensorly.tt_tensor.TTTensor` of the same cores; TensorLy needs its PyTorch backend to work on it.

        Raises:
            TensorTrainError: boundary ranks above 1, which TensorLy does not have.
        """
        if self.ranks[0] * self.ranks[-1] != 1:
            raise TensorTrainError(f"ranks = {self.ranks}: TensorLy needs boundary ranks of 1")
        import tensorly
        from tensorly.tt_tensor import TTTensor

        with tensorly.backend_context("pytorch", local_threadsafe=True):
            return TTTensor(list(self.cores))

    @classmethod
    def from_tensorly(cls, factors: Iterable[Any]) -> Self:
        """A train from a `TTTensor`, or from any sequence of its factors as tensors or NumPy arrays.

        Raises:
            TensorTrainError: factors that are no numbers, or not those of a train.
        """
        try:
            return cls([factor if isinstance(factor, Tensor) else torch.tensor(factor) for factor in factors])
        except (TypeError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise TensorTrainError(f"factors are no tensors or arrays of numbers: {reason}") from None

"""Set how cuDNN chooses its convolution algorithms within a block of code."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Convolutions:
    """The rules by which cuDNN chooses its convolution algorithms; they are ignored on a CPU.

    With the defaults, results are computed in full 32 bits and repeat bit for bit.

    Args:
        deterministic: whether only algorithms are used that give the same bits every time.
        benchmark: whether the algorithms are timed for each new shape and the fastest is used.
        precision: "ieee" or "tf32" for convolutions of 32-bit tensors.
    """

    deterministic: bool = True
    benchmark: bool = False
    precision: str = "ieee"

    @classmethod
    def now(cls) -> "Convolutions":
        """Return the current setting."""
        cudnn: Any = torch.backends.cudnn
        return cls(cudnn.deterministic, cudnn.benchmark, cudnn.conv.fp32_precision)

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Apply the setting within the block."""
        before = self.now()
        self._set()
        try:
            yield
        finally:
            before._set()

    def _set(self) -> None:
        """Apply the setting."""
        cudnn: Any = torch.backends.cudnn
        cudnn.deterministic, cudnn.benchmark = self.deterministic, self.benchmark
        cudnn.conv.fp32_precision = self.precision

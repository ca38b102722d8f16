"""How cuDNN chooses its convolution algorithms, as a setting for a block of code."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Convolutions:
    """How cuDNN chooses its convolution algorithms. The defaults repeat bit for bit, in full 32 bits. Ignored on a CPU.

    Args:
        deterministic: only algorithms that give the same bits every time.
        benchmark: time the algorithms on each new shape and keep the fastest.
        precision: "ieee" or "tf32" for convolutions of 32-bit tensors.
    """

    deterministic: bool = True
    benchmark: bool = False
    precision: str = "ieee"

    @classmethod
    def now(cls) -> "Convolutions":
        """The present setting."""
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
        cudnn: Any = torch.backends.cudnn
        cudnn.deterministic, cudnn.benchmark = self.deterministic, self.benchmark
        cudnn.conv.fp32_precision = self.precision

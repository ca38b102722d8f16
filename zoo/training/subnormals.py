"""Flush subnormal numbers to zero while training on a CPU, which is faster."""

import contextlib
import ctypes
from collections.abc import Iterator

import torch

_OMP_PAUSE_HARD = 2


@contextlib.contextmanager
def subnormals_as_zero() -> Iterator[None]:
    """Context manager: treat 32-bit numbers below 1.2e-38 as zero on the CPU, which computes them 100 times slower.

    Gradients of a deep network become that small where frames are black. Other Python threads keep their setting.
    """
    before = not torch.tensor(1e-40, dtype=torch.float32, device="cpu") * 1  # torch has no function that tells
    _set(True)
    try:
        yield
    finally:
        _set(before)


def _set(zero: bool) -> None:
    torch.set_flush_denormal(zero)  # for this thread and for threads that it will start
    if torch.get_num_threads() > 1:
        with contextlib.suppress(OSError, AttributeError, TypeError):  # if it fails, threads keep their setting
            ctypes.CDLL(None).omp_pause_resource_all(_OMP_PAUSE_HARD)  # ends idle threads

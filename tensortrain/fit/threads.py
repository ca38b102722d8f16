"""How many threads a solver should use."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 1.5e8  # multiplications of a step below which a second thread waits more than it works


@contextmanager
def threads_for(multiplications: float) -> Iterator[None]:
    """One thread for problems of many small operations, all threads for large ones; restored afterwards.

    On a busy machine the difference is large: a thread that waits at each small operation for one that the
    operating system has suspended slowed a 16-channel fit from 0.4 s to 20 s.
    """
    before = torch.get_num_threads()
    if multiplications < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""What every solver is told besides the kernel: seed, when to stop, and whom to tell of a step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

WORK = 1.2e11  # multiplications after which a fit stops, so that the largest kernels stay within seconds
FEWEST = 12  # steps that are always taken
SMALL = 1.5e8  # multiplications of a step below which a second thread waits more than it works


@dataclass(frozen=True)
class Task:
    """How to run a solver.

    Attributes:
        seed: of random starts.
        target: relative error at which to stop.
        tick: called after every step.
        effort: how much more work than usual is worth it.
        ridge: penalty on the squared norms of the cores, against cores that cancel each other.
    """

    seed: int
    target: float
    tick: Callable[[], None]
    effort: float = 1.0
    ridge: float = 0.0

    def steps(self, multiplications: float, most: int) -> int:
        """Steps that the work allows if each costs so many multiplications; usually at most `most`."""
        return max(FEWEST, min(int(self.effort * most), int(self.effort * WORK / multiplications)))


@contextmanager
def threads_for(multiplications: float) -> Iterator[None]:
    """One thread for problems of many small operations, all threads for large ones; restored afterwards.

    On a busy machine the difference is large: waiting at every small operation for a thread that the operating
    system has suspended slowed a 16-channel fit from 0.4 s to 20 s.
    """
    before = torch.get_num_threads()
    if multiplications < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""What every solver is told besides the kernel: seed, when to stop, and whom to tell of a step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

WORK = 0.55e11  # multiplications after which a fit stops, so that the largest kernels stay within seconds
FEWEST = 10  # steps that are always taken
SMALL = 4_000_000  # entries of a kernel below which further threads wait more than they work
SMALL_KERNEL = 20_000  # entries of a kernel that is cheap enough for several starts


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
def threads_for(entries: int) -> Iterator[None]:
    """One thread for kernels whose solvers do many small operations, all threads for larger ones; restored afterwards.

    On a busy machine the difference is large: waiting at every small operation for a thread that the operating
    system has suspended slowed a 16-channel fit from 0.4 s to 20 s, and a 256-channel one from 13 s to 64 s.
    """
    before = torch.get_num_threads()
    if entries < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Options shared by all solvers: random seed, target error, work and time limits, ridge, progress callback."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

WORK = 0.55e11  # multiplications after which a fit stops, so that the largest kernels stay within seconds
FEWEST = 10  # steps that a fit may take at the usual effort, however dear they are
SHORTEST = 3  # steps of the shortest fit
OVERHEAD = 1e7  # multiplications in whose time a step calls its operations, for the progress of small fits
SMALL = 4_000_000  # entries of a kernel below which further threads wait more than they work
SMALL_KERNEL = 20_000  # entries of a kernel that is cheap enough for several starts


@dataclass(frozen=True)
class SolverOptions:
    """How to run a solver.

    Attributes:
        seed: of random starts.
        target: relative error at which to stop.
        tick: called after every step with its multiplications.
        effort: factor on the usual amount of work.
        ridge: penalty on the squared norms of the cores, against cores that cancel each other.
        expect: called with the multiplications that lie ahead, so that their duration can be estimated.
        deadline: value of `time.monotonic` after which no further step is begun.
    """

    seed: int
    target: float
    tick: Callable[[float], None]
    effort: float = 1.0
    ridge: float = 0.0
    expect: Callable[[float], None] = lambda work: None
    deadline: float = math.inf

    def steps(self, multiplications: float, most: int) -> int:
        """How many steps of a given cost the work limit allows: at most `effort` times `most`, but a few always."""
        fewest = max(SHORTEST, round(min(1.0, self.effort) * FEWEST))
        return max(fewest, min(int(self.effort * most), int(self.effort * WORK / multiplications)))

    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline < math.inf and time.monotonic() > self.deadline


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

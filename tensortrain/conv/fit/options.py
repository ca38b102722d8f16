"""The options of all solvers: random seed, target error, limits of work and time, ridge, and progress callback."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

WORK = 0.55e11  # largest number of multiplications of a fit, so that the largest kernels take only seconds
FEWEST = 10  # number of steps that a fit with the usual effort may take at any cost
SHORTEST = 3  # number of steps of the shortest fit
OVERHEAD = 1e7  # cost of calling the operations of a step, in multiplications, for the progress of small fits
SMALL = 4_000_000  # for kernels with fewer entries, further threads would mostly wait
SMALL_KERNEL = 20_000  # kernels with fewer entries are cheap enough for several starts


@dataclass(frozen=True)
class SolverOptions:
    """The options of a solver.

    Attributes:
        seed: seed of random starts.
        target: relative error at which the solver stops.
        tick: function that is called after every step with the number of its multiplications.
        effort: factor on the usual amount of work.
        ridge: penalty on the squared norms of the cores, against cores that cancel each other.
        expect: function that is called with the expected multiplications, so that their duration can be estimated.
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
        """Return the number of steps that the work limit allows for steps of a given cost.

        It is at most `effort` times `most`, but at least a few steps.
        """
        fewest = max(SHORTEST, round(min(1.0, self.effort) * FEWEST))
        return max(fewest, min(int(self.effort * most), int(self.effort * WORK / multiplications)))

    def late(self) -> bool:
        """Return whether the deadline has passed."""
        return self.deadline < math.inf and time.monotonic() > self.deadline


@contextmanager
def threads_for(entries: int) -> Iterator[None]:
    """Use one thread for kernels whose solvers do many small operations, and all threads for larger ones.

    The number of threads is restored afterwards. On a busy machine the difference is large, because every small
    operation may wait for a thread that the operating system has suspended. In one case, a 16-channel fit took 20 s
    instead of 0.4 s, and a 256-channel fit 64 s instead of 13 s.
    """
    before = torch.get_num_threads()
    if entries < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Choose the clips of each step."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from zoo.counter_rng import permutation
from zoo.errors import ZooError

_STREAM = 0x5A4D0002


class StepSampler(Sampler[list[int]]):
    """The clips of steps `start` to `steps` - 1. Each is a function of (seed, step), so training can start at any step.

    Each epoch visits its clips in a different order. A batch may hold the end of one epoch and the start of the next.
    Each rank takes its share of the global batch.

    Args:
        seed: random seed of the run.
        clips: number of training clips in an epoch.
        batch: number of clips in a step, over all ranks.
        steps: the last step plus one.
        endless: whether each epoch has new clips with increasing indices, instead of the same clips again.
        start: the first step.
        rank: number of this process, counted from 0.
        ranks: number of processes.

    Raises:
        ZooError: if `batch` is not a positive multiple of `ranks`.

    >>> list(StepSampler(0, clips=100, batch=2, steps=3, endless=True, start=1))
    [[2, 3], [4, 5]]
    """

    def __init__(
        self,
        seed: int,
        clips: int,
        batch: int,
        steps: int,
        *,
        endless: bool = False,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.samples = share(batch, rank, ranks)
        self._seed, self._clips, self._batch, self._endless = seed, clips, batch, endless
        self._start, self._steps = start, steps
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return max(0, self._steps - self._start)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self._start, self._steps):
            yield [self._clip(step * self._batch + sample) for sample in self.samples]

    def _clip(self, visit: int) -> int:
        if self._endless:
            return visit
        epoch, position = divmod(visit, self._clips)
        if self._order[0] != epoch:
            self._order = epoch, permutation(self._seed, _STREAM, epoch, self._clips)
        return int(self._order[1][position])


def share(batch: int, rank: int, ranks: int) -> range:
    """The positions of a rank's clips in the global batch.

    Raises:
        ZooError: if `batch` is not a positive multiple of `ranks`.
    """
    if batch < 1 or batch % ranks:
        raise ZooError(f"batch = {batch} cannot be divided among {ranks} processes; choose a multiple of {ranks}")
    each = batch // ranks
    return range(rank * each, (rank + 1) * each)

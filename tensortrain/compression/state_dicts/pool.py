"""Fits of several kernels side by side, as many at once as there are cores."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from typing import TypeVar

import torch

from tensortrain.conv.fit.options import SMALL
from tensortrain.conv.fit.progress import Follower

K = TypeVar("K")
T = TypeVar("T")


class Stoppable:
    """A follower that ends the fit that it follows once the others are given up."""

    def __init__(self, follower: Follower, stop: threading.Event) -> None:
        self._follower, self._stop = follower, stop

    def expect(self, work: float) -> None:
        """Pass it on."""
        self._follower.expect(work)

    def __call__(self, work: float) -> None:
        """Pass it on, or end the fit."""
        if self._stop.is_set():
            raise CancelledError
        self._follower(work)


def side_by_side(tasks: Mapping[K, Callable[[threading.Event], T]], entries: Mapping[K, int]) -> Iterator[tuple[K, T]]:
    """Run tasks, and yield each with its result as soon as it is finished.

    Kernels of fewer than `SMALL` entries, whose fits use one thread, run side by side, as many as torch has threads;
    larger ones one after the other with all threads. So the results are those of one fit after the other.

    Args:
        tasks: functions; each receives an event that is set when all tasks must end.
        entries: number of entries of the kernel of each task.
    """
    threads = torch.get_num_threads()
    small = [key for key in tasks if entries[key] < SMALL] if threads > 1 else []
    stop = threading.Event()
    if len(small) > 1:
        with ThreadPoolExecutor(min(threads, len(small))) as pool:
            futures = {pool.submit(tasks[key], stop): key for key in small}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
            finally:
                torch.set_num_threads(threads)  # of threads that begin later; each fit has set its own
    for key, task in tasks.items():
        if len(small) < 2 or entries[key] >= SMALL:
            yield key, task(stop)

"""Run the fits of several kernels side by side, as many at a time as torch has threads."""

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
    """Reports the progress of a fit to a follower, and ends the fit once `stop` is set."""

    def __init__(self, follower: Follower, stop: threading.Event) -> None:
        self._follower, self._stop = follower, stop

    def expect(self, work: float) -> None:
        """Tell the follower how much work is to come."""
        self._follower.expect(work)

    def __call__(self, work: float) -> None:
        """Report work that is done.

        Raises:
            CancelledError: the fit must end.
        """
        if self._stop.is_set():
            raise CancelledError
        self._follower(work)


def side_by_side(tasks: Mapping[K, Callable[[threading.Event], T]], entries: Mapping[K, int]) -> Iterator[tuple[K, T]]:
    """Run tasks, and yield the key and the result of each as soon as it is finished.

    The fit of a kernel with fewer than `SMALL` entries uses one thread. Such fits run side by side, as many as torch
    has threads. Fits of larger kernels run one after the other, each with all threads. Therefore the results do not
    depend on how many run at the same time.

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
                torch.set_num_threads(threads)  # for threads that start later; each fit has set its own number
    for key, task in tasks.items():
        if len(small) < 2 or entries[key] >= SMALL:
            yield key, task(stop)

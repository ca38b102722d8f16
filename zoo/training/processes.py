"""The processes of one training. If one of them dies, the others end too, and report which one died."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric import Fabric

from zoo.errors import ZooError

POLL_SECONDS = 0.2
GRACE_SECONDS = 5.0  # after a death, the time until a process that still waits for the dead one is ended
AGAIN = "repeat the command or call to resume from the last checkpoint"


@contextmanager
def watching(fabric: Fabric) -> Iterator[None]:
    """Context manager: watch the other processes while this one trains together with them.

    Raises:
        ZooError: if another process dies, or the connection to it is lost.
    """
    if fabric.world_size == 1:
        yield
        return
    watch = _Watch(fabric)
    watch.start()
    try:
        yield
    except KeyboardInterrupt:
        watch.kill()  # otherwise they would wait for this process for ever
        raise
    except RuntimeError as error:
        if death := watch.wait(GRACE_SECONDS):
            raise ZooError(f"training stopped: {death}; {AGAIN}") from error
        if any(word in str(error) for word in ("gloo", "NCCL", "Connection")):
            reason = " ".join(str(error).split())[:200]
            raise ZooError(
                f"training stopped: the connection to another process was lost ({reason}); it may have died; {AGAIN}"
            ) from error
        raise
    finally:
        watch.left.set()


class _Watch:
    """Checks regularly whether a process has died. The first process watches those it started, and these watch it.

    A process that waits for a dead one inside a library may never return to Python. So after a while, the watch itself
    reports what happened, and ends this process.

    Attributes:
        death: what happened, in words; empty as long as all processes live.
        left: set when the block is left.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.death = ""
        self.left = threading.Event()
        self._launcher = getattr(fabric.strategy, "launcher", None)
        self._expected = getattr(self._launcher, "num_processes", 1) - 1
        self._children: list[subprocess.Popen[bytes]] = []
        # Fabric starts the other processes from the first one; only torchrun sets this variable
        self._parent = os.getppid() if fabric.local_rank > 0 and "LOCAL_WORLD_SIZE" not in os.environ else 0

    def start(self) -> None:
        """Start to watch, in a separate thread."""
        threading.Thread(target=self._run, name="watch over the other processes", daemon=True).start()

    def wait(self, seconds: float) -> str:
        """Wait until a death is known, and describe it; empty if none is noticed within these seconds."""
        end = time.monotonic() + seconds
        while not self.death and time.monotonic() < end:
            time.sleep(POLL_SECONDS / 4)
        return self.death

    def kill(self) -> None:
        """Kill the processes that this one has started."""
        for child in [*self._children, *self._started()]:
            child.kill()

    def _run(self) -> None:
        """Watch until a process has died or the block is left."""
        while not self.left.wait(POLL_SECONDS):
            self.death = self._look()
            if self.death:
                break
        else:
            return
        if not self.left.wait(GRACE_SECONDS):
            print(f"zoo: training stopped: {self.death}; {AGAIN}", file=sys.stderr, flush=True)
            self.kill()
            os._exit(2)

    def _started(self) -> list[subprocess.Popen[bytes]]:
        """The processes that Fabric has started from this one; empty after the watch has taken them over."""
        return getattr(self._launcher, "procs", [])

    def _look(self) -> str:
        started = self._started()
        if len(started) >= self._expected > 0:
            # Fabric's own watch, which kills this process without a message, ends when it has no process to watch
            self._children = list(started)
            started.clear()
        for rank, child in enumerate(self._children, 1):
            if child.poll():
                return f"process {rank} (pid {child.pid}) {_end(child.returncode)}"
        if self._parent and os.getppid() != self._parent:
            return f"process 0 (pid {self._parent}), which started this one, has died"
        return ""


def _end(code: int) -> str:
    """How a process ended, from its return code."""
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"

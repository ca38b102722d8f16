"""Set the number of threads, and describe the machine on which times are measured."""

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from tensortrain.profiling.clock import Clock


@contextlib.contextmanager
def using_threads(count: int | None) -> Iterator[int]:
    """Let torch use `count` CPU threads within the block, and yield their number; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield count or before
    finally:
        torch.set_num_threads(before)


def describe_machine(device: torch.device, threads: int, clock: Clock) -> dict[str, str]:
    """Return the properties that measured times depend on: processor, threads, version of torch, and the clock."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"device": name, "threads": str(threads), "torch": torch.__version__, "clock": clock.name}


def _processor() -> str:
    """Return the name of the processor."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()

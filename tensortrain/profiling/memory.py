"""Measure the memory that a computation needs, and how often it launches work on a GPU."""

import contextlib
import gc
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(run: Callable[[], Any], device: torch.device) -> int:
    """Return the largest number of bytes that tensors occupy during a run, beyond those that existed before it."""
    gc.collect()  # so that no older tensor is freed during the run
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    present = peak = 0
    for event in _trace(run, [ProfilerActivity.CPU], memory=True):
        if event.get("name") == "[memory]":
            present += event["args"]["Bytes"]
            peak = max(peak, present)
    return peak


def kernel_launches(run: Callable[[], Any]) -> int:
    """Return how often a run launches work on the GPU: a kernel, or a whole graph."""
    events = _trace(run, [ProfilerActivity.CPU, ProfilerActivity.CUDA], memory=False)
    return sum(event.get("cat") in ("cuda_runtime", "cuda_driver") and "Launch" in event["name"] for event in events)


def _trace(run: Callable[[], Any], activities: list[ProfilerActivity], memory: bool) -> list[dict[str, Any]]:
    """Return the events that torch's profiler recorded, in order of time."""
    with _quiet(), profile(activities=activities, profile_memory=memory) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events: list[dict[str, Any]] = json.loads(file.read_text())["traceEvents"]
    return sorted(events, key=lambda event: float(event.get("ts", 0)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the profiler, which bypasses Python's `sys.stderr` for its messages."""
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

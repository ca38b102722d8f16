"""What a run computes with: software, machine, processes. A resumed run has the same bits only if all are equal."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from lightning.fabric import Fabric

Environment = Mapping[str, str | int]

PACKAGES = ("tensortrain", "torch", "lightning", "numpy")


def describe_environment(fabric: Fabric) -> Environment:
    """The versions of the software, the machine, and the numbers of processes and threads."""
    device = fabric.device
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "machine": f"{platform.machine()}, {_processor()}, {torch.backends.cpu.get_cpu_capability()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
    }


def changes(before: Environment, now: Environment) -> str:
    """Describe in words what has changed; empty if nothing has.

    >>> changes({"threads": 1, "torch": "2.11"}, {"threads": 2, "torch": "2.11"})
    'threads was 1 and is 2'
    """
    names = [*now, *(name for name in before if name not in now)]
    different = [name for name in names if before.get(name) != now.get(name)]
    return "; ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in different)


def _version(package: str) -> str:
    """The version of an installed package. A source checkout can train without being installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2].strip()
    return platform.processor()

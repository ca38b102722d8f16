"""Imports as on a bare machine with a GPU: everything that such a machine may lack cannot be found.

    python -m tests.support.bare zoo.benchmark.slot --minutes 9 …

runs a module so. It also refuses to let this process ask for a GPU: those that it forks could not use one then.
"""

import importlib.metadata
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from packaging.requirements import Requirement

# what the machine has, each with what it needs itself
PRESENT = (
    "torch",
    "lightning",
    "torchmetrics",
    "scikit-image",
    "scikit-learn",
    "opt-einsum",
    "hypothesis",
    "pytest",
    "typer",
    "rich",
    "pyyaml",
    "matplotlib",
    "safetensors",
    "pydantic",  # whose wheels travel along, see zoo/benchmark/slot/pack.py
)
ABSENT = ("jsonargparse", "av", "lpips", "tensorly", "tensorboard")  # also where something present needs them
COMMANDS = ("zoo.commands", "zoo.cli")


def closure(names: Iterable[str]) -> set[str]:
    """Distributions and all that they need, in the form that names are compared in."""
    known: set[str] = set()
    waiting = [normal(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in known:
            continue
        known.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, needs):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(normal(requirement.name))
    return known


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Bare:
    """Finds modules and distributions as before, but for those that a bare machine lacks: also this package's own
    metadata, since a checkout need not be installed."""

    def __init__(self, finders: Iterable[Any]) -> None:
        self._finders = list(finders)
        self._present = closure(PRESENT) - set(ABSENT)
        self.hidden = {
            module
            for module, owners in importlib.metadata.packages_distributions().items()
            if not any(normal(name) in self._present for name in owners)
        } - {"tensortrain", "zoo"}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in self.hidden or name in COMMANDS or name.startswith("zoo.commands."):
            return None
        for finder in self._finders:
            if spec := finder.find_spec(name, path, target):
                return spec
        return None

    def find_distributions(self, context: Any) -> Iterator[importlib.metadata.Distribution]:
        for finder in self._finders:
            for distribution in getattr(finder, "find_distributions", lambda context: ())(context):
                if normal(distribution.name) in self._present:
                    yield distribution

    def invalidate_caches(self) -> None:
        for finder in self._finders:
            getattr(finder, "invalidate_caches", lambda: None)()


def hide() -> Bare:
    """Hide what a bare machine lacks from all imports from now on."""
    bare = Bare(sys.meta_path)
    sys.meta_path[:] = [bare]
    return bare


def refuse_gpu() -> None:
    """Let this process, but none that it forks, fail when it asks for a GPU."""
    import torch

    here = os.getpid()

    def refusing(ordinary: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*args: Any, **kwargs: Any) -> Any:
            if os.getpid() == here:
                raise AssertionError(f"{ordinary.__name__} would keep forked processes from the GPU")
            return ordinary(*args, **kwargs)

        return ask

    for name in ("is_available", "device_count", "init", "_lazy_init", "current_device", "get_device_name"):
        setattr(torch.cuda, name, refusing(getattr(torch.cuda, name)))


if __name__ == "__main__":
    module, *sys.argv[1:] = sys.argv[1:]
    hide()
    refuse_gpu()
    runpy.run_module(module, run_name="__main__", alter_sys=True)

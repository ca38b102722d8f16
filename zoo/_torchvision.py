"""Make torchvision importable where its compiled operators do not fit the installed torch.

PyPI's torchvision is built for a CUDA torch: beside a CPU-only one its library does not load, and then `import
torchvision`, hence lightning, torchmetrics and lpips, stops at an operator that nobody defined. Nothing here needs
those operators, so their schemas are enough.
"""

from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def mend() -> None:
    """Define what torchvision misses; nothing where its operators load, or where it is not installed."""
    package = find_spec("torchvision")
    if package is None or not package.submodule_search_locations:
        return
    finder = FileFinder(package.submodule_search_locations[0], (ExtensionFileLoader, EXTENSION_SUFFIXES))
    library = finder.find_spec("_C")
    try:
        if library is not None and library.origin is not None:
            torch.ops.load_library(library.origin)
    except OSError:
        pass  # built for another torch
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", _SCHEMA)


mend()

"""Make torchvision importable if its compiled operators do not fit the installed torch.

The torchvision of PyPI is built for a CUDA torch. Beside a CPU-only torch its library does not load, and `import
torchvision` fails because an operator is not defined. So do lightning, torchmetrics and lpips, which import it. The
zoo calls none of these operators: it is enough to define their schemas.
"""

from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def mend() -> None:
    """Define the operators that torchvision lacks. Does nothing if they load or if torchvision is not installed."""
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

"""Choice of core sizes, groups and ranks for a parameter budget: the best of all formats, never worse than one of them."""

from collections.abc import Callable

from tensortrain.checks import Limits
from tensortrain.errors import TensorTrainError
from tensortrain.fit.kernel import Kernel
from tensortrain.fit.solve import Fit


def best_format(kernel: Kernel, limits: Limits, *, seed: int, tick: Callable[[], None]) -> Fit:
    raise TensorTrainError("auto: not yet")

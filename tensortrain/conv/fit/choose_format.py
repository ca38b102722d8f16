"""`kernel_sizes="auto"`: the best of several formats at a budget, so never worse than any one of them.

Every named format is among them, or one that contains it; except `cttd` with more than five cores (kernels longer than
11), whose fit takes minutes.
"""

from collections.abc import Iterator
from dataclasses import replace

from tensortrain.conv import formats
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.lower_bounds import quick_lower_bound
from tensortrain.conv.fit.options import SolverOptions
from tensortrain.conv.fit.ranks import Growth, largest_useful
from tensortrain.conv.fit.solver import Fit, solve
from tensortrain.errors import TensorTrainError

Axes = tuple[int, ...]

EXTRA = 2.0  # effort of the second fit of the best formats
CLOSE = 1.02  # error beside the best up to which a format may still win by it


def candidates(size: Axes) -> Iterator[formats.Format]:
    """The formats worth trying for a kernel of `size`, those that win most often first."""
    one = (1,) * len(size)
    yield formats.chain([size], size, "dense")
    if size == one:
        yield formats.chain([one, one], size, "low rank")
        return
    yield formats.depthwise(size)
    if sum(k > 1 for k in size) > 1:
        yield formats.cp(size)
        yield formats.separable(size)
        yield formats.tt4(size)
    for outputs, inputs in ((2, 2), (2, 1), (1, 2)):
        yield formats.block_term(size, outputs, inputs)
    yield formats.tucker2(size)
    yield formats.chain([one, size], size, "1×1 | K×K")
    yield formats.chain([size, one], size, "K×K | 1×1")
    halves = [tuple((k + 1) // 2 for k in size), tuple(k - (k + 1) // 2 + 1 for k in size)]
    squares = {formats.chain(halves, size, "cttd").kernel_sizes: None}
    squares[formats.cttd(size).kernel_sizes] = None
    for sizes in squares:
        if 1 < len(sizes) <= 5:
            yield formats.chain(sizes, size, "cttd")
        if 1 < len(sizes) <= 4:
            yield formats.chain([one, *sizes, one], size, "cttd with 1×1 ends")


def best_format(kernel: NormalizedKernel, parameters: int, options: SolverOptions) -> Fit:
    """The chain of least error among all candidate formats within a number of parameters.

    A format whose lower bound exceeds the best error so far cannot win and is not fitted. The best, and the second
    if it is close, are fitted again with other random numbers and more effort.

    Raises:
        TensorTrainError: no format has a chain that small.
    """
    fits: list[Fit] = []
    smallest = kernel.dense_parameters
    for chain_format in candidates(kernel.size):
        growth = Growth(chain_format, kernel, largest_useful(chain_format, kernel))
        need = growth.n_parameters(growth.ranks(growth.smallest))
        smallest = min(smallest, need)
        if need > parameters:
            continue
        ranks = growth.largest_within(parameters)
        if not fits or quick_lower_bound(kernel.weight, chain_format.kernel_sizes, ranks) < fits[0].error:
            fits = sorted([*fits, solve(kernel, chain_format, ranks, options)], key=lambda fit: fit.error)
            if fits[0].error <= options.target:
                return fits[0]
    if not fits:
        raise TensorTrainError(
            f"max_parameters (or budget) = {parameters} is below the smallest chain of any format, {smallest}"
            f" of {kernel.dense_parameters} dense parameters; raise it"
        )
    again = replace(options, seed=options.seed + 1, effort=options.effort * EXTRA)
    close = [fit for fit in fits[:2] if fit.error <= CLOSE * fits[0].error]
    return min(
        [*fits, *(solve(kernel, fit.chain_format, fit.ranks, again) for fit in close)], key=lambda fit: fit.error
    )

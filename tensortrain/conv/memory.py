"""Check that dense kernels and maps fit in memory before they are computed, since a chain may stand for larger ones."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.conv import alignment
from tensortrain.conv.chain_shape import ChainShape
from tensortrain.errors import TensorTrainError

_SMALL = 2**24  # tensors of so few entries fit everywhere, and asking for the size of the memory would slow fits down


def check_kernel(entries: int, like: Tensor) -> None:
    """Check that a dense kernel with this number of entries, and the dtype and device of `like`, fits in memory.

    Raises:
        TensorTrainError: it does not fit.
    """
    _check("the dense kernel", entries, like, "use evaluate, which needs the cores only")


def check_maps(
    chain: ChainShape,
    image: Sequence[int],
    batch: int,
    padding: str,
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
) -> None:
    """Check that every map that a chain computes for a batch of images fits in memory.

    Raises:
        TensorTrainError: a map does not fit, or an argument is out of range.
    """
    outputs = alignment.output_sizes(chain.kernel_sizes, image, padding, stride, dilation, chain.transposed)
    spread = checks.per_axis("stride", stride, len(image)) if chain.transposed else (1,) * len(image)
    inputs = [(n - 1) * s + 1 for n, s in zip(image, spread, strict=True)]  # a stride inserts zeros
    sizes = [*outputs, inputs]
    largest = max(rank * math.prod(size) for rank, size in zip(chain.ranks, sizes, strict=True))
    remedy = "pass a smaller size or batch_size"
    _check("the largest map", batch * largest, chain.cores[0], remedy)
    # the random images are drawn in float32 on the CPU
    _check("the batch", batch * chain.in_channels * math.prod(image), torch.empty(0, device="cpu"), remedy)


def _check(name: str, entries: int, like: Tensor, remedy: str) -> None:
    """Refuse a tensor that is larger than the whole memory, and say what to do instead."""
    if torch.compiler.is_compiling() or entries <= _SMALL:
        return
    try:
        checks.fits_in_memory(name, entries, like)
    except TensorTrainError as error:
        raise TensorTrainError(f"{str(error).partition(';')[0]}; {remedy}") from None

"""Which form of a convolutional tensor train is faster on the machine at hand: core by core, or one dense kernel.

Operation counts alone do not tell: depthwise and thin cores run at a fraction of the machine's peak. So
both forms are timed on random data of the given shape, in alternation, as convolution libraries choose
their own algorithms.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.conv.functional import conv_sum, conv_tt, spread

if TYPE_CHECKING:
    from tensortrain.conv.conv_tensor_train import ConvTensorTrain


@dataclass(frozen=True)
class Plan:
    """What a chain costs for one batch, in both forms.

    Attributes:
        choice: the faster form.
        sequential_macs: multiply-accumulates for each image, core by core.
        dense_macs: the same for the composed kernel (built once, not counted).
        sequential_seconds: measured median for the whole batch.
        dense_seconds: likewise.
    """

    choice: Literal["sequential", "dense"]
    sequential_macs: int
    dense_macs: int
    sequential_seconds: float
    dense_seconds: float


def plan(
    chain: "ConvTensorTrain",
    size: Sequence[int],
    batch_size: int,
    padding: str,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
) -> Plan:
    """Time both forms of `chain` for inference on a batch of images and choose.

    Args:
        chain: the chain; its device, dtype and the current number of threads are those measured.
        size: image size, per axis.
        batch_size: images in the batch.
        padding: as in `conv_tt`, but not "same_per_step", which no dense kernel equals.
        stride, dilation: as of `ConvTensorTrain.evaluate`.

    Cost: a handful of runs of each form, at least 20 ms in all.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch_size, chain.in_channels, *size, generator=generator, device="cpu")
    x = x.to(chain.device, chain.dtype)
    as_conv = chain.as_conv()
    kernel = as_conv.reconstruct()
    settings: dict[str, Any] = {"padding": padding, "stride": stride, "dilation": dilation}
    macs, dense_macs = chain.macs(size, **settings), chain.dense_macs(size, **settings)
    if chain.transposed:  # both forms take the image spread out, at stride 1
        x = spread(x, checks.per_axis("stride", stride, len(size)))
        settings["stride"] = 1
    inputs = [None] * (chain.order - 1) + [x]
    with torch.inference_mode():
        sequential, dense = _race(
            lambda: conv_tt(as_conv.cores, inputs, **settings),
            lambda: conv_sum([kernel], [x], **settings),
            x.device,
        )
    return Plan(
        choice="sequential" if sequential <= dense else "dense",
        sequential_macs=macs,
        dense_macs=dense_macs,
        sequential_seconds=sequential,
        dense_seconds=dense,
    )


def _race(first: Callable[[], Tensor], second: Callable[[], Tensor], device: torch.device) -> tuple[float, float]:
    """Median seconds of two functions run in turn, so that a drift of the machine meets both alike."""

    def seconds(run: Callable[[], Tensor]) -> float:
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    for run in (first, second):
        seconds(run)
    times: tuple[list[float], list[float]] = ([], [])
    while len(times[0]) < 5 or (sum(times[0]) + sum(times[1]) < 0.02 and len(times[0]) < 200):
        times[0].append(seconds(first))
        times[1].append(seconds(second))
    return median(times[0]), median(times[1])

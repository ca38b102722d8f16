"""Test whether a convolution sums plain products, on this machine and for given shapes.

A convolution may also be computed by Winograd's or Fourier's transforms, which add and subtract inputs before they
multiply. Then P10 of proofs/README.md does not bound its rounding errors. No interface says which method is used.
Therefore the convolution is run on data for which every direct summation is exact, in whatever order:

- kernels with one non-zero tap, and pixels of two sizes that differ so much that the sum of two of them is rounded;
- one channel of integers with half the bits of the precision, which formats such as TF32 and bfloat16 would round.

A success is evidence for the shapes that were tried, not a proof.
"""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

DRAWS = 4  # number of draws of each kind; one of them reveals Winograd's F(2, 3) and F(4, 3) and Fourier transforms
BITS = {torch.float32: 24, torch.float64: 53}
_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)

Convolution = Callable[..., Tensor]


@dataclass(frozen=True)
class Call:
    """One call of a convolution.

    Attributes:
        function: the function, for example `F.conv2d`.
        shapes: the shapes of the input and of the weight.
        options: stride, dilation and groups.
    """

    function: Convolution
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    options: tuple[tuple[str, Any], ...]


class _Recorder(TorchFunctionMode):
    """Records every convolution that is called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[Call, None] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _CONVOLUTIONS:
            shapes = tuple(args[0].shape), tuple(args[1].shape)
            self.calls[Call(func, shapes, tuple(sorted((kwargs or {}).items())))] = None
        return func(*args, **(kwargs or {}))


def convolutions(run: Callable[[], object]) -> list[Call]:
    """Return the convolutions that a function calls, each kind once."""
    with _Recorder() as recorder:
        run()
    return list(recorder.calls)


def sums_directly(call: Call, like: Tensor) -> bool:
    """Return whether a convolution is exact on data for which every direct summation is exact.

    Args:
        call: the call; its function may be any function with the arguments of `F.conv2d`.
        like: a tensor whose dtype, float32 or float64, and device are used.
    """
    generator = torch.Generator().manual_seed(0)
    draws = (draw(call, BITS[like.dtype], generator) for _ in range(DRAWS) for draw in (_two_sizes, _one_channel))
    return all(_is_exact(call, x.to(like), weight.to(like)) for x, weight in draws)


def machine(device: torch.device) -> str:
    """Return a description of the machine."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{device.type} ({name}), torch {torch.__version__}, {torch.get_num_threads()} threads"


def _integers(shape: tuple[int, ...], most: int, generator: torch.Generator) -> Tensor:
    """Return random integers of absolute value at most `most`."""
    return torch.randint(-most, most + 1, shape, generator=generator, device="cpu").double()


def _unit(length: int, generator: torch.Generator) -> Tensor:
    """Return a vector of zeros with a single 1 at a random place."""
    return F.one_hot(torch.randint(length, (1,), generator=generator, device="cpu"), length)[0].double()


def _one_tap(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Return the weight with all taps except one set to zero."""
    return weight * _unit(weight[0, 0].numel(), generator).reshape(weight.shape[2:])


def _two_sizes(call: Call, bits: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return small integers, about half of the pixels times a power of two beyond the precision, and one tap."""
    x, weight = (_integers(shape, 8, generator) for shape in call.shapes)
    large = torch.rand(x.shape[2:], generator=generator, device="cpu") < 0.5
    return torch.where(large, x * 2.0 ** (bits + 2), x), _one_tap(weight, generator)


def _one_channel(call: Call, bits: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return an input and a tap of integers of half the bits, whose products are exact; the tap reads one channel."""
    x, weight = (_integers(shape, 2 ** (bits // 2) - 1, generator) for shape in call.shapes)
    channel = _unit(weight.shape[1], generator).reshape(1, -1, *[1] * (weight.dim() - 2))
    return x, _one_tap(weight * channel, generator)


def _is_exact(call: Call, x: Tensor, weight: Tensor) -> bool:
    """Return whether the result for a kernel of one tap equals a matrix product with shifted pixels, which is exact."""
    options = dict(call.options)
    result = call.function(x, weight, **options)
    groups = options.get("groups", 1)
    pixels, taps = x.double().cpu(), weight.double().cpu().flatten(2)
    tap = int(taps.abs().sum((0, 1)).argmax())
    for axis, position in enumerate(torch.unravel_index(torch.tensor(tap), weight.shape[2:])):
        stride, dilation = (options.get(name, (1,) * len(x.shape))[axis] for name in ("stride", "dilation"))
        start = int(position) * dilation
        index = torch.arange(start, start + stride * (result.shape[2 + axis] - 1) + 1, stride)
        pixels = pixels.index_select(2 + axis, index)
    blocks = pixels.reshape(len(x), groups, -1, *pixels.shape[2:])
    rows = taps[..., tap].reshape(groups, -1, weight.shape[1])
    exact = torch.einsum("goi,bgi...->bgo...", rows, blocks).flatten(1, 2)
    return torch.equal(result.double().cpu(), exact)

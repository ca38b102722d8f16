"""Second moments of the inputs and outputs of layers, from patches at sampled positions, summed in float64.

A pass over the calibration inputs uses at most `rows` patches of each layer, over all of its calls. The sample depends
only on the layer, the call and the seed. So a later pass through a compressed copy of the network samples the same
positions, and its patches can be paired with the outputs of the dense layer.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tensortrain.compression.analysis.calibration import Calibration
from tensortrain.compression.analysis.trial import Use
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.errors import TensorTrainError

FEWEST_ROWS = 4096  # smallest number of patches that are sampled for a layer, if it has as many
ROWS_PER_VALUE = 4  # number of patches for each value of a patch, if that makes more than `FEWEST_ROWS`
# Layers that are called repeatedly get more patches, since moments cost little compared with the passes:
PRODUCTS = 5e9  # largest number of multiplications for the moment of the inputs
TARGETS = 4e6  # largest number of output values that are kept
WIDEST = 8192  # largest number of values of a patch for a second moment; (8192)² float64 numbers take 0.5 GB
SMALLEST, LARGEST = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max
CHUNK = 2**24  # largest number of values of patches in memory at once, in float64


@dataclass(frozen=True)
class Call:
    """One call of a layer: its arguments and its output."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor

    @property
    def input(self) -> Tensor:
        """The tensor that the layer reads."""
        input: Tensor = self.args[0] if self.args else self.kwargs["input"]
        return input

    def with_layer(self, layer: nn.Module) -> Tensor:
        """Return the output of another layer for the same arguments."""
        output: Tensor = layer(*self.args, **self.kwargs)
        return output


Handler = Callable[[str, Call], Tensor | None]


@dataclass
class Moments:
    """Sums over the patches of one layer, with the axes `(G, …)` for its G groups, as in `PatchMap`.

    Attributes:
        count: number of patches.
        outputs: Σ y yᵀ, `(G, p, p)`.
        energy: Σ of the mean square of the values of a patch.
        inputs: Σ x xᵀ, `(G, d, d)`; None for layers with wide patches, or if it is not needed.
        cross: Σ y xᵀ, `(G, p, d)`; None if `inputs` is None.
        input_sum: Σ x, `(G, d)`.
        output_sum: Σ y, `(G, p)`.
        rows: pairs of patches `(G, N, d)` and outputs `(G, N, p)`, for layers with wide patches only.
    """

    count: int = 0
    outputs: Any = 0
    energy: float = 0.0
    inputs: Any = None
    cross: Any = None
    input_sum: Any = 0
    output_sum: Any = 0
    rows: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def add_outputs(self, y: Tensor, energy: float = 0.0) -> None:
        """Add outputs of the layer, `(G, N, p)`, and the mean square of the values that it reads."""
        self.count += y.shape[1]
        self.energy += energy * y.shape[1]
        self.outputs = self.outputs + y.mT @ y
        self.output_sum = self.output_sum + y.sum(1)

    def add_inputs(self, x: Tensor, y: Tensor) -> None:
        """Add patches `(G, N, d)` and the outputs of the layer for them, `(G, N, p)`."""
        self.input_sum = self.input_sum + x.sum(1)
        if x.shape[-1] > WIDEST:
            self.rows.append((x.float(), y.float()))
        elif self.inputs is None:
            self.inputs, self.cross = x.mT @ x, y.mT @ x
        else:
            self.inputs.baddbmm_(x.mT, x)
            self.cross.baddbmm_(y.mT, x)

    def shrunk(self, matrix: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the moments E[y yᵀ] and E[x xᵀ] for the choice of ranks. The second is None if it was not computed.

        A few patches miss directions that other inputs have. So the moment of the inputs is mixed with that of white
        noise of the same energy, with the weight of as many patches as a patch has values. This is a shrinkage
        estimator of a covariance. The moment of the outputs changes accordingly.

        Args:
            matrix: W, the matrix `(G, p, d)` of the layer.
        """
        d = matrix.shape[-1]
        part = d / (self.count + d)
        outputs, inputs = (1 - part) * self.outputs / self.count, None
        if self.inputs is not None:
            inputs = (1 - part) * self.inputs / self.count
            inputs = inputs + part * self.energy / self.count * torch.eye(d, dtype=inputs.dtype, device=inputs.device)
        return outputs + part * self.energy / self.count * matrix @ matrix.mT, inputs

    def residual(self, matrix: Tensor, shift: Tensor | None) -> float:
        """Return the mean squared error of a matrix on these patches, relative to that of the zero matrix.

        Args:
            matrix: the matrix `(G, p, d)`.
            shift: a change `(G, p)` of the bias, or None.
        """
        energy = float(self.outputs.diagonal(dim1=1, dim2=2).sum())
        if self.inputs is None:
            pairs = [(x.double(), y.double()) for x, y in self.rows]
            rest = [y - x @ matrix.mT - (0 if shift is None else shift[:, None]) for x, y in pairs]
            error = float(sum(part.square().sum() for part in rest))
        else:
            error = energy - 2 * float((self.cross * matrix).sum()) + float((matrix @ self.inputs * matrix).sum())
            if shift is not None:
                error -= self.count * float(shift.square().sum())
        return max(0.0, error) / energy if energy else 0.0


@dataclass(frozen=True)
class Sampler:
    """Chooses the positions of a layer's outputs whose patches are used.

    Attributes:
        rows: number of patches for each layer, over all calls and batches.
        calls: number of calls of each layer in one batch.
        samples: number of samples in all batches together.
        seed: seed of the random choice.
    """

    rows: Mapping[str, int]
    calls: Mapping[str, int]
    samples: int
    seed: int

    @classmethod
    def of(cls, maps: Mapping[str, PatchMap], uses: Mapping[str, Use], samples: int, seed: int) -> "Sampler":
        """Return the sampler for some layers.

        A layer gets `ROWS_PER_VALUE` patches for each value of a patch, and at least `FEWEST_ROWS`. A layer with
        patches wider than `WIDEST` gets `FEWEST_ROWS`. Layers that are called repeatedly may get more.

        Args:
            maps: the layers by name.
            uses: the calls of the layers in the trial.
            samples: number of samples in all batches together.
            seed: seed of the random choice.
        """
        rows = {}
        for name, layer in maps.items():
            wide = layer.patch > WIDEST
            rows[name] = FEWEST_ROWS if wide else max(FEWEST_ROWS, ROWS_PER_VALUE * layer.patch)
            if uses[name].calls > 1 and not wide:
                cheap = min(PRODUCTS / layer.patch**2, TARGETS / layer.outputs) / layer.groups
                rows[name] = max(rows[name], int(cheap))
        return cls(rows, {name: max(1, uses[name].calls) for name in maps}, samples, seed)

    def positions(self, name: str, call: int, samples: int, total: int) -> Tensor:
        """Return the indices of the positions that are used in one call.

        Args:
            name: name of the layer.
            call: number of the call within the batch.
            samples: number of samples of the batch.
            total: number of positions of the call.
        """
        quota = -(-self.rows[name] * samples // (self.samples * self.calls[name]))
        if quota >= total:
            return torch.arange(total)
        order = list(self.rows).index(name)
        generator = torch.Generator().manual_seed(((self.seed * 1_000_003 + order) * 10_007 + call) % 2**63)
        return torch.randperm(total, generator=generator)[:quota].sort()[0]


@contextmanager
def watched(model: nn.Module, names: Iterable[str], handler: Handler) -> Iterator[None]:
    """Pass every call of the named layers to `handler`. A tensor that it returns replaces the layer's output."""
    handles = []
    for name in names:

        def hook(layer: nn.Module, args: Any, kwargs: Any, output: Tensor, name: str = name) -> Tensor | None:
            return handler(name, Call(args, kwargs, output))

        handles.append(model.get_submodule(name).register_forward_hook(hook, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Statistics:
    """Statistics of the dense network on the calibration inputs.

    Attributes:
        moments: moments of each layer.
        targets: outputs of each layer at the sampled positions, `(G, N, p)` in float32, by batch and call.
        sampler: chooses these positions.
    """

    moments: dict[str, Moments]
    targets: dict[str, dict[tuple[int, int], Tensor]]
    sampler: Sampler


def collect(
    model: nn.Module,
    maps: Mapping[str, PatchMap],
    uses: Mapping[str, Use],
    calibration: Calibration,
    tick: Callable[[str], None],
) -> Statistics:
    """Run the dense network once on all inputs and collect the moments of its layers.

    Args:
        model: the dense network, in evaluation mode.
        maps: the layers by name.
        uses: the calls of the layers in the trial.
        calibration: the inputs. Targets are kept only for the batches that the refit uses.
        tick: called with the name of each layer.

    Raises:
        TensorTrainError: a layer reads or returns NaN or infinite values, or values beyond the range of float32.
    """
    sampler = Sampler.of(maps, uses, calibration.size, calibration.seed)
    moments = {name: Moments() for name in maps}
    targets: dict[str, dict[tuple[int, int], Tensor]] = {name: {} for name in maps}
    counts: dict[str, int] = {}

    def handler(name: str, call: Call) -> None:
        tick(name)
        own, number = maps[name], counts.get(name, 0)
        counts[name] = number + 1
        positions = sampler.positions(name, number, batch.size, own.positions(call.output))
        y = own.results(call.output, positions)
        _check_range(y, name, "yields")
        if not y.shape[1]:  # a router has sent nothing there
            return
        _check_range(call.input, name, "reads")
        moments[name].add_outputs(y, float(call.input.double().square().mean()))
        if own.taps > 1 and own.patch <= WIDEST:
            for x, part in patches(own, call, positions):
                moments[name].add_inputs(x, y[:, part])
        if index < calibration.refitted:
            targets[name][index, number] = y.float()

    with watched(model, maps, handler):
        for index, batch in enumerate(calibration.batches):  # noqa: B007 - the handler reads both
            counts.clear()
            calibration.run(model, batch)
    return Statistics(moments, targets, sampler)


def _check_range(values: Tensor, name: str, verb: str) -> None:
    """Check values that a layer reads or yields.

    Targets are kept in float32, and the products of values beyond its range soon leave that of float64.
    """
    largest = float(values.abs().max()) if values.numel() else 0.0
    if not math.isfinite(largest):
        raise TensorTrainError(f"layer {name!r} {verb} NaN or infinite values on the calibration inputs")
    if largest > LARGEST or 0 < largest < SMALLEST:
        which = f"values above {LARGEST:.1g}" if largest > LARGEST else f"only values below {SMALLEST:.1g}"
        raise TensorTrainError(
            f"layer {name!r} {verb} {which} on the calibration inputs, beyond the range of float32; scale the inputs"
        )


def patches(maps: PatchMap, call: Call, positions: Tensor) -> Iterator[tuple[Tensor, slice]]:
    """Yield the patches at some positions in portions that fit into memory, each with its part of the positions."""
    rows = max(1, CHUNK // (maps.patch * maps.groups))
    for start in range(0, len(positions), rows):
        part = slice(start, start + rows)
        yield maps.patches(call.input, call.output, positions[part]), part

"""Second moments of what a layer reads and yields, from patches at sampled positions, accumulated in float64.

A pass over the calibration inputs takes at most `rows` patches of each layer, over all its calls together. The sample
depends on the layer, the call and the seed alone, so that a later pass through a compressed copy of the network takes
its patches at the same positions, and they can be paired with what the dense layer yielded there.
"""

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

FEWEST_ROWS = 4096  # patches of a layer that are sampled, if it has as many
ROWS_PER_VALUE = 4  # further patches for each value of a patch
# of layers that are called again in one pass, where moments cost little beside the passes, more are taken:
PRODUCTS = 5e9  # multiplications that the moment of the inputs may take
TARGETS = 4e6  # values of the outputs that may be kept
WIDEST = 8192  # values of a patch up to which their second moment is formed, (8192)² float64 being 0.5 GB
CHUNK = 2**24  # values of patches that are in memory at once, in float64


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
        """What another layer returns for the same arguments."""
        output: Tensor = layer(*self.args, **self.kwargs)
        return output


Handler = Callable[[str, Call], Tensor | None]


@dataclass
class Moments:
    """Sums over the patches of one layer; `(G, …)` for its G groups, as in `PatchMap`.

    Attributes:
        count: number of patches.
        outputs: Σ y yᵀ, `(G, p, p)`.
        energy: Σ of the mean square of the values of a patch.
        inputs: Σ x xᵀ, `(G, d, d)`; None of layers whose patches are wide or of no use.
        cross: Σ y xᵀ, `(G, p, d)`; likewise.
        input_sum: Σ x, `(G, d)`.
        output_sum: Σ y, `(G, p)`.
        rows: pairs of patches `(G, N, d)` and outputs `(G, N, p)`, of layers whose patches are wide.
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
        """Add what the layer yields, `(G, N, p)`, and the mean square of the values that it reads."""
        self.count += y.shape[1]
        self.energy += energy * y.shape[1]
        self.outputs = self.outputs + y.mT @ y
        self.output_sum = self.output_sum + y.sum(1)

    def add_inputs(self, x: Tensor, y: Tensor) -> None:
        """Add patches `(G, N, d)` and what the layer yields from them."""
        self.input_sum = self.input_sum + x.sum(1)
        if x.shape[-1] > WIDEST:
            self.rows.append((x.float(), y.float()))
        elif self.inputs is None:
            self.inputs, self.cross = x.mT @ x, y.mT @ x
        else:
            self.inputs.baddbmm_(x.mT, x)
            self.cross.baddbmm_(y.mT, x)

    def shrunk(self, matrix: Tensor) -> tuple[Tensor, Tensor | None]:
        """Moments of the outputs and of the inputs for choosing ranks: E[y yᵀ], and E[x xᵀ] if it was formed.

        Few patches leave directions out that other inputs will have. So the moment of the inputs is mixed with that of
        as much white noise of the same energy as a patch has values, as shrinkage estimators of covariances do; the
        outputs follow, `matrix` being W.
        """
        d = matrix.shape[-1]
        part = d / (self.count + d)
        outputs, inputs = (1 - part) * self.outputs / self.count, None
        if self.inputs is not None:
            inputs = (1 - part) * self.inputs / self.count
            inputs = inputs + part * self.energy / self.count * torch.eye(d, dtype=inputs.dtype, device=inputs.device)
        return outputs + part * self.energy / self.count * matrix @ matrix.mT, inputs

    def residual(self, matrix: Tensor, shift: Tensor | None) -> float:
        """Mean squared error of `matrix` `(G, p, d)`, and of a shift `(G, p)` of the bias, relative to that of zero."""
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
    """Which positions of a layer's outputs are looked at.

    Attributes:
        rows: number of patches for each layer, over all calls and batches.
        calls: number of calls of each layer in one batch.
        samples: size of all batches together.
        seed: seed of the random choice.
    """

    rows: Mapping[str, int]
    calls: Mapping[str, int]
    samples: int
    seed: int

    @classmethod
    def of(cls, maps: Mapping[str, PatchMap], uses: Mapping[str, Use], samples: int, seed: int) -> "Sampler":
        """The sampler for these layers; many patches of layers that read wide ones, few of the others."""
        rows = {}
        for name, layer in maps.items():
            wide = layer.patch > WIDEST
            rows[name] = FEWEST_ROWS if wide else max(FEWEST_ROWS, ROWS_PER_VALUE * layer.patch)
            if uses[name].calls > 1 and not wide:
                cheap = min(PRODUCTS / layer.patch**2, TARGETS / layer.outputs) / layer.groups
                rows[name] = max(rows[name], int(cheap))
        return cls(rows, {name: max(1, uses[name].calls) for name in maps}, samples, seed)

    def positions(self, name: str, call: int, samples: int, total: int) -> Tensor:
        """Indices of the positions, out of `total`, in the given call of a batch of this many samples."""
        quota = -(-self.rows[name] * samples // (self.samples * self.calls[name]))
        if quota >= total:
            return torch.arange(total)
        order = list(self.rows).index(name)
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + order) * 10_007 + call)
        return torch.randperm(total, generator=generator)[:quota].sort()[0]


@contextmanager
def watched(model: nn.Module, names: Iterable[str], handler: Handler) -> Iterator[None]:
    """Let `handler` see every call of the named layers; what it returns, if anything, replaces the output."""
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
    """What the dense network computes on the calibration inputs.

    Attributes:
        moments: moments of each layer.
        targets: outputs of each layer at the sampled positions, `(G, N, p)` in float32, by batch and call.
        sampler: which positions these are.
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
        uses: how the trial used the layers.
        calibration: the inputs; the targets are kept of those batches that the refit will see.
        tick: called with the name of each layer.

    Raises:
        TensorTrainError: a layer yields NaN or infinite values.
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
        if not bool(torch.isfinite(y).all()):
            raise TensorTrainError(f"layer {name!r} yields NaN or infinite values on the calibration inputs")
        moments[name].add_outputs(y, float(call.input.float().square().mean()))
        if own.taps > 1 and own.patch <= WIDEST:
            for x, part in patches(own, call, positions, y):
                moments[name].add_inputs(x, part)
        if index < calibration.refitted:
            targets[name][index, number] = y.float()

    with watched(model, maps, handler):
        for index, batch in enumerate(calibration.batches):  # noqa: B007 - the handler reads both
            counts.clear()
            calibration.run(model, batch)
    return Statistics(moments, targets, sampler)


def patches(maps: PatchMap, call: Call, positions: Tensor, results: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The patches at some positions with what belongs to them, in portions that fit into memory."""
    rows = max(1, CHUNK // (maps.patch * maps.groups))
    for start in range(0, len(positions), rows):
        part = slice(start, start + rows)
        yield maps.patches(call.input, call.output, positions[part]), results[:, part]

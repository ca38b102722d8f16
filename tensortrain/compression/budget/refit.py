"""Sequential anchored refit: fit layers again in the order of execution, to correct the errors of earlier layers.

In the compressed network a layer reads x̃ instead of x. Its outputs should still be those of the dense layer, y = W x.
The best weight for these inputs, which stays near W where the data say nothing, is

    W* = W + E[(y − W x̃) x̃ᵀ] (E[x̃ x̃ᵀ] + λ 1)⁻¹.

This is ridge regression towards W instead of 0, with a λ that is larger for fewer patches. If the layer is to be
factorised, W* is then approximated at the planned ranks in the metric of x̃. A dense layer after compressed ones gets
W* itself. If the layer has a bias, both moments are taken about their means, and the bias absorbs the difference.
AA-SVD (arXiv 2604.02119) uses the same regression for the linear layers of language models.
"""

import contextlib
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tensortrain.compression.analysis.calibration import Calibration
from tensortrain.compression.analysis.statistics import Call, Moments, Statistics, patches, watched
from tensortrain.compression.budget.resume import Progress
from tensortrain.compression.layers.candidates import approximate
from tensortrain.compression.layers.chains import chain_layer, fitted_matrix, layer_kernel
from tensortrain.compression.layers.modules import factorised, is_plain, places, swap
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.conv.fit.options import SolverOptions, threads_for
from tensortrain.conv.fit.solver import Fit, continued

RIDGE = 1e-3  # smallest λ, relative to the mean of the diagonal of E[x̃ x̃ᵀ]
PRECISION = 1e-9  # variances below this share of the mean square are rounding errors
UNCHANGED = 1e-10  # a dense layer stays as it is if its outputs would change by less than this share of their energy

REFITTED = SolverOptions(0, 0.0, lambda work: None)  # for refining a chain on its new inputs

Ranks = tuple[int, int]  # outer and inner rank within a group


class _Enough(BaseException):
    """Ends a pass when all calls of a layer have been seen. `except Exception` in the network must not catch it."""


@dataclass(frozen=True)
class Metric:
    """The metric in which a weight is approximated: regularised second moments of the inputs.

    Attributes:
        quadratic: a function that maps a matrix M to the moment of its outputs, `M Σ Mᵀ`.
        moment: Σ, `(G, d, d)`; None for layers with wide patches.
    """

    quadratic: Callable[[Tensor], Tensor]
    moment: Tensor | None


def anchored(matrix: Tensor, moments: Moments, centred: bool) -> tuple[Tensor, Metric]:
    """Return the refitted matrix W* and the metric in which to approximate it.

    Args:
        matrix: W, `(G, p, d)`.
        moments: second moments of the inputs x̃ and of the dense outputs y.
        centred: whether moments are taken about their means, as a bias allows.

    If the outputs are those of W, W* equals W:

    >>> matrix, x = torch.randn(1, 2, 3, dtype=torch.float64), torch.randn(1, 50, 3, dtype=torch.float64)
    >>> moments = Moments()
    >>> moments.add_outputs(x @ matrix.mT), moments.add_inputs(x, x @ matrix.mT)
    (None, None)
    >>> torch.allclose(anchored(matrix, moments, centred=False)[0], matrix)
    True
    """
    if moments.inputs is None:
        return _anchored_rows(matrix, moments, centred)
    n = moments.count
    square, cross = moments.inputs / n, moments.cross / n
    least = PRECISION * square.diagonal(dim1=1, dim2=2).mean(-1)
    if centred:
        x, y = moments.input_sum / n, moments.output_sum / n
        square = square - x[:, :, None] * x[:, None, :]
        cross = cross - y[:, :, None] * x[:, None, :]
    ridge = _ridge(square.diagonal(dim1=1, dim2=2).mean(-1).clamp(min=least), square.shape[-1] / n)
    regular = square + ridge[:, None, None] * torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    step = torch.cholesky_solve((cross - matrix @ square).mT, torch.linalg.cholesky(regular)).mT
    return matrix + step, Metric(lambda m: m @ regular @ m.mT, regular)


def _anchored_rows(matrix: Tensor, moments: Moments, centred: bool) -> tuple[Tensor, Metric]:
    """Compute the same if there are fewer patches than a patch has values, from the N × N matrix of their products."""
    x = torch.cat([rows for rows, _ in moments.rows], 1).double()
    y = torch.cat([rows for _, rows in moments.rows], 1).double()
    if centred:
        x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    n = x.shape[1]
    ridge = _ridge(x.square().mean((1, 2)), x.shape[2] / n)
    products = x @ x.mT + n * ridge[:, None, None] * torch.eye(n, dtype=x.dtype, device=x.device)
    step = torch.linalg.solve(products, y - x @ matrix.mT).mT @ x

    def quadratic(m: Tensor) -> Tensor:
        outputs = x @ m.mT
        return outputs.mT @ outputs / n + ridge[:, None, None] * m @ m.mT

    return matrix + step, Metric(quadratic, None)


def _ridge(diagonal: Tensor, values_per_patch: float) -> Tensor:
    """Return λ for each group, from the mean square of its inputs.

    It is the weight of the noise in `Moments.shrunk`, and at least `RIDGE`.
    """
    return torch.where(diagonal > 0, max(RIDGE, values_per_patch) * diagonal, torch.ones_like(diagonal))


@dataclass(frozen=True)
class Refitted:
    """A new layer.

    Attributes:
        layer: the layer.
        following: relative error of its outputs inside the compressed network.
    """

    layer: Any
    following: float


def refit(
    model: nn.Module,
    maps: Mapping[str, PatchMap],
    plan_ranks: Mapping[str, Ranks | None],
    fits: Mapping[str, Fit],
    statistics: Statistics,
    calibration: Calibration,
    tick: Callable[[str], None],
    progress: Progress,
) -> dict[str, Refitted]:
    """Factorise and refit the layers of a network.

    If one batch holds all inputs and calls each layer once, one pass is enough: each layer is replaced while the
    network runs, and the network continues with the output of the new layer. A layer that is called repeatedly, or that
    needs several batches, ends a pass: its moments are collected over all of its calls in a free-running network, the
    layer is replaced, and the next pass starts at the beginning of the network.

    Args:
        model: the dense network, in evaluation mode; it is not changed.
        maps: its layers, in the order of their first call.
        plan_ranks: the ranks of each layer; None for layers that stay dense.
        fits: the chains of the layers that become chains of another format, fitted to the dense weight.
        statistics: statistics of the dense network.
        calibration: the inputs.
        tick: called with the name of each layer when its inputs have been collected.
        progress: store of finished layers, which is open.

    Returns:
        The new layers by name, including those that stay dense but have other weights.
    """
    first = next((i for i, name in enumerate(maps) if plan_ranks[name] is not None), len(maps))
    pending = [
        name for name in list(maps)[first:] if plan_ranks[name] is not None or is_plain(model.get_submodule(name))
    ]  # a layer that was factorised before and is not replaced is not refitted
    small, finished = progress.restored(model)
    layers = {name: Refitted(small.get_submodule(name), error) for name, error in finished.items()}
    pending = [name for name in pending if name not in layers]
    run = _Refit(small, maps, plan_ranks, fits, statistics, calibration, pending, tick, progress, layers)
    while run.pending:
        run.one_pass()
    return run.layers


@dataclass
class _Refit:
    model: nn.Module
    maps: Mapping[str, PatchMap]
    plan_ranks: Mapping[str, Ranks | None]
    fits: Mapping[str, Fit]
    statistics: Statistics
    calibration: Calibration
    pending: list[str]
    tick: Callable[[str], None]
    progress: Progress
    layers: dict[str, Refitted]

    def one_pass(self) -> None:
        """Run the network until a layer needs another pass, and replace the layers that were refitted."""
        batches = self.calibration.batches[: self.calibration.refitted]
        self.waiting: tuple[str, Moments] | None = None
        ready: dict[str, nn.Module] = {}
        for self.index, self.batch in enumerate(batches):
            self.counts: dict[str, int] = {}
            with watched(self.model, list(self.pending), self._called(ready)), contextlib.suppress(_Enough):
                self.calibration.run(self.model, self.batch)
        if self.waiting is not None:
            name, moments = self.waiting
            ready[name] = self._finished(name, moments)
        self.model = swap(
            self.model, places(self.model, {n: layer for n, layer in ready.items() if layer is not self.maps[n].layer})
        )
        skipped = self.pending[0] if not ready else None  # the layer was not called in this pass, so it stays as it is
        self.pending = [name for name in self.pending if name not in ready and name != skipped]

    def _called(self, ready: dict[str, nn.Module]) -> Callable[[str, Call], Tensor | None]:
        def handler(name: str, call: Call) -> Tensor | None:
            if name in ready:
                return call.with_layer(ready[name])
            calls = self.statistics.sampler.calls[name]
            if self.waiting is None and calls == 1 and self.calibration.refitted == 1:
                moments = Moments()
                self._collect(name, moments, call)
                ready[name] = self._finished(name, moments)
                return call.with_layer(ready[name])
            if self.waiting is None:
                self.waiting = (name, Moments())
            if self.waiting[0] == name:
                self._collect(name, self.waiting[1], call)
                if self.counts[name] == calls:
                    raise _Enough
            return None

        return handler

    def _collect(self, name: str, moments: Moments, call: Call) -> None:
        own, sampler = self.maps[name], self.statistics.sampler
        number = self.counts.get(name, 0)
        self.counts[name] = number + 1
        target = self.statistics.targets[name].get((self.index, number))
        if target is None:  # the dense network has fewer calls
            return
        positions = sampler.positions(name, number, self.batch.size, own.positions(call.output))
        matrix = own.matrix()
        for x, part in patches(own, call, positions):
            present, y = x @ matrix.mT, target[:, part].double()
            y = y if _are_paired(y, present) else present
            moments.add_outputs(y)
            moments.add_inputs(x, y)

    def _finished(self, name: str, moments: Moments) -> Any:
        """Refit a layer, factorise it if that is planned, and return it."""
        self.tick(name)
        own, ranks = self.maps[name], self.plan_ranks[name]
        biased = own.layer.bias is not None
        matrix = own.matrix()
        if moments.count == 0:  # a router sends nothing there any more
            unfitted = own.layer if ranks is None else by_weight(own, ranks, self.fits.get(name))
            return self._kept(name, unfitted, 0.0)
        best, metric = anchored(matrix, moments, biased)
        if ranks is None:
            if _energy(best - matrix, metric) <= UNCHANGED * _energy(matrix, metric):
                return own.layer
            layer, final = self._dense(own, best), best
        elif name in self.fits:
            kernel = layer_kernel(own, best, metric.moment)
            with threads_for(best.numel()):
                fit = continued(kernel, self.fits[name], REFITTED)
            layer, final = chain_layer(own, kernel, fit), fitted_matrix(kernel, fit)
        else:
            factors = approximate(best, metric.quadratic(best), metric.moment, own.taps, ranks)
            layer, final = factorised(own, factors), factors.matrix()
        shift = None
        if biased:
            shift = (moments.output_sum - torch.einsum("gpd,gd->gp", final, moments.input_sum)) / moments.count
            with torch.no_grad():
                layer.bias.add_(shift.reshape(-1).to(layer.bias))
        return self._kept(name, layer, moments.residual(final, shift) ** 0.5)

    def _kept(self, name: str, layer: Any, following: float) -> Any:
        """Record a new layer and its error, and return it."""
        self.layers[name] = Refitted(layer, following)
        self.progress.add(name, layer, following)
        return layer

    @staticmethod
    def _dense(own: PatchMap, matrix: Tensor) -> Any:
        """Return a copy of the plain layer with another weight."""
        layer = copy.deepcopy(own.layer)
        with torch.no_grad():
            layer.weight.copy_(own.weight(matrix))
        return layer


def _are_paired(y: Tensor, present: Tensor) -> bool:
    """Return whether outputs of the dense network can be what a layer should yield for its present inputs.

    They are not if the network chooses the inputs, as a router of experts does, and has chosen others: then the two
    differ by more than the outputs of the dense network differ from zero.

    Args:
        y: outputs of the dense network, `(G, N, p)`.
        present: what the dense layer yields for the present inputs, `(G, M, p)`.
    """
    return y.shape == present.shape and float((y - present).square().sum()) <= float(y.square().sum())


def by_weight(own: PatchMap, ranks: Ranks, fit: Fit | None) -> nn.Module:
    """Approximate a layer by its weight alone."""
    matrix = own.matrix()
    if fit is not None:
        return chain_layer(own, layer_kernel(own, matrix, None), fit)
    unit = None
    if ranks[1] < own.inputs:
        unit = torch.eye(own.patch, dtype=matrix.dtype, device=matrix.device).expand(own.groups, -1, -1)
    size = float(matrix.abs().max()) or 1.0  # squares of very small or large entries leave the range
    near = matrix / size
    factors = approximate(near, near @ near.mT, unit, own.taps, ranks)
    return factorised(own, replace(factors, kernel=size * factors.kernel))


def _energy(matrix: Tensor, metric: Metric) -> float:
    return float(metric.quadratic(matrix).diagonal(dim1=1, dim2=2).sum())

"""Measure a compressed network, and make its report."""

import copy
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tensortrain.compression.analysis.network import Analysis, Measured
from tensortrain.compression.analysis.outputs import compare, reference_outputs
from tensortrain.compression.analysis.statistics import Call, Moments, watched
from tensortrain.compression.analysis.timing import Race, Timing
from tensortrain.compression.budget.build import Built
from tensortrain.compression.budget.fitted import cost_of
from tensortrain.compression.budget.plan import Plan, price, state_bytes
from tensortrain.compression.budget.progress import Stages
from tensortrain.compression.budget.refit import Ranks, Refitted
from tensortrain.compression.layers.candidates import Curve, unexplained
from tensortrain.compression.layers.modules import FACTORISED
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.compression.reports.report import LayerReport, Report
from tensortrain.conv.alignment import whole_size
from tensortrain.conv.fit.solver import Fit
from tensortrain.linalg import frobenius_norm
from tensortrain.profiling.macs import Recorder

ALONE = 5e10  # largest number of multiply-accumulates for measuring the effect of each layer alone
BOUNDED = 1e10  # largest number of multiplications for the moments of a layer's outputs, from which its bound follows
MOST_ALONE = 256  # largest number of samples for this measurement


def report_on(
    analysis: Analysis,
    plan: Plan,
    built: Built,
    metric: tuple[float, float] | None,
    timing: Timing | None,
    stages: Stages,
) -> Report:
    """Measure a compressed network and make its report.

    Args:
        analysis: analysis of the original network.
        plan: the plan from which the network was built.
        built: the network that was built.
        metric: the metric of the original and of the result; None if there is no metric.
        timing: times of the whole network, with a timer of its layers; None without inputs.
        stages: called with the name of the current stage.
    """
    measured, model, original = analysis.measured, built.model, analysis.model
    errors: dict[str, OutputErrors] = {}
    alone: dict[str, float] = {}
    races: dict[str, Race] = {}
    macs = None
    if measured is not None:
        stages("measurement")
        macs = (measured.trial.macs, _macs(model, measured))
        errors = output_errors(analysis, {name: new.layer for name, new in built.layers.items()})
        alone = _alone(analysis, measured, built.layers)
    if timing is not None:
        stages("timing")
        for name, new in built.layers.items():
            if plan.ranks[name] is not None:
                races[name] = timing.timer.race(name, analysis.reference.get_submodule(name), new.layer)
    stages("report")
    names = (*analysis.maps, *analysis.left)
    return Report(
        layers=[
            dataclasses.replace(
                _layer_report(analysis, plan, built.layers, errors, races.get(name), name), alone=alone.get(name)
            )
            for name in names
        ],
        budget=f"{plan.kind} ≤ {_amount(plan.budget)} of {_amount(plan.total)} ({plan.budget / plan.total:.1%})",
        parameters=(_count(original), _count(model)),
        memory=(state_bytes(original), state_bytes(model)),
        macs=macs,
        reached=_reached(analysis, plan),
        error=plan.error,
        bound=plan.bound,
        outputs=built.outputs,
        batch_norm=built.batch_norm,
        samples=0 if measured is None else measured.calibration.size,
        digest=None if measured is None else measured.digest,
        seed=0 if measured is None else measured.calibration.seed,
        metric=metric,
        milliseconds=None if timing is None else (timing.race.before, timing.race.after),
        timed=0 if timing is None else timing.timer.batch.size,
        seconds=dict(stages.seconds),
        notes=[*analysis.notes, *_remarks(metric, timing)],
    )


def _remarks(metric: tuple[float, float] | None, timing: Timing | None) -> list[str]:
    """Return remarks on what the result fails to reach."""
    remarks = [timing.missed] if timing is not None and timing.missed else []
    if metric is not None and not math.isfinite(metric[1]):
        remarks.append(f"the metric of the compressed network is {metric[1]}, which is not finite")
    return remarks


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.4g}"


def _macs(model: nn.Module, measured: Measured) -> float:
    """Count the multiply-accumulates for each sample while the built network runs."""
    batch = measured.calibration.small_batch()
    with Recorder() as recorder:
        measured.calibration.run(model, batch)
    return float(recorder.count.macs / batch.size)


@dataclass
class OutputErrors:
    """Sums over all outputs of a layer on the inputs that the dense network passes to it.

    Attributes:
        squared: Σ |y' − y|² of the layer that replaces it.
        energy: Σ |y|² of its own outputs without the bias.
        moments: their moments, for the lower bounds; None if these take too long, or if the layer stays dense.
    """

    squared: float = 0.0
    energy: float = 0.0
    moments: Moments | None = None

    @property
    def error(self) -> float:
        """The relative error."""
        return (self.squared / self.energy) ** 0.5 if self.energy else 0.0

    def add(self, own: PatchMap, output: Tensor, new: Tensor) -> None:
        """Add the outputs of one call, the layer's own and those of the layer that replaces it."""
        self.squared += float((new.double() - output.double()).square().sum())
        y = own.results(output, torch.arange(own.positions(output)))
        self.energy += float(y.square().sum())
        if self.moments is not None:
            work = (self.moments.count + y.shape[1]) * y.shape[2] * y.shape[0] * y.shape[2]
            self.moments = self.moments if work <= BOUNDED else None
        if self.moments is not None:
            self.moments.add_outputs(y)

    def tails(self, own: PatchMap) -> Tensor | None:
        """Return the lower bounds of the squared error by rank, see `Curve.tails`.

        A layer with a bias can shift its outputs, so only their deviations from the mean need approximating.
        """
        if self.moments is None:
            return None
        outputs = self.moments.outputs
        if own.layer.bias is not None:
            mean = self.moments.output_sum / self.moments.count
            outputs = outputs - self.moments.count * mean[:, :, None] * mean[:, None, :]
        return unexplained(outputs, self.energy, own.matrix())


def output_errors(analysis: Analysis, layers: Mapping[str, nn.Module]) -> dict[str, OutputErrors]:
    """Measure the outputs of new layers on the inputs that the dense network passes to the layers they replace.

    Args:
        analysis: analysis of the dense network, with measurements on inputs.
        layers: the new layers, by name.
    """
    measured = analysis.measured
    assert measured is not None
    errors = {
        name: OutputErrors(moments=Moments() if isinstance(layer, FACTORISED) else None)
        for name, layer in layers.items()
    }

    def handler(name: str, call: Call) -> None:
        errors[name].add(analysis.maps[name], call.output, call.with_layer(layers[name]))

    with watched(analysis.reference, layers, handler):
        for batch in measured.calibration.batches[: measured.calibration.refitted]:
            measured.calibration.run(analysis.reference, batch)
    return errors


def _alone(analysis: Analysis, measured: Measured, layers: Mapping[str, Refitted]) -> dict[str, float]:
    """Return the effect of each new layer alone on the outputs of the dense network.

    It is the KL divergence, or the relative error if the outputs are not logits.
    """
    reference, calibration = analysis.reference, measured.calibration
    if not layers or not calibration.independent:
        return {}
    count = int(ALONE / (len(layers) * max(1.0, measured.trial.macs)))
    batch = calibration.batches[0].rows(0, max(1, min(MOST_ALONE, count)))
    few = dataclasses.replace(calibration, batches=[batch], size=batch.size)
    outputs = reference_outputs(reference, few, analysis.selector)
    losses = {}
    for name, new in layers.items():

        def handler(name: str, call: Call, layer: nn.Module = new.layer) -> Tensor:
            return call.with_layer(layer)

        with watched(reference, [name], handler):
            difference = compare(outputs, reference, few, analysis.selector, analysis.logits)
        if difference is not None:
            losses[name] = difference.loss
    return losses


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _reached(analysis: Analysis, plan: Plan) -> float:
    """Return the share of the parameters that are in layers which were replaced or had several options."""
    layers = {name for name, ranks in plan.ranks.items() if ranks is not None} | plan.offered
    return sum(_count(analysis.reference.get_submodule(name)) for name in layers) / _count(analysis.model)


def _layer_report(
    analysis: Analysis,
    plan: Plan,
    layers: Mapping[str, Refitted],
    errors: Mapping[str, OutputErrors],
    times: Race | None,
    name: str,
) -> LayerReport:
    layer: Any = analysis.reference.get_submodule(name)
    stored = sum(p.numel() for key, p in layer.named_parameters() if not key.endswith("bias"))
    if name in analysis.left:
        whole = isinstance(layer, FACTORISED)  # its weight is composed of its cores, which may be the reason
        shape = tuple(layer.weight_shape if whole else getattr(layer, "weight", torch.empty(0)).shape)
        kind = f"{type(layer).__name__} {'×'.join(map(str, shape))}"
        return LayerReport(name, kind, "left alone", "", (), (stored, stored), note=analysis.left[name])
    own, ranks, new = analysis.maps[name], plan.ranks[name], layers.get(name)
    state = "factorised" if ranks is not None else "unchanged" if new is None else "refitted"
    macs = None
    fit = plan.fits.get(name)
    if analysis.measured is not None:
        prices = price(analysis, "macs", name)
        form = torch.tensor([ranks or (own.outputs, own.inputs)])
        after = float(prices.of(form, own)) if fit is None else cost_of(analysis, "macs", name, fit)
        macs = (prices.present, after)
    if new is None:
        return LayerReport(name, _kind(own), state, _form(layer), (), (stored, stored), macs, 0.0, 0.0, 0.0, 0.0, 0.0)
    weight, other = (copy.deepcopy(module).double().weight.detach() for module in (own.layer, new.layer))
    norm = frobenius_norm(weight)
    predicted = plan.errors[name] ** 0.5
    return LayerReport(
        name,
        _kind(own),
        state,
        _form(new.layer),
        tuple(getattr(new.layer, "ranks", ()))[1:-1] or ((new.layer.rank,) if hasattr(new.layer, "rank") else ()),
        (stored, sum(p.numel() for key, p in new.layer.named_parameters() if not key.endswith("bias"))),
        macs,
        predicted,
        errors[name].error if name in errors else None,
        None if ranks is None else _bound(own, analysis.curves[name], errors.get(name), ranks, fit),
        None if analysis.measured is None else new.following,
        frobenius_norm(weight - other) / norm if norm else 0.0,
        None if times is None else (times.before[1], times.before[1] * times.ratio),
        "other code reads its weight, and multiplies by the whole of it as before" if name in analysis.read else "",
    )


def _bound(own: PatchMap, curve: Curve, errors: OutputErrors | None, ranks: Ranks, fit: Fit | None) -> float | None:
    """Return a lower bound of the error for all layers whose outputs have the same rank; None if it takes too long.

    Without inputs it is a bound of the weight's error. For a chain, it is the largest of the bounds at its bonds.
    """
    tails = curve.tails if errors is None else errors.tails(own)
    if tails is None:
        return None
    curve = dataclasses.replace(curve, tails=tails)
    if fit is None:
        return math.sqrt(curve.bound(ranks))
    sizes = fit.chain_format.kernel_sizes
    bonds = [curve.bound_at(r * math.prod(whole_size(sizes[:l]))) for l, r in enumerate(fit.ranks, start=1)]
    return math.sqrt(max(bonds))


def _kind(own: PatchMap) -> str:
    """Return type and shape of a layer, such as `"Conv2d 64→64 3×3"`."""
    size = "×".join(map(str, own.size))
    groups = f" g{own.groups}" if own.groups > 1 else ""
    channels = f"{own.inputs * own.groups}→{own.outputs * own.groups}"
    return f"{type(own.layer).__name__} {channels} {size}{groups}".rstrip()


def _form(layer: Any) -> str:
    """Return the kernel sizes of the cores, output side first."""
    cores = layer.cores if isinstance(layer, FACTORISED) else [layer]
    return " | ".join("×".join(map(str, core.weight.shape[2:])) or "linear" for core in cores)

"""Measure a compressed network, and report what was found."""

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tensortrain.compression.analysis.network import Analysis, Measured
from tensortrain.compression.analysis.outputs import compare, reference_outputs
from tensortrain.compression.analysis.statistics import Call, watched
from tensortrain.compression.analysis.timing import LayerTimer, Race, batch_to_time, layer_timer, time_whole
from tensortrain.compression.budget.build import Built
from tensortrain.compression.budget.fitted import cost_of
from tensortrain.compression.budget.plan import Plan, price, state_bytes
from tensortrain.compression.budget.progress import Stages
from tensortrain.compression.budget.refit import Ranks, Refitted
from tensortrain.compression.layers.candidates import Curve
from tensortrain.compression.layers.modules import FACTORISED
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.compression.reports.report import LayerReport, Report
from tensortrain.conv.alignment import whole_size
from tensortrain.conv.fit.solver import Fit
from tensortrain.profiling.macs import Recorder

ALONE = 5e10  # multiply-accumulates that may be spent on showing what each layer does alone
MOST_ALONE = 256  # samples for that


def report_on(
    analysis: Analysis,
    plan: Plan,
    built: Built,
    metric: tuple[float, float] | None,
    timer: LayerTimer | None,
    stages: Stages,
) -> Report:
    """Measure what was built.

    Args:
        analysis: analysis of the original network.
        plan: the plan of the compressed network.
        built: the compressed network.
        metric: metric of the original and of the result; None if there is none.
        timer: the timer that has already timed the layers, if the budget is a time.
        stages: called with what is being done.
    """
    measured, model, original = analysis.measured, built.model, analysis.model
    errors: dict[str, float] = {}
    alone: dict[str, float] = {}
    races: dict[str, Race] = {}
    macs, times, timed = None, None, 0
    notes = list(analysis.notes)
    if measured is not None:
        stages("measurement")
        macs = (measured.trial.macs, _macs(model, measured))
        errors = output_errors(analysis, {name: new.layer for name, new in built.layers.items()})
        alone = _alone(analysis, measured, built.layers)
        stages("timing")
        batch = batch_to_time(analysis) if timer is None else measured.calibration.first
        timer, timed = timer or layer_timer(analysis, batch), batch.size
        for name, new in built.layers.items():
            if plan.ranks[name] is not None:
                races[name] = timer.race(name, analysis.reference.get_submodule(name), new.layer)
        whole = time_whole(analysis, model, batch)
        times = (whole.before, whole.after)
        if plan.kind == "milliseconds" and whole.after[1] > plan.budget:
            notes.append(f"MISSED: the network takes {whole.after[1]:.3g} ms, {plan.budget:.3g} were asked for")
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
        milliseconds=times,
        timed=timed,
        seconds=dict(stages.seconds),
        notes=notes,
    )


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.4g}"


def _macs(model: nn.Module, measured: Measured) -> float:
    """Multiply-accumulates for each sample, counted while the built network runs."""
    batch = measured.calibration.small_batch()
    with Recorder() as recorder:
        measured.calibration.run(model, batch)
    return float(recorder.count.macs / batch.size)


def output_errors(analysis: Analysis, layers: Mapping[str, nn.Module]) -> dict[str, float]:
    """Relative error of each new layer's outputs on the inputs that the dense network feeds it."""
    measured = analysis.measured
    assert measured is not None
    squares = {name: [0.0, 0.0] for name in layers}

    def handler(name: str, call: Call) -> None:
        own = analysis.maps[name]
        expected = call.output.double()
        squares[name][0] += float((call.with_layer(layers[name]).double() - expected).square().sum())
        if own.layer.bias is not None:
            shape = [-1 if axis == expected.dim() - 1 - len(own.size) else 1 for axis in range(expected.dim())]
            expected = expected - own.layer.bias.double().reshape(shape)
        squares[name][1] += float(expected.square().sum())

    with watched(analysis.reference, layers, handler):
        for batch in measured.calibration.batches[: measured.calibration.refitted]:
            measured.calibration.run(analysis.reference, batch)
    return {name: (error / total) ** 0.5 if total else 0.0 for name, (error, total) in squares.items()}


def _alone(analysis: Analysis, measured: Measured, layers: Mapping[str, Refitted]) -> dict[str, float]:
    """What each new layer does alone to the outputs of the dense network: their divergence, or relative error."""
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
    """Part of the parameters in layers that were replaced or had a choice."""
    layers = {name for name, ranks in plan.ranks.items() if ranks is not None} | plan.offered
    return sum(_count(analysis.reference.get_submodule(name)) for name in layers) / _count(analysis.model)


def _layer_report(
    analysis: Analysis,
    plan: Plan,
    layers: Mapping[str, Refitted],
    errors: Mapping[str, float],
    times: Race | None,
    name: str,
) -> LayerReport:
    layer = analysis.reference.get_submodule(name)
    stored = sum(p.numel() for key, p in layer.named_parameters() if not key.endswith("bias"))
    if name in analysis.left:
        shape = tuple(getattr(layer, "weight", torch.empty(0)).shape)
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
    norm = float(weight.norm())
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
        errors.get(name),
        None if ranks is None else _bound(analysis.curves[name], ranks, fit) ** 0.5,
        None if analysis.measured is None else new.following,
        float((weight - other).norm()) / norm if norm else 0.0,
        None if times is None else (times.before[1], times.before[1] * times.ratio),
        "its weight is read by other code: no fewer multiplications there" if name in analysis.read else "",
    )


def _bound(curve: Curve, ranks: Ranks, fit: Fit | None) -> float:
    """What no layer can go below whose outputs have as low a rank as those of a form, or of a chain at each bond."""
    if fit is None:
        return curve.bound(ranks)
    sizes = fit.chain_format.kernel_sizes
    return max(curve.bound_at(r * math.prod(whole_size(sizes[:l]))) for l, r in enumerate(fit.ranks, start=1))


def _kind(own: PatchMap) -> str:
    """Type and shape, such as `"Conv2d 64→64 3×3"`."""
    size = "×".join(map(str, own.size))
    groups = f" g{own.groups}" if own.groups > 1 else ""
    channels = f"{own.inputs * own.groups}→{own.outputs * own.groups}"
    return f"{type(own.layer).__name__} {channels} {size}{groups}".rstrip()


def _form(layer: Any) -> str:
    """Kernel sizes of the cores, output side first."""
    cores = layer.cores if isinstance(layer, FACTORISED) else [layer]
    return " | ".join("×".join(map(str, core.weight.shape[2:])) or "linear" for core in cores)

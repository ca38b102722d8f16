"""Build the network that a plan describes, and measure what was built."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from tensortrain.compression import batch_norm
from tensortrain.compression.analysis import Analysis, Measured
from tensortrain.compression.candidates import approximate
from tensortrain.compression.exchange import exchange, exchangeable
from tensortrain.compression.modules import FACTORISED, duplicate, factorised, places, swap
from tensortrain.compression.outputs import Difference, compare
from tensortrain.compression.plan import Plan, price, state_bytes
from tensortrain.compression.progress import Stages
from tensortrain.compression.refit import Refitted, refit
from tensortrain.compression.report import LayerReport, Report
from tensortrain.compression.result import Compressed
from tensortrain.compression.statistics import Call, watched
from tensortrain.compression.unfolding import PatchMap
from tensortrain.profiling.macs import Recorder


def build(
    analysis: Analysis,
    plan: Plan,
    stages: Stages,
    *,
    metric: Callable[[nn.Module], float] | None,
    original: float | None,
) -> Compressed:
    """Factorise and refit the layers, estimate batch norm anew if that helps, and measure the result.

    Args:
        analysis: of the network.
        plan: a form for each of its layers.
        stages: called with what is being done, and to which layer.
        metric: to be reported.
        original: its value for the original network.
    """
    measured = analysis.measured
    if measured is None:
        layers = {name: Refitted(_truncated(analysis.maps[name], r), 0.0) for name, r in plan.ranks.items() if r}
    else:
        small = duplicate(analysis.reference)
        statistics, inputs = measured.statistics, measured.calibration
        layers = refit(small, analysis.maps, plan.ranks, statistics, inputs, lambda name: stages("refit", name))
    model = _assembled(analysis.model, {name: new.layer for name, new in layers.items()})
    training = {name: module.training for name, module in model.named_modules()}
    model.eval()
    outputs, renewed, macs, errors = None, None, None, {}
    if measured is not None:
        stages("batch norm")
        outputs, renewed = _with_batch_norm(model, analysis, measured)
        stages("measurement")
        macs = (measured.trial.macs, _macs(model, measured))
        errors = _errors(analysis, measured, {name: new.layer for name, new in layers.items()})
    values = None
    if metric is not None and original is not None:
        stages("metric")
        with torch.no_grad():
            values = (original, float(metric(model)))
    for name, module in model.named_modules():
        module.training = training[name]
    stages("report")
    reports = [_layer_report(analysis, plan, layers, errors, name) for name in (*analysis.maps, *analysis.left)]
    before = analysis.model
    report = Report(
        layers=reports,
        budget=f"{plan.kind} ≤ {plan.budget:,.0f} of {plan.total:,.0f} ({plan.budget / plan.total:.1%})",
        parameters=(_count(before), _count(model)),
        memory=(state_bytes(before), state_bytes(model)),
        macs=macs,
        reached=_reached(analysis, plan),
        error=plan.error,
        bound=plan.bound,
        outputs=outputs,
        batch_norm=renewed,
        samples=0 if measured is None else measured.calibration.size,
        digest=None if measured is None else measured.digest,
        seed=0 if measured is None else measured.calibration.seed,
        metric=values,
        seconds=dict(stages.seconds),
        notes=analysis.notes,
    )
    return Compressed.of(model, report, analysis.model)


def _truncated(own: PatchMap, ranks: tuple[int, int]) -> nn.Module:
    """A layer approximated by its weight alone."""
    matrix = own.matrix()
    unit = None
    if ranks[1] < own.inputs:
        unit = torch.eye(own.patch, dtype=matrix.dtype, device=matrix.device).expand(own.groups, -1, -1)
    return factorised(own, approximate(matrix, matrix @ matrix.mT, unit, own.taps, ranks))


def _assembled(original: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of the original with its new layers, in the modes of those that they replace."""
    model = duplicate(original)
    needed = {name for name in exchangeable(model) if any(_beside(name, layer) for layer in layers)}
    model = exchange(model, needed)
    for name, layer in layers.items():
        layer.train(model.get_submodule(name).training)
    return swap(model, places(model, layers))


def _beside(attention: str, layer: str) -> bool:
    """Whether a layer stands in the module that holds an attention module, which may read its weight as well."""
    return f"{layer}.".startswith(f"{attention.rpartition('.')[0]}.".removeprefix("."))


def _with_batch_norm(model: nn.Module, analysis: Analysis, measured: Measured) -> tuple[Difference, bool | None]:
    """The difference of the outputs, and whether new statistics of batch norm have made it smaller."""
    inputs = measured.calibration
    before = compare(measured.outputs, model, inputs, analysis.selector, analysis.logits)
    estimated = batch_norm.estimate(model, inputs)
    if not estimated:
        return before, None
    kept = batch_norm.present(model)
    batch_norm.install(model, estimated)
    after = compare(measured.outputs, model, inputs, analysis.selector, analysis.logits)
    if after.loss < before.loss:
        return after, True
    batch_norm.install(model, kept)
    return before, False


def _macs(model: nn.Module, measured: Measured) -> float:
    """Multiply-accumulates for each sample, counted while the built network runs."""
    batch = measured.calibration.small_batch()
    with Recorder() as recorder:
        measured.calibration.run(model, batch)
    return float(recorder.count.macs / batch.size)


def _errors(analysis: Analysis, measured: Measured, layers: Mapping[str, nn.Module]) -> dict[str, float]:
    """Relative error of each new layer's outputs on the inputs that the dense network feeds it."""
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


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _reached(analysis: Analysis, plan: Plan) -> float:
    """Part of the parameters in layers that were replaced or had a choice."""
    layers = {name for name, ranks in plan.ranks.items() if ranks is not None} | plan.offered
    return sum(_count(analysis.reference.get_submodule(name)) for name in layers) / _count(analysis.model)


def _layer_report(
    analysis: Analysis, plan: Plan, layers: Mapping[str, Refitted], errors: Mapping[str, float], name: str
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
    if analysis.measured is not None:
        prices = price(analysis, "macs", name)
        chosen = torch.tensor([ranks or (own.outputs, own.inputs)])
        macs = (prices.present, float(prices.of(chosen, own)))
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
        None if ranks is None else analysis.curves[name].bound(ranks) ** 0.5,
        None if analysis.measured is None else new.following,
        float((weight - other).norm()) / norm if norm else 0.0,
        "its weight is read by other code: no fewer multiplications there" if name in analysis.read else "",
    )


def _kind(own: PatchMap) -> str:
    """Type and shape, such as `"Conv2d 64→64 3×3"`."""
    size = "×".join(map(str, own.size))
    groups = f" g{own.groups}" if own.groups > 1 else ""
    channels = f"{own.inputs * own.groups}→{own.outputs * own.groups}"
    return f"{type(own.layer).__name__} {channels} {size}{groups}".rstrip()


def _form(layer: Any) -> str:
    """Kernel sizes of the cores, output side first."""
    cores = layer.cores if isinstance(layer, FACTORISED) else [layer]
    return " ∣ ".join("×".join(map(str, core.weight.shape[2:])) or "linear" for core in cores)

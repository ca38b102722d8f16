"""Analyse a network before a budget is set: its layers, their statistics, and their error curves."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tensortrain import checks
from tensortrain.compression.analysis import batch_norm, selection
from tensortrain.compression.analysis.calibration import Calibration
from tensortrain.compression.analysis.outputs import reference_outputs
from tensortrain.compression.analysis.selection import Selector, difference
from tensortrain.compression.analysis.sensitivity import probe, weigh
from tensortrain.compression.analysis.statistics import WIDEST, Statistics, collect
from tensortrain.compression.analysis.trial import Trial, observe
from tensortrain.compression.layers.candidates import Curve, error_curve
from tensortrain.compression.layers.exchange import exchangeable, unexchangeable
from tensortrain.compression.layers.modules import outermost, plain
from tensortrain.compression.layers.replaceable import copy_of, obstacles, reference_of
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.compression.layers.wrappers import unwrapped
from tensortrain.compression.state_dicts.kernels import ConvKernel, select
from tensortrain.compression.state_dicts.names import join
from tensortrain.digest import digest
from tensortrain.errors import TensorTrainError

MEMORY = 1.0e9  # largest memory of the activations of a forward pass, in bytes
EXCLUDED = "include and exclude do not select it"
WEIGHED = "layers are called repeatedly, so each squared error is weighted by what the layer alone does to the outputs"
AGREEMENT = 1e-3  # relative differences of two outputs up to this one count as rounding errors, in single precision
FEWEST = 64  # smallest number of samples in a pass, however large its activations are

Tick = Callable[[str, str], None]  # is called with the name of the stage and of the layer


@dataclass(frozen=True)
class Measured:
    """Measurements of a network on its inputs.

    Attributes:
        trial: result of one forward pass of a small batch.
        calibration: the calibration inputs.
        statistics: statistics of the layers.
        outputs: outputs of the network for the inputs.
        digest: digest of the inputs.
        weights: weights of the layers' squared errors; 1 for layers that are missing here.
    """

    trial: Trial
    calibration: Calibration
    statistics: Statistics
    outputs: list[Tensor]
    digest: str
    weights: dict[str, float]


@dataclass(frozen=True)
class Analysis:
    """A network that is ready to be compressed to any budget.

    Attributes:
        model: the network that was passed, without wrappers; it is not changed.
        reference: a copy in evaluation mode, whose attention modules call their projections.
        maps: the layers that may be replaced or refitted, in the order of their first call.
        curves: the error of every form of these layers.
        moments: second moments `(G, d, d)` of the inputs of the layers that fits may replace; the errors are measured
            in their metric. Empty without inputs, or if no fits are wanted.
        left: all other conv and linear layers, with the reasons why they stay as they are.
        read: names of layers whose weight is read by other code than the layer itself.
        measured: measurements on the inputs; None if there are no inputs.
        selector: selects the output to compare.
        logits: whether that output holds logits; None if its shape decides.
        notes: remarks for the report.
    """

    model: nn.Module
    reference: nn.Module
    maps: dict[str, PatchMap]
    curves: dict[str, Curve]
    moments: dict[str, Tensor]
    left: dict[str, str]
    read: frozenset[str]
    measured: Measured | None
    selector: Selector
    logits: bool | None
    notes: list[str]


def analyse(
    model: object,
    inputs: Any,
    *,
    include: str | Iterable[str],
    exclude: str | Iterable[str],
    samples: int,
    output: Selector,
    logits: bool | None,
    seed: int,
    tick: Tick,
    keep_moments: bool = False,
    independent: bool | None = None,
) -> Analysis:
    """Analyse a network, with or without inputs.

    Args:
        model: a trained network; the other arguments are those of `compress`, except the last three.
        inputs: calibration inputs, or None.
        include: pattern on the names of layers that may change, or several.
        exclude: pattern on the names of layers that stay as they are, or several.
        samples: largest number of samples that are used, see `compress`.
        output: selects the output to compare.
        logits: whether that output holds logits; None if its shape decides.
        seed: seed of all random choices.
        tick: called with the name of the stage and of the layer.
        keep_moments: whether to keep the second moments of the layers' inputs in memory, for later fits.
        independent: whether the rows of a batch are independent of each other; None to find out.

    Raises:
        TensorTrainError: no layer could be replaced, weights are NaN or infinite, patterns match nothing, or the
            network cannot run on the inputs.
    """
    original = unwrapped(model)
    reference = reference_of(original)
    layers = dict(outermost(reference))
    if not layers:
        kind = type(original).__name__
        what = "; a traced graph has operators in place of layers" if isinstance(original, torch.fx.GraphModule) else ""
        raise TensorTrainError(f"model is a {kind} without any conv or linear layer to compress{what}")
    _check_weights(reference, layers)
    left = _left_alone(reference, layers, checks.strings(include), checks.strings(exclude))
    _check_some_are_free(left, layers)
    notes = [f"{name or 'the model'} stays as it is: {reason}" for name, reason in unexchangeable(original).items()]
    if inputs is None:
        maps = {name: PatchMap.of(plain(layers[name])) for name in layers if name not in left}
        curves = {name: _frobenius_curve(own) for name, own in maps.items()}
        return Analysis(original, reference, maps, curves, {}, left, frozenset(), None, output, logits, notes)
    calibration = Calibration.read(inputs, reference, samples=samples, seed=seed, tick=tick)
    tick("trial", "")
    calibration = calibration.prepared(reference, samples, output, independent)
    first = calibration.small_batch()
    trial = observe(lambda: calibration.run(reference, first), reference, layers, first.size)
    for name, use in trial.uses.items():
        if not use.calls and name not in left:
            left[name] = "other code reads its weight" if use.read else "the network does not call it for these inputs"
    _check_some_are_free(left, layers)
    maps = {name: PatchMap.of(plain(layers[name])) for name in trial.uses if name not in left}
    calibration = calibration.portioned(max(FEWEST, int(MEMORY / max(1, trial.bytes))))
    statistics = collect(reference, maps, trial.uses, calibration, lambda name: tick("statistics", name))
    for name in [name for name in maps if not statistics.moments[name].count]:
        left[name] = "it reads no values for these inputs"
        del maps[name]
    _check_some_are_free(left, layers)
    curves, probes, kept = {}, {}, {}
    again = any(trial.uses[name].calls > 1 for name in maps)
    for name, own in maps.items():
        tick("error curves", name)
        moments = statistics.moments[name].shrunk(own.matrix()) if again else None
        curves[name], moment = _measured_curve(own, statistics, name)
        if keep_moments and moment is not None:
            kept[name] = moment
        if moments is not None:
            probes[name] = probe(own, curves[name], *moments)
    if again:
        tick("weights of errors", "")
    weights = weigh(reference, probes, calibration, output) if again else {}
    outputs, differ = _outputs(original, reference, calibration, output)
    fingerprint = digest([batch.tensors() for batch in calibration.batches])
    measured = Measured(trial, calibration, statistics, outputs, fingerprint, weights)
    read = frozenset(name for name in maps if trial.uses[name].read)
    notes += [*_remarks(reference, maps, calibration), *([WEIGHED] if weights else []), *differ]
    return Analysis(original, reference, maps, curves, kept, left, read, measured, output, logits, notes)


def _outputs(
    original: nn.Module, reference: nn.Module, calibration: Calibration, selector: Selector
) -> tuple[list[Tensor], list[str]]:
    """Return the outputs of the original network, and a remark if the exchange of attention modules changes them.

    A warning says the same. Without exchanged modules, the reference is a copy of the original and runs in its place.
    """
    if not exchangeable(original):
        return reference_outputs(reference, calibration, selector), []
    copied, first = copy_of(original).eval(), calibration.small_batch()
    before, after = (selection.select(calibration.run(model, first), selector) for model in (copied, reference))
    if before.shape == after.shape:
        distance = float(difference(before.double(), after.double()).norm())
        size = float(torch.where(before.isinf(), 0.0, before).double().norm())
        precisions = [torch.finfo(p.dtype).eps for p in reference.parameters() if p.is_floating_point()]
        if distance <= max([AGREEMENT, *(eps**0.5 for eps in precisions)]) * size:
            return reference_outputs(reference, calibration, selector), []
        what = f"by {distance / size:.2g} of their norm" if size else "from zeros"
    else:
        what = f"in shape, {tuple(after.shape)} instead of {tuple(before.shape)},"
    remark = (
        f"attention modules that call their projections change the outputs {what}, before anything is compressed; an"
        " nn.TransformerEncoder with a padding mask, for example, no longer returns zeros at masked positions. The"
        " difference is part of the errors of the outputs in this report. Multiply by the mask in your network, or"
        " exclude the encoder"
    )
    warnings.warn(remark, stacklevel=5)
    return reference_outputs(copied, calibration, selector), [remark]


def _check_weights(model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    for name, value in model.named_parameters():
        if nn.parameter.is_lazy(value):
            raise TensorTrainError(f"{name} is lazy and has no entries yet; run the model on an input first")
        if value.is_meta:
            raise TensorTrainError(f"{name} is on the meta device and has no entries; load it first")
    for name, layer in layers.items():
        for part, value in layer.named_parameters():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise TensorTrainError(f"{join(name, part)} holds NaN or infinite entries; all must be finite")


def _check_some_are_free(left: Mapping[str, str], layers: Mapping[str, nn.Module]) -> None:
    if len(left) == len(layers):
        name, reason = next((item for item in left.items() if item[1] != EXCLUDED), next(iter(left.items())))
        raise TensorTrainError(f"none of {len(layers)} layers can be replaced; {name or 'the model'}: {reason}")


def _left_alone(
    reference: nn.Module, layers: Mapping[str, nn.Module], include: list[str], exclude: list[str]
) -> dict[str, str]:
    """Return the layers that must stay as they are, with the reasons."""
    kernels = [ConvKernel(join(name, "weight"), torch.empty(0)) for name in layers]
    selected = {kernel.layer for kernel in select(kernels, include, exclude, "layer")}
    owners: dict[int, list[str]] = {}
    for name, module in reference.named_modules():
        for value in module.parameters(recurse=False):
            owners.setdefault(id(value), []).append(name)
    inexact, reasons = obstacles(layers), {}
    for name, layer in layers.items():
        if name not in selected:
            reasons[name] = EXCLUDED
            continue
        if name in inexact:
            reasons[name] = inexact[name]
            continue
        others = sorted({other for p in layer.parameters() for other in owners[id(p)]} - _names_within(name, layer))
        if others:
            reasons[name] = f"it shares a parameter with {', '.join(map(repr, others))}"
    return reasons


def _names_within(name: str, layer: nn.Module) -> set[str]:
    return {join(name, inner) if inner else name for inner, _ in layer.named_modules()}


def _frobenius_curve(own: PatchMap) -> Curve:
    """Return the errors of the weights alone, which are those of the outputs for white noise as input."""
    matrix = own.matrix()
    matrix = matrix / (float(matrix.abs().max()) or 1.0)  # squares of very small or large entries leave the range
    unit = None
    if own.taps > 1 and own.patch <= WIDEST:
        unit = torch.eye(own.patch, dtype=matrix.dtype, device=matrix.device).expand(own.groups, -1, -1)
    return error_curve(matrix, matrix @ matrix.mT, unit, own.taps)


def _measured_curve(own: PatchMap, statistics: Statistics, name: str) -> tuple[Curve, Tensor | None]:
    """Return the errors of the outputs, and the moment of the inputs in whose metric they are.

    Sums that are not needed later are freed.
    """
    moments, matrix = statistics.moments[name], own.matrix()
    outputs, inputs = moments.shrunk(matrix)
    moments.inputs = moments.cross = None
    return error_curve(matrix, outputs, inputs, own.taps), inputs


def _remarks(reference: nn.Module, maps: Mapping[str, PatchMap], calibration: Calibration) -> list[str]:
    remarks = []
    refitted = sum(batch.size for batch in calibration.batches[: calibration.refitted])
    if refitted < calibration.size:
        remarks.append(f"layers are refitted on {refitted} of {calibration.size} samples, as many as fit into memory")
    for name, own in maps.items():
        if own.patch > WIDEST:
            remarks.append(f"{name} reads {own.patch} values at a time, so it is refitted on a sample of its inputs")
    deviation = batch_norm.gross_deviation(reference, batch_norm.estimate(reference, calibration))
    if deviation is not None:
        remark = (
            f"the inputs are unlike those that the network was trained on: {deviation}; are they normalised as in"
            " training?"
        )
        warnings.warn(remark, stacklevel=4)
        remarks.append(remark)
    return remarks

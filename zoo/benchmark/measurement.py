"""Compare the variants of a case: count their operators, check their results, and time them alternately."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tensortrain.profiling.clock import Clock, alternate
from tensortrain.profiling.isolated import COPIED, copying, isolated
from tensortrain.profiling.macs import Count, Recorder
from tensortrain.profiling.memory import kernel_launches, peak_bytes
from zoo.benchmark.setup import Trial, make_trial
from zoo.benchmark.variants import PLAIN, Switch, Variant
from zoo.data import ClipDataset
from zoo.errors import ZooError
from zoo.model_files.building import build_model
from zoo.settings import Recipe

_COPY, _OPTIMIZER = "a copy", "a step of the optimiser of"
TOLERANCE = 1e-3  # relative difference of gradients in 32 bits after a whole clip


@dataclass(frozen=True)
class Case:
    """One case to measure.

    Args:
        recipe: the recipe from `benchmark_recipe`.
        preset: the name of its preset.
        job: "training" or "inference".
        ratio: the fraction of true frames that training reads after the observed ones.
        clips: the training clips.
        device: the device to run on.
    """

    recipe: Recipe
    preset: str
    job: str
    ratio: float
    clips: ClipDataset
    device: torch.device

    def trial(self, switches: Sequence[Switch]) -> Trial:
        """A trial of this case, altered by switches."""
        trial = make_trial(self.recipe, self.job, self.clips, self.device, self.ratio)
        for switch in switches:
            switch(trial)
        return trial


@dataclass(frozen=True)
class Row:
    """The results of one variant. A value that was not measured is None.

    Args:
        model: the registered name of the model.
        preset: the preset of its recipe.
        job: "training" for a whole step, or "inference" for a free-running rollout.
        variant: the name of the variant.
        parameters: the number of parameters of the model.
        batch: the number of clips.
        frames: the number of frames in a clip; one fewer is read.
        ratio: the fraction of true frames that training reads after the observed ones.
        precision: the precision of most multiply-accumulates.
        layout: the layout of the tensors in most of them.
        seconds: the time for the batch, the median over the rounds.
        speedup: the plain loop's time divided by this time, the median over the rounds.
        clips_per_second: `batch / seconds`.
        gmac: 10⁹ multiply-accumulates of the plain loop for the batch.
        gmac_per_second: `gmac / seconds`.
        floor_seconds: the time of the variant's convolutions and products, forward and backward, each timed in
            isolation.
        floor_share: `floor_seconds / seconds`, the median over the rounds.
        special_seconds: the time of its samplings, patches and softmaxes, each timed in isolation.
        optimizer_seconds: the time of a step of the optimiser alone; zero in inference.
        parts_share: `floor_seconds`, `special_seconds` and `optimizer_seconds` together, divided by `seconds`.
        best_gmac_per_second: the rate of the fastest isolated convolution of any variant in this precision.
        best_share: `gmac_per_second / best_gmac_per_second`.
        traffic_gb: 10⁹ bytes that all operators except convolutions and products read and write.
        copy_gb_per_second: 10⁹ bytes that a plain copy reads and writes in a second.
        predicted_seconds: `floor_seconds + traffic_gb / copy_gb_per_second`.
        peak_mb: the largest amount of tensors in 10⁶ bytes, without those that exist between runs.
        operators: the number of operators that torch dispatches.
        launches: the number of kernel launches on a GPU.
        difference: the relative difference of gradients or predictions from the plain loop's, in the Euclidean norm.
        note: the reason why values are missing.
    """

    model: str
    preset: str
    job: str
    variant: str
    parameters: int
    batch: int
    frames: int
    ratio: float | None
    precision: str | None = None
    layout: str | None = None
    seconds: float | None = None
    speedup: float | None = None
    clips_per_second: float | None = None
    gmac: float | None = None
    gmac_per_second: float | None = None
    floor_seconds: float | None = None
    floor_share: float | None = None
    special_seconds: float | None = None
    optimizer_seconds: float | None = None
    parts_share: float | None = None
    best_gmac_per_second: float | None = None
    best_share: float | None = None
    traffic_gb: float | None = None
    copy_gb_per_second: float | None = None
    predicted_seconds: float | None = None
    peak_mb: float | None = None
    operators: int | None = None
    launches: int | None = None
    difference: float | None = None
    note: str = ""


@dataclass
class Prepared:
    """A variant that is ready to be timed.

    Args:
        variant: the variant.
        trial: its trial, with all switches.
        count: the operators of a run.
        results: the gradients or predictions of a run.
        values: values of its row that are known already.
    """

    variant: Variant
    trial: Trial
    count: Count
    results: list[Tensor]
    values: dict[str, Any] = field(default_factory=dict)


def measure(case: Case, variants: Sequence[Variant], rounds: int, clock: Clock) -> list[Row]:
    """Measure the variants of a case.

    Args:
        case: the case.
        variants: the variants; `PLAIN` must be one of them.
        rounds: the number of times that each variant is timed.
        clock: the clock that takes the times.

    Returns:
        A row for each variant. If a variant fails, its row says why.
    """
    if any(variant.execution for variant in variants):
        torch.compiler.reset()
    plain = _prepare(case, PLAIN)
    competing: dict[str, Prepared] = {}
    values: dict[str, dict[str, Any]] = {}
    for variant in variants:
        try:
            prepared = plain if variant is PLAIN else _prepare(case, variant)
            apart = difference(prepared.results, plain.results)
        except Exception as error:  # any error; the other variants are still measured
            values[variant.name] = {"note": failure(error)}
            continue
        if variant.exact and not apart <= TOLERANCE:
            values[variant.name] = {"note": f"the results differ from the plain loop's by {apart:.1e}"}
            continue
        prepared.values["difference"] = apart
        competing[variant.name] = prepared
    for prepared in competing.values():
        prepared.results.clear()
    values |= _time(case, plain.count.macs / 1e9, competing, rounds, clock)
    return [_row(case, variant, **values[variant.name]) for variant in variants]


def unmeasured(case: Case, variants: Sequence[Variant], error: Exception) -> list[Row]:
    """Rows without values, whose notes say why nothing was measured."""
    return [_row(case, variant, note=failure(error)) for variant in variants]


def failure(error: Exception) -> str:
    """An error as one line of text, without its type if it is an error of this package."""
    if isinstance(error, ZooError):
        return str(error)
    return f"failed: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _prepare(case: Case, variant: Variant) -> Prepared:
    """Set up a variant and run it. Operators are counted without its `execution`; the rest is measured with it."""
    values: dict[str, Any] = {}
    trial = case.trial(variant.changes)
    with Recorder() as recorder:
        trial.run()
    values["operators"] = recorder.count.operators
    if variant.execution:
        trial = case.trial([*variant.changes, *variant.execution])
        trial.run()
        values["operators"] = None
    # this is the second run, in which gradients and workspaces exist already
    results, values["peak_mb"] = _run_and_watch(trial, case.device)
    if case.device.type == "cuda":
        values["launches"] = kernel_launches(trial.run)
    return Prepared(variant, trial, recorder.count, results, values)


def _run_and_watch(trial: Trial, device: torch.device) -> tuple[list[Tensor], float]:
    """The results of a run, and its peak memory in 10⁶ bytes."""
    results: list[Tensor] = []
    peak = peak_bytes(lambda: results.extend(trial.run()), device)
    return results, peak / 1e6


def difference(results: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The relative difference between two lists of tensors, in the Euclidean norm over all of them."""
    pairs = [(a.double(), b.double()) for a, b in zip(results, expected, strict=True)]
    apart, size = (
        math.sqrt(sum(float(part) for part in parts))
        for parts in zip(*(((a - b).square().sum(), b.square().sum()) for a, b in pairs), strict=True)
    )
    return apart / size if size else apart


def _time(
    case: Case, gmac: float, competing: dict[str, Prepared], rounds: int, clock: Clock
) -> dict[str, dict[str, Any]]:
    """Time the variants, their convolutions and a copy alternately. Returns the values of each variant's row."""
    macs = {call: n for prepared in competing.values() for call, n in prepared.count.call_macs.items()}
    special = dict.fromkeys(call for prepared in competing.values() for call in prepared.count.special)
    runs: dict[Any, Callable[[], float]] = {
        name: lambda trial=prepared.trial: clock.seconds(trial.run)  # type: ignore[misc]
        for name, prepared in competing.items()
    }
    if case.job == "training":
        runs |= {
            (_OPTIMIZER, name): lambda trial=prepared.trial: clock.seconds(trial.state.optimizer.step)  # type: ignore[misc]
            for name, prepared in competing.items()
        }
    alone = isolated([*macs, *special], case.device, clock)
    times = alternate({**runs, **alone, _COPY: copying(case.device, clock)}, rounds)
    rates: dict[str, list[float]] = {}
    for call, n in macs.items():
        rates.setdefault(call.precision, []).append(n / 1e9 / min(one[call] for one in times))
    best = {precision: max(those) for precision, those in rates.items()}
    batch_size = case.recipe.training.batch_size
    return {name: _values(prepared, batch_size, gmac, best, times) for name, prepared in competing.items()}


def _values(
    prepared: Prepared, batch: int, gmac: float, best: dict[str, float], times: list[dict[Any, float]]
) -> dict[str, Any]:
    name, count = prepared.variant.name, prepared.count
    seconds = statistics.median(one[name] for one in times)
    floors = [sum(number * one[call] for call, number in count.calls.items()) for one in times]
    specials = [sum(number * one[call] for call, number in count.special.items()) for one in times]
    optimizers = [one.get((_OPTIMIZER, name), 0.0) for one in times]
    parts = [sum(of_round) for of_round in zip(floors, specials, optimizers, strict=True)]
    precision = count.prevailing(lambda call: call.precision)
    copied = 2 * COPIED / 1e9 / statistics.median(one[_COPY] for one in times)
    return {
        "precision": precision,
        "layout": count.prevailing(lambda call: call.first.layout),
        "seconds": seconds,
        "speedup": statistics.median(one[PLAIN.name] / one[name] for one in times),
        "clips_per_second": batch / seconds,
        "gmac": gmac,
        "gmac_per_second": gmac / seconds,
        "floor_seconds": statistics.median(floors),
        "floor_share": statistics.median(floor / one[name] for floor, one in zip(floors, times, strict=True)),
        "special_seconds": statistics.median(specials),
        "optimizer_seconds": statistics.median(optimizers),
        "parts_share": statistics.median(part / one[name] for part, one in zip(parts, times, strict=True)),
        "best_gmac_per_second": best[precision],
        "best_share": gmac / seconds / best[precision],
        "traffic_gb": count.traffic / 1e9,
        "copy_gb_per_second": copied,
        "predicted_seconds": statistics.median(floors) + count.traffic / 1e9 / copied,
        **prepared.values,
    }


def _row(case: Case, variant: Variant, **values: Any) -> Row:
    recipe = case.recipe
    return Row(
        recipe.model,
        case.preset,
        case.job,
        variant.name,
        sum(p.numel() for p in build_model(recipe).parameters()),
        recipe.training.batch_size,
        recipe.data.length,
        case.ratio if case.job == "training" else None,
        **values,
    )

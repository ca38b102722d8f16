"""A contest of variants: set up, counted, checked against the plain loop, and timed in turn."""

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
from zoo.settings import Recipe
from zoo.training.run_folder import build_model

_COPY = "a copy"
TOLERANCE = 1e-3  # relative, of gradients in 32 bits after a whole clip


@dataclass(frozen=True)
class Case:
    """What is measured.

    Args:
        recipe: from `benchmark_recipe`.
        preset: its name.
        job: "training" or "inference".
        ratio: share of the frames beyond the observed ones that training reads true.
        clips: training clips.
        device: where to run.
    """

    recipe: Recipe
    preset: str
    job: str
    ratio: float
    clips: ClipDataset
    device: torch.device

    def trial(self, switches: Sequence[Switch]) -> Trial:
        """A trial, altered."""
        trial = make_trial(self.recipe, self.job, self.clips, self.device, self.ratio)
        for switch in switches:
            switch(trial)
        return trial


@dataclass(frozen=True)
class Row:
    """What came out for one variant; a value that was not measured is None.

    Args:
        model: as registered.
        preset: of its recipe.
        job: "training", a whole step, or "inference", a free-running rollout.
        variant: the way to run it.
        parameters: of the model.
        batch: clips.
        frames: of a clip; one fewer is read.
        ratio: share of the frames beyond the observed ones that training reads true.
        precision: in which most multiply-accumulates are done.
        layout: of the tensors that they are done on.
        seconds: for the batch, the median over the rounds.
        speedup: the plain loop's seconds over these, the median over the rounds.
        clips_per_second: `batch / seconds`.
        gmac: 10⁹ multiply-accumulates that the plain loop does for the batch.
        gmac_per_second: `gmac / seconds`.
        floor_seconds: of the variant's convolutions, each timed in isolation, forward and backward.
        floor_share: `floor_seconds / seconds`, the median over the rounds.
        best_gmac_per_second: of the fastest convolution in isolation, of those that any variant runs in this precision.
        best_share: `gmac_per_second / best_gmac_per_second`.
        traffic_gb: 10⁹ bytes that all other operators read and write.
        copy_gb_per_second: bytes read and written by a plain copy.
        predicted_seconds: `floor_seconds + traffic_gb / copy_gb_per_second`.
        peak_mb: 10⁶ bytes at the worst moment, beyond what lies there between runs.
        operators: dispatched by torch.
        launches: on a GPU.
        difference: of the gradients or predictions from the plain loop's, relative in the Euclidean norm.
        note: why values are missing.
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
class Entrant:
    """A variant in the contest: what is known of it before it is timed."""

    variant: Variant
    trial: Trial
    count: Count
    results: list[Tensor]
    found: dict[str, Any] = field(default_factory=dict)


def measure(case: Case, variants: Sequence[Variant], rounds: int, clock: Clock) -> list[Row]:
    """The rows of a case, one for each variant, `PLAIN` among them. One that fails is a row that says why."""
    if any(variant.execution for variant in variants):
        torch.compiler.reset()
    plain = _enter(case, PLAIN)
    entrants: dict[str, Entrant] = {}
    values: dict[str, dict[str, Any]] = {}
    for variant in variants:
        try:
            entrant = plain if variant is PLAIN else _enter(case, variant)
            apart = difference(entrant.results, plain.results)
        except Exception as error:  # whatever it is, the others go on
            values[variant.name] = {"note": failure(error)}
            continue
        if variant.exact and not apart <= TOLERANCE:
            values[variant.name] = {"note": f"gives other numbers than the plain loop: {apart:.1e}"}
            continue
        entrant.found["difference"] = apart
        entrants[variant.name] = entrant
    for entrant in entrants.values():
        entrant.results.clear()
    values |= _race(case, plain.count.macs / 1e9, entrants, rounds, clock)
    return [_row(case, variant, **values[variant.name]) for variant in variants]


def unmeasured(case: Case, variants: Sequence[Variant], error: Exception) -> list[Row]:
    """Rows that only say why."""
    return [_row(case, variant, note=failure(error)) for variant in variants]


def failure(error: Exception) -> str:
    """An error in one line; the package's own say enough."""
    if isinstance(error, ZooError):
        return str(error)
    return f"failed: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _enter(case: Case, variant: Variant) -> Entrant:
    """Set up a variant and watch it run: operators are counted without its `execution`, all else with it."""
    found: dict[str, Any] = {}
    trial = case.trial(variant.changes)
    with Recorder() as recorder:
        trial.run()
    found["operators"] = recorder.count.operators
    if variant.execution:
        trial = case.trial([*variant.changes, *variant.execution])
        trial.run()
        found["operators"] = None
    results, found["peak_mb"] = _watch(trial, case.device)  # the second run: gradients and workspaces are there
    if case.device.type == "cuda":
        found["launches"] = kernel_launches(trial.run)
    return Entrant(variant, trial, recorder.count, results, found)


def _watch(trial: Trial, device: torch.device) -> tuple[list[Tensor], float]:
    """The results of a run, and 10⁶ bytes at its peak."""
    results: list[Tensor] = []
    peak = peak_bytes(lambda: results.extend(trial.run()), device)
    return results, peak / 1e6


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Relative, in the Euclidean norm over all tensors."""
    pairs = [(a.double(), b.double()) for a, b in zip(found, expected, strict=True)]
    apart, size = (
        math.sqrt(sum(float(part) for part in parts))
        for parts in zip(*(((a - b).square().sum(), b.square().sum()) for a, b in pairs), strict=True)
    )
    return apart / size if size else apart


def _race(
    case: Case, gmac: float, entrants: dict[str, Entrant], rounds: int, clock: Clock
) -> dict[str, dict[str, Any]]:
    """Time the variants, their convolutions and a copy in turn; the values of each variant's row."""
    macs = {call: n for entrant in entrants.values() for call, n in entrant.count.call_macs.items()}
    runs: dict[Any, Callable[[], float]] = {
        name: lambda trial=entrant.trial: clock.seconds(trial.run)  # type: ignore[misc]
        for name, entrant in entrants.items()
    }
    alone = isolated(macs, case.device, clock)
    times = alternate({**runs, **alone, _COPY: copying(case.device, clock)}, rounds)
    rates: dict[str, list[float]] = {}
    for call, n in macs.items():
        rates.setdefault(call.precision, []).append(n / 1e9 / min(one[call] for one in times))
    best = {precision: max(found) for precision, found in rates.items()}
    batch_size = case.recipe.training.batch_size
    return {name: _values(entrant, batch_size, gmac, best, times) for name, entrant in entrants.items()}


def _values(
    entrant: Entrant, batch: int, gmac: float, best: dict[str, float], times: list[dict[Any, float]]
) -> dict[str, Any]:
    name, count = entrant.variant.name, entrant.count
    seconds = statistics.median(one[name] for one in times)
    floors = [sum(number * one[call] for call, number in count.calls.items()) for one in times]
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
        "best_gmac_per_second": best[precision],
        "best_share": gmac / seconds / best[precision],
        "traffic_gb": count.traffic / 1e9,
        "copy_gb_per_second": copied,
        "predicted_seconds": statistics.median(floors) + count.traffic / 1e9 / copied,
        **entrant.found,
    }


def _row(case: Case, variant: Variant, **found: Any) -> Row:
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
        **found,
    )

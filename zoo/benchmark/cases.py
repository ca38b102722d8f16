"""Measure all models, presets and jobs, one case after the other."""

import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from tensortrain.profiling.clock import Clock
from zoo.benchmark.loading import Loading, find_datasets, measure_loading
from zoo.benchmark.measurement import Case, Row, measure, unmeasured
from zoo.benchmark.variants import Variant
from zoo.devices import find_device
from zoo.errors import ZooError
from zoo.settings import Recipe, Video


def run_cases(
    recipes: Sequence[tuple[str, Recipe]],
    jobs: Sequence[str],
    variants: Sequence[Variant],
    *,
    device: torch.device,
    rounds: int,
    clock: Clock,
    ratio: float = 0.0,
    root: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[tuple[list[Row], list[Loading]]]:
    """Measure the cases one by one. Yields the rows of each case and, after a training case, the speed of its data.

    Args:
        recipes: pairs of a preset's name and the recipe from `benchmark_recipe`.
        jobs: the jobs to time: "training", "inference".
        variants: variants from `find_variants`. Those for other devices or jobs are skipped.
        device: the device to run on.
        rounds: the number of times that each variant is timed.
        clock: the clock that takes the times.
        ratio: the fraction of true frames that training reads after the observed ones.
        root: the data root.
        say: a function that is called with a line for each variant or data set that is skipped.
    """
    available = [variant for variant in variants if device.type in variant.devices]
    if absent := [variant.name for variant in variants if variant not in available]:
        say(f"skipped on a {device.type} device: {', '.join(absent)}")
    said: set[str] = set()
    for preset, recipe in recipes:
        datasets, missing = find_datasets(recipe.data, root)
        for line in missing:
            if line not in said:
                say(line)
        said |= set(missing)
        for job in jobs:
            case = Case(recipe, preset, job, ratio, datasets[recipe.data.name], device)
            competing = [variant for variant in available if job in variant.jobs]
            try:
                rows = measure(case, competing, rounds, clock)
            except ZooError:
                raise
            except Exception as error:  # such as too little memory; the other cases are still measured
                rows = unmeasured(case, competing, error)
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
            steps = [row.seconds for row in rows if row.seconds and job == "training"]
            loadings = []
            for name, clips in datasets.items() if steps and isinstance(recipe.data, Video) else ():
                seconds = measure_loading(clips, recipe.training.batch_size, device, rounds, clock)
                loadings.append(Loading.beside(case, name, clips, seconds, min(steps)))
            yield rows, loadings


def measured_device(name: str | None) -> torch.device:
    """The device to measure on; by default a GPU if there is one.

    Raises:
        ZooError: if there is no such device, or it is neither a CPU nor a GPU of CUDA.
    """
    place = find_device(name, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if place.type not in ("cpu", "cuda"):
        raise ZooError(f"--device = {name!r} cannot be measured, only cpu and cuda can")
    return place

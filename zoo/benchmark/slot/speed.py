"""The part that measures speed: row by row, the most valuable first. Each row is written as soon as it is known."""

import csv
import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tensortrain.profiling.clock import Clock
from tensortrain.profiling.machine import describe_machine
from zoo.benchmark.measurement import failure
from zoo.benchmark.slot.bench import Bench, Measure
from zoo.benchmark.slot.layers import DECOMPOSED, FACTORISED, decomposition, dense_layer, factorised_layer
from zoo.benchmark.slot.networks import convolution_rate, product_rate, training_step
from zoo.benchmark.slot.sizes import Sizes
from zoo.files import aside

TABLE = "speed.csv"
COLUMNS = (
    "row",
    "state",
    "seconds",
    "times_plain",
    "clips_per_second",
    "gmac_per_second",
    "convolutions_share",
    "product_share",
    "pointwise_share",
    "peak_mb",
    "error",
    "difference",
    "note",
)
STEP, COMPILED, RATE, LAYER = 15.0, 45.0, 20.0, 6.0  # seconds that must be left to start a row


def rows(sizes: Sizes) -> list[Measure]:
    """All rows, the most valuable first."""
    published, compact, predrnn = (
        [("conv-lstm", "paper", sizes.layers12), ("conv-tt-lstm-sw", "paper", sizes.layers12)],
        [("conv-tt-lstm-sw", "small", sizes.small)],
        [("predrnn-pp", "paper", sizes.layers12)],
    )
    return [
        *_steps(published, sizes.variants),
        Measure("products of matrices in bf16", product_rate, RATE),
        *(Measure(f"convolutions of {model} in bf16", convolution_rate(model), RATE) for model, _, _ in published),
        *_steps(compact, sizes.variants),
        *_steps(predrnn, sizes.variants),
        *_steps(published, sizes.more),
        *(Measure(f"decomposition {name}", decomposition(name), LAYER) for name in DECOMPOSED),
        Measure("layer dense", dense_layer, LAYER),
        *(Measure(f"layer {name}", factorised_layer(name), LAYER) for name in FACTORISED),
    ]


def _steps(models: Sequence[tuple[str, str, int]], variants: Sequence[str]) -> list[Measure]:
    return [
        Measure(
            f"{model} {preset}, batch {batch}, {variant}",
            training_step(model, preset, batch, variant),
            COMPILED if "compiled" in variant else STEP,
        )
        for model, preset, batch in models
        for variant in variants
    ]


def measure_speed(folder: Path, end: float, sizes: Sizes, root: Path | None) -> None:
    """Measure rows until the time is over.

    Args:
        folder: the folder for `speed.csv`, which has a line for each row (also for those not measured), and for the
            kernels of some steps.
        end: the value of `time.monotonic` at which this process is ended.
        sizes: the sizes of networks and kernels.
        root: the data root.
    """
    gc.freeze()  # imported objects stay, so the garbage collector need not search them before each row
    device = torch.device(sizes.device)
    clock = Clock(device, torch.get_num_threads())
    machine = describe_machine(device, torch.get_num_threads(), clock)
    bench = Bench(sizes, device, clock, folder, root)
    planned = rows(sizes)
    for measure in planned:
        _write(folder / TABLE, planned, bench, machine)
        if end - time.monotonic() < measure.needs * sizes.patience:
            continue  # a later row may need less
        try:
            bench.results[measure.name] = {"state": "measured", **measure.run(bench)}
        except Exception as error:  # any error; the other rows are still measured
            bench.results[measure.name] = {"state": "failed", "note": failure(error)}
        print(measure.name, bench.results[measure.name], flush=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    _write(folder / TABLE, planned, bench, machine)


def _write(path: Path, planned: Sequence[Measure], bench: Bench, machine: dict[str, str]) -> None:
    """Write the table as far as it is known, with the fractions that depend on other rows."""
    unknown: dict[str, Any] = {"state": "not measured"}
    with aside(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *machine], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for measure in planned:
            values = bench.results.get(measure.name, unknown)
            writer.writerow({"row": measure.name, **values, **bench.shares(values), **machine})


def fastest(path: Path, row: str) -> tuple[str, float] | None:
    """The fastest variant among the rows whose names start with `row`, and its seconds; None if none was measured."""
    if not path.exists():
        return None
    with path.open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["row"].startswith(row) and line["seconds"]]
    if not lines:
        return None
    best = min(lines, key=lambda line: float(line["seconds"]))
    return best["row"].rpartition(", ")[2], float(best["seconds"])

"""How fast do the video models train and predict? This program writes the tables of the page `docs/results/speed.md`.

Run: python -m tests.benchmarks.speed paper|small [--models NAME …] [--threads 1] [--rounds 3] [--output docs/results]

It measures what `zoo benchmark` measures, with the batch sizes and the variants that the page shows, and takes hours
for all models. With --output it writes `speed-training-PRESET.csv` and `speed-inference-PRESET.csv`; both are written
anew after each model, so that an interruption loses one model.
"""

import argparse
from pathlib import Path
from typing import Any

from tests.benchmarks.tables import Table
from zoo.benchmark import (
    JOBS,
    Clock,
    Row,
    benchmark_recipe,
    find_variants,
    measured_device,
    run_cases,
    using_threads,
)
from zoo.registry import find_model, model_names

FRAMES = 20  # of a clip; half of them are observed
BATCH = {"paper": 2, "small": None}  # None: the preset's
EXACT = ("eager", "compiled", "subnormals", "windows-apart", "all-together")
VARIANTS = {"paper": EXACT, "small": (*EXACT, "bf16", "bf16-compiled")}
COLUMNS = (
    "model", "variant", "s", "clips/s", "× plain", "GMAC/s", "floor", "peak", "predicted s", "MB", "operators",
)  # fmt: skip


def video_models() -> list[str]:
    """The names of the models that the page is about: those of video that have published settings."""
    return [name for name in model_names() if find_model(name).reads == "video" and find_model(name).protocol]


def cells(row: Row) -> list[str]:
    """The values of a row as the page shows them; a value that was not measured is empty."""
    return [
        row.model,
        row.variant,
        formatted(row.seconds, ".3g"),
        formatted(row.clips_per_second, ".3g"),
        formatted(row.speedup, ".2f"),
        formatted(row.gmac_per_second, ".1f"),
        formatted(row.floor_share, ".0%"),
        formatted(row.best_share, ".0%"),
        formatted(row.predicted_seconds, ".3g"),
        formatted(row.peak_mb, ",.0f"),
        formatted(row.operators, ",d"),
    ]


def formatted(value: Any, form: str) -> str:
    """A value in this format; empty if it was not measured."""
    return "" if value is None else format(value, form)


def measure(job: str, arguments: argparse.Namespace, threads: int) -> None:
    """Print the table of one job, and write it if there is a folder to write to."""
    preset, rounds = arguments.preset, arguments.rounds
    models = arguments.models or video_models()
    recipes = [(preset, benchmark_recipe(name, preset, BATCH[preset], FRAMES, 0.0)) for name in models]
    device = measured_device("cpu")
    variants, clock, table = find_variants(VARIANTS[preset]), Clock(device, threads), Table(*COLUMNS)
    options = [f" --models {' '.join(arguments.models)}" if arguments.models else "", f" --threads {threads}"]
    command = f"python -m tests.benchmarks.speed {preset}{''.join(options)} --rounds {rounds}"
    values = (
        f"{'processor' if threads == 1 else 'wall-clock'} time, medians of {rounds} rounds;"
        f" batch {recipes[0][1].training.batch_size}, {FRAMES // 2} observed and {FRAMES // 2} predicted frames"
    )
    for rows, _ in run_cases(recipes, [job], variants, device=device, rounds=rounds, clock=clock):
        for row in rows:
            if row.seconds is not None:  # a variant that makes no sense for a model has no time
                table.add(*cells(row))
        if arguments.output:
            table.write(arguments.output / f"speed-{job}-{preset}.csv", command, values)


def main() -> None:
    """Measure the models of one preset."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("preset", choices=list(BATCH))
    parser.add_argument("--models", nargs="+", help="as `zoo models` lists them; default: all of video")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="how often each variant is timed")
    parser.add_argument("--output", type=Path, help="folder for the CSV files")
    arguments = parser.parse_args()
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
    with using_threads(arguments.threads) as threads:
        for job in JOBS:
            measure(job, arguments, threads)


if __name__ == "__main__":
    main()

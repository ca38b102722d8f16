"""The command that times: benchmark."""

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

import zoo
from zoo.commands.trained import ROOT_HELP, show
from zoo.errors import ZooError, nearest
from zoo.registry import find_model


def benchmark_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Which models, in which ways, on what."""
    parser.add_argument("models", type=str, nargs="*", help="As `zoo models` lists them; default: all.")
    parser.add_argument("--preset", type=str, nargs="+", default=["paper"], help="One or more: paper, small, demo.")
    parser.add_argument("--jobs", type=str, nargs="+", default=["training", "inference"], help="What to time.")
    parser.add_argument("--variants", type=str, nargs="+", help="Ways to run beside the plain loop; default: all.")
    parser.add_argument("--batch", type=int | None, help="Clips; default: the preset's.")
    parser.add_argument("--frames", type=int, default=20, help="Of a clip; half of them are observed.")
    parser.add_argument("--ratio", type=float, default=0.0, help="Share of later frames that training reads true.")
    parser.add_argument("--rounds", type=int, default=5, help="How often each variant is timed, in turn.")
    parser.add_argument("--device", type=str | None, help="cpu or cuda; default: a GPU if there is one.")
    parser.add_argument("--threads", type=int | None, help="Of the CPU; default: as torch takes them.")
    parser.add_argument("--output", "-o", type=str | None, help="Folder for benchmark.csv, loading.csv, benchmark.png.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def benchmark(chosen: Namespace) -> None:
    """Time training and inference of models, beside what the machine can do."""
    from zoo.benchmark import (
        JOBS,
        Clock,
        benchmark_recipe,
        describe_machine,
        find_device,
        find_variants,
        report,
        run_cases,
        using_threads,
    )

    for job in chosen.jobs:
        if job not in JOBS:
            raise ZooError(f"no job {job!r}; {nearest(job, JOBS)}")
    for name in ("rounds", "threads"):
        if chosen[name] is not None and chosen[name] < 1:
            raise ZooError(f"--{name} = {chosen[name]} must be at least 1")
    models = chosen.models or zoo.model_names()
    for model in models:
        find_model(model)
    recipes = [
        (preset, benchmark_recipe(model, preset, chosen.batch, chosen.frames, chosen.ratio))
        for model in models
        for preset in chosen.preset
    ]
    variants, device, folder = find_variants(chosen.variants), find_device(chosen.device), _folder(chosen.output)

    rows, loadings = [], []
    with using_threads(chosen.threads) as threads:
        clock = Clock(device, threads)
        machine = describe_machine(device, threads, clock)
        print(", ".join(f"{name} {value}" for name, value in machine.items()), file=sys.stderr)
        for more, beside in run_cases(
            recipes,
            chosen.jobs,
            variants,
            device=device,
            rounds=chosen.rounds,
            clock=clock,
            ratio=chosen.ratio,
            root=chosen.data_root,
            say=lambda line: print(line, file=sys.stderr),
        ):
            show(report.table(more))
            rows += more
            loadings += beside
            if folder:  # after each case, so that what was measured outlives an interruption
                report.write(rows, loadings, machine, folder)
    if loadings:
        show(report.loading_table(loadings))


def _folder(output: str | None) -> Path | None:
    if output is None:
        return None
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZooError(f"--output = {output} cannot be made ({error.strerror}); choose another folder") from error
    return folder

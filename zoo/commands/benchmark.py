"""`zoo benchmark`: time training and inference."""

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from tensortrain.tables import show
from zoo.commands.options import ROOT_HELP
from zoo.errors import ZooError
from zoo.files import destination
from zoo.names import JOBS, VARIANTS, check_name
from zoo.presets import PRESETS
from zoo.registry import find_model, model_names


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Which models, in which ways, on what machine."""
    parser.add_argument("models", type=str, nargs="*", help="As `zoo models` lists them; default: all of video.")
    parser.add_argument("--preset", type=str, nargs="+", default=["paper"], help="One or more: paper, small, demo.")
    parser.add_argument("--jobs", type=str, nargs="+", default=["training", "inference"], help="What to time.")
    parser.add_argument("--variants", type=str, nargs="+", help="Ways to run beside the plain loop; default: all.")
    parser.add_argument("--batch", type=int | None, help="Clips in a step; default: the preset's.")
    parser.add_argument("--frames", type=int, default=20, help="Frames of a clip; half of them are observed.")
    parser.add_argument(
        "--ratio",
        type=float,
        default=0.0,
        help="Share of later frames that training takes from the data.",
    )
    parser.add_argument("--rounds", type=int, default=5, help="How often each variant is timed; variants take turns.")
    parser.add_argument("--device", type=str | None, help="cpu or cuda; default: a GPU if there is one.")
    parser.add_argument("--threads", type=int | None, help="Threads of the CPU; default: PyTorch's.")
    parser.add_argument("--output", "-o", type=str | None, help="Folder for benchmark.csv, loading.csv, benchmark.png.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def run(arguments: Namespace) -> None:
    """Time training and inference of models, beside what the machine can do."""
    models = _checked_models(arguments)
    from zoo.benchmark import (
        Clock,
        benchmark_recipe,
        describe_machine,
        find_device,
        find_variants,
        report,
        run_cases,
        using_threads,
    )

    recipes = [
        (preset, benchmark_recipe(model, preset, arguments.batch, arguments.frames, arguments.ratio))
        for model in models
        for preset in arguments.preset
    ]
    variants, device = find_variants(arguments.variants), find_device(arguments.device)
    folder = _make_folder(arguments.output)

    rows, loadings = [], []
    with using_threads(arguments.threads) as threads:
        clock = Clock(device, threads)
        machine = describe_machine(device, threads, clock)
        print(", ".join(f"{name} {value}" for name, value in machine.items()), file=sys.stderr)
        for more, beside in run_cases(
            recipes,
            arguments.jobs,
            variants,
            device=device,
            rounds=arguments.rounds,
            clock=clock,
            ratio=arguments.ratio,
            root=arguments.data_root,
            say=lambda line: print(line, file=sys.stderr),
        ):
            show(report.table(more))
            rows += more
            loadings += beside
            if folder:  # after each case, so that what was measured outlives an interruption
                report.write(rows, loadings, machine, folder)
    if loadings:
        show(report.loading_table(loadings))


def _checked_models(arguments: Namespace) -> list[str]:
    """The models to time.

    Raises:
        ZooError: an argument that needs no measurement to be refused.
    """
    for kind, names, known in (
        ("job", arguments.jobs, JOBS),
        ("preset", arguments.preset, PRESETS),
        ("variant", arguments.variants or (), VARIANTS),
    ):
        for name in names:
            check_name(kind, name, known)
    for name in ("rounds", "threads"):
        if arguments[name] is not None and arguments[name] < 1:
            raise ZooError(f"--{name} = {arguments[name]} must be at least 1")
    models: list[str] = arguments.models or [name for name in model_names() if find_model(name).reads == "video"]
    for model in models:
        find_model(model)
    return models


def _make_folder(output: str | None) -> Path | None:
    if output is None:
        return None
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZooError(f"--output = {output} cannot be created ({error.strerror}); choose another folder") from error
    for name in ("benchmark.csv", "loading.csv", "benchmark.png"):
        destination(folder / name)
    return folder

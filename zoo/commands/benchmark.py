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
    """The models, the variants, and the machine."""
    parser.add_argument("models", type=str, nargs="*", help="Names as in `zoo models`; default: all video models.")
    parser.add_argument("--preset", type=str, nargs="+", default=["paper"], help="One or more presets to time.")
    parser.add_argument(
        "--jobs", type=str, nargs="+", default=["training", "inference"], help="What to time: training, inference."
    )
    parser.add_argument(
        "--variants", type=str, nargs="+", help="Variants to compare with the plain loop; default: all."
    )
    parser.add_argument("--batch", type=int | None, help="Number of clips in a step; default: the preset's.")
    parser.add_argument(
        "--frames", type=int, default=20, help="Number of frames in a clip, or of steps in a series; half are observed."
    )
    parser.add_argument(
        "--ratio",
        type=float,
        default=0.0,
        help="Fraction of true frames that training reads after the observed ones; the others are predictions.",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="How often each variant is timed; the variants alternate."
    )
    parser.add_argument("--device", type=str | None, help="Device, cpu or cuda; default: a GPU if there is one.")
    parser.add_argument("--threads", type=int | None, help="Number of CPU threads; default: PyTorch's.")
    parser.add_argument("--output", "-o", type=str | None, help="Folder to write tables (.csv) and a picture to.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def run(arguments: Namespace) -> None:
    """Time training and inference of models, and compare with the limits of the machine."""
    models = _checked_models(arguments)
    from zoo.benchmark import (
        Clock,
        benchmark_recipe,
        describe_machine,
        find_variants,
        measured_device,
        report,
        run_cases,
        using_threads,
    )

    recipes = [
        (preset, benchmark_recipe(model, preset, arguments.batch, arguments.frames, arguments.ratio))
        for model in models
        for preset in arguments.preset
    ]
    variants, device = find_variants(arguments.variants), measured_device(arguments.device)
    folder = _make_folder(arguments.output)

    rows, loadings = [], []
    with using_threads(arguments.threads) as threads:
        clock = Clock(device, threads)
        machine = describe_machine(device, threads, clock)
        print(", ".join(f"{name} {value}" for name, value in machine.items()), file=sys.stderr)
        for case_rows, case_loadings in run_cases(
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
            show(report.table(case_rows))
            rows += case_rows
            loadings += case_loadings
            if folder:  # written after each case, so that results are kept after an interruption
                report.write(rows, loadings, machine, _command(models, arguments), folder)
    if loadings:
        show(report.loading_table(loadings))


def _checked_models(arguments: Namespace) -> list[str]:
    """Check the arguments, and return the names of the models to time.

    Raises:
        ZooError: if an argument is illegal, as far as this is known without measuring.
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


def _command(models: Sequence[str], arguments: Namespace) -> str:
    """Return the command line that repeats this measurement."""
    words = ["zoo benchmark", *models]
    for option in ("preset", "jobs", "variants"):
        words += [f"--{option}", *arguments[option]] if arguments[option] else []
    for option in ("batch", "frames", "ratio", "rounds", "device", "threads"):
        words += [f"--{option} {arguments[option]}"] if arguments[option] is not None else []
    return " ".join(words)


def _make_folder(output: str | None) -> Path | None:
    if output is None:
        return None
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZooError(f"--output = {output} cannot be created ({error.strerror}); choose another folder") from error
    for name in ("benchmark.csv", "table.csv", "loading.csv", "benchmark.png"):
        destination(folder / name)
    return folder

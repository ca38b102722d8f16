"""`zoo search`: search the hyper-parameters of Conv-TT-LSTM."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from tensortrain.tables import show
from zoo.commands.options import ROOT_HELP
from zoo.commands.output import check_png
from zoo.errors import ZooError
from zoo.importing import imports_in_words
from zoo.presets import recipe
from zoo.registry import find_model

SEARCHED = ("order", "steps", "rank", "kernel")


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The ranges to search, the file of the study, and the length of each trial."""
    parser.add_argument("model", type=str, help="The model: conv-tt-lstm-sw or conv-tt-lstm-fw.")
    parser.add_argument("dataset", type=str, help="The data set, by its name in `zoo train`.")
    parser.add_argument("--preset", type=str, default="demo", help="Preset of all trials, as in `zoo train`.")
    parser.add_argument(
        "--storage", type=str, required=True, help="SQLite file of the study; several processes may share it."
    )
    parser.add_argument("--trials", type=int, default=20, help="Total number of trials, over all processes and calls.")
    parser.add_argument("--order", type=int, nargs=2, default=[1, 3], help="Smallest and largest order m.")
    parser.add_argument(
        "--steps",
        type=int,
        nargs=2,
        default=[1, 5],
        help="Smallest and largest number of past hidden states, at least the order.",
    )
    parser.add_argument("--rank", type=int, nargs="+", default=[4, 8, 16], help="Ranks R to try.")
    parser.add_argument("--kernel", type=int, nargs="+", default=[3, 5], help="Kernel sizes to try.")
    parser.add_argument(
        "--training-steps", type=int | None, help="Number of training steps of each trial; default: the preset's."
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="Random seed of the search; use a different one for each process."
    )
    parser.add_argument(
        "--folder",
        type=str | None,
        help="Folder for the runs of new trials; default: runs/NAME for the storage NAME.db.",
    )
    parser.add_argument(
        "--output", "-o", type=str, default="search.png", help="PNG file to write, with a CSV file beside it."
    )
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def run(arguments: Namespace) -> None:
    """Search order, steps, rank and kernel size of Conv-TT-LSTM. Trials with a high loss are stopped early."""
    from zoo import search

    known = find_model(arguments.model).options
    if missing := [name for name in SEARCHED if name not in known]:
        raise ZooError(f"{arguments.model} has no {', '.join(missing)}; choose conv-tt-lstm-sw or conv-tt-lstm-fw")
    if arguments.trials < 1:
        raise ZooError(f"--trials = {arguments.trials} must be at least 1")
    check_png(arguments.output, [arguments.storage])
    space = search.Space(*(tuple(arguments[name]) for name in SEARCHED))
    start = recipe(arguments.model, arguments.preset, dataset=arguments.dataset)
    if arguments.training_steps is not None:
        steps = arguments.training_steps
        if steps < 8:
            raise ZooError(f"--training-steps = {steps} must be at least 8: each eighth has a validation")
        start = replace(start, training=replace(start.training, steps=steps, validate_every=steps // 8))
    study = search.open_study(Path(arguments.storage), start, space, arguments.seed, arguments.data_root)
    # each study has a folder of its own, as its trials are numbered from 0
    folder = Path("runs", Path(arguments.storage).stem) if arguments.folder is None else Path(arguments.folder)
    search.search(study, space, folder, arguments.trials, arguments.data_root)
    best = search.best_run(study, folder)
    show(search.table(search.rows(study)))
    search.write(study, Path(arguments.output))
    best = best.relative_to(Path.cwd()) if best.is_relative_to(Path.cwd()) else best
    run, longer = shlex.quote(str(best)), shlex.quote(f"{best}-longer")
    print(f"{arguments.output}, {Path(arguments.output).with_suffix('.csv')}")
    print(f"{best} has the lowest validation loss. Next:")
    imports = imports_in_words()
    print(f"  zoo evaluate {run}{imports}")
    print(f"  zoo train --continue {run} --training.steps {2 * start.training.steps} -o {longer}{imports}")

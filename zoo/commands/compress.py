"""`zoo compress`: compress a trained model."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.options import CHECKPOINT_HELP, DEVICE_HELP, ROOT_HELP
from zoo.commands.trained import files_of, find_trained_model
from zoo.errors import ZooError
from zoo.files import aside, destination

COSTS = ("parameters", "macs", "bytes")  # budgets that are a fraction or a number of units
BUDGETS = (*COSTS, "milliseconds", "time")
_LEGAL_COST = "a fraction of the original network such as .25, or a number of {} above 1,"
_LEGAL = {
    "milliseconds": "a number of milliseconds above 0",
    "time": "a fraction of the original network's time such as .5",
}


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The model, the budget, the clips, and the files to write."""
    parser.add_argument("model", type=str, help="Folder of a run, .safetensors file, or MODEL:WEIGHTS.")
    parser.add_argument(
        "--parameters", type=float | None, help="Budget of parameters: a fraction such as .25, or a number above 1."
    )
    parser.add_argument("--macs", type=float | None, help="Budget of multiply-accumulates: a fraction or a number.")
    parser.add_argument("--bytes", type=float | None, help="Budget of bytes: a fraction or a number.")
    parser.add_argument(
        "--milliseconds", type=float | None, help="Budget of time for a rollout of all clips on this machine."
    )
    parser.add_argument("--time", type=float | None, help="Budget of time: a fraction of the original model's time.")
    parser.add_argument("--output", "-o", type=str, required=True, help="The .safetensors file to write.")
    parser.add_argument("--clips", type=int, default=32, help="Number of training clips to measure errors on.")
    parser.add_argument(
        "--include", type=str, nargs="+", default=[], help="Compress only layers whose names match a pattern."
    )
    parser.add_argument(
        "--exclude", type=str, nargs="+", default=[], help="Do not compress layers whose names match a pattern."
    )
    parser.add_argument(
        "--report", type=str, nargs="+", default=[], help="Files to write reports to: .html, .json, .csv or .png."
    )
    parser.add_argument(
        "--formats",
        type=str,
        nargs="+",
        default=None,
        help="Further forms to fit to each conv layer: names of formats, such as cttd and cp; or all.",
    )
    parser.add_argument("--effort", type=float, default=1.0, help="Factor for the work of each fit.")
    parser.add_argument(
        "--seconds",
        type=float | None,
        help="Time limit of the fits of further forms; without --formats, of all.",
    )
    parser.add_argument(
        "--objective", default="error", help="What decides between forms of about the same cost: error, speed, or both."
    )
    parser.add_argument("--seed", type=int, default=0, help="Random seed.")
    parser.add_argument(
        "--resume",
        type=str | None,
        help="File that stores finished layers, to resume after an interruption; not with --milliseconds or --time.",
    )
    parser.add_argument("--checkpoint", default="best", help=CHECKPOINT_HELP)
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)
    parser.add_argument("--device", type=str | None, help=DEVICE_HELP)


def run(arguments: Namespace) -> None:
    """Compress a trained model to a budget. Errors are measured on training clips; nothing is trained."""
    from tensortrain.compression.reports.report import ENDINGS
    from zoo.data import make_dataset
    from zoo.model_files.compressed import compress_model, is_compressed, save_compressed

    output = Path(arguments.output)
    if output.suffix.lower() != ".safetensors":
        raise ZooError(f"--output = {output} has the suffix {output.suffix!r}, but must end in .safetensors")
    for report in map(Path, arguments.report):
        if report.suffix.lower() not in ENDINGS:
            raise ZooError(f"--report = {report} has the suffix {report.suffix!r}; legal: {', '.join(ENDINGS)}")
    budget = _budget(arguments)
    others = files_of([arguments.model], arguments.checkpoint)
    others += [Path(arguments.resume)] if arguments.resume else []
    for path in (output, *map(Path, arguments.report)):
        destination(path, others)
        others.append(path)
    if arguments.clips < 1:
        raise ZooError(f"--clips = {arguments.clips} must be at least 1")
    trained = find_trained_model(arguments.model, arguments.checkpoint)
    data = trained.recipe.data
    if data.content != "video":
        raise ZooError(f"{trained.name} reads {data.content}, but only video models can be compressed; name another")
    dataset = make_dataset(data, "train", arguments.data_root)
    print(f"{trained.name} on {dataset.describe()}", file=sys.stderr)
    with aside(output) as temporary:  # opened now, so that an error in writing shows before the work
        result = compress_model(
            trained.model,
            trained.recipe,
            dataset.clips(range(min(arguments.clips, len(dataset)))),
            include=arguments.include,
            exclude=arguments.exclude,
            formats=arguments.formats,
            effort=arguments.effort,
            seconds=arguments.seconds,
            objective=arguments.objective,
            seed=arguments.seed,
            resume=arguments.resume,
            device=arguments.device,
            **budget,
        )
        if not is_compressed(result.model):
            why, remedy = "meets this budget as it is", "pass a smaller budget"
            if arguments.milliseconds is not None or arguments.time is not None:
                why += ", or none of its layers would be faster on this machine"
                remedy += ", or one of parameters"
            raise ZooError(f"{trained.name} {why}, so no layer was replaced; {remedy}")
        save_compressed(result, temporary, trained.recipe)
    for report in arguments.report:
        result.report.save(report)
    print(result)
    print(output)


def _budget(arguments: Namespace) -> dict[str, Any]:
    """The name and the value of the only budget: a float is a fraction or a time, and an int a number of units.

    Raises:
        ZooError: if there is no budget, there are several, or its value is out of range.
    """
    budgets = {name: arguments[name] for name in BUDGETS if arguments[name] is not None}
    if len(budgets) != 1:
        passed = " and ".join(f"--{name} {value:g}" for name, value in budgets.items()) or "none"
        options = ", ".join(f"--{name}" for name in BUDGETS)
        raise ZooError(f"exactly one budget is needed, one of the options {options}; passed: {passed}")
    name, value = next(iter(budgets.items()))
    most = 1 if name == "time" else math.inf
    if not 0 < value <= most or math.isinf(value):
        raise ZooError(f"--{name} = {value:g}; {_LEGAL.get(name, _LEGAL_COST.format(name))} is needed")
    return {name: int(value) if name in COSTS and value > 1 else value}

"""`zoo compress`: a trained model with fewer parameters."""

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.options import CHECKPOINT_HELP, ROOT_HELP
from zoo.commands.trained import files_of, find_trained_model
from zoo.errors import ZooError
from zoo.files import aside, destination

BUDGETS = ("parameters", "macs", "bytes")


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Which model, its budget, the clips, and the files to write."""
    parser.add_argument("model", type=str, help="Folder of a run, .safetensors file, or MODEL:WEIGHTS.")
    parser.add_argument("--parameters", type=float | None, help="Parameters to keep: a part such as .25, or a number.")
    parser.add_argument("--macs", type=float | None, help="Multiply-accumulates to keep, likewise.")
    parser.add_argument("--bytes", type=float | None, help="Bytes to keep, likewise.")
    parser.add_argument("--milliseconds", type=float | None, help="Time of a rollout of all clips on this machine.")
    parser.add_argument("--output", "-o", type=str, required=True, help="The .safetensors file to write.")
    parser.add_argument("--clips", type=int, default=32, help="Training clips that errors are measured on.")
    parser.add_argument("--include", type=str, nargs="+", default=[], help="Only layers that match these patterns.")
    parser.add_argument("--exclude", type=str, nargs="+", default=[], help="No layers that match these patterns.")
    parser.add_argument("--report", type=str, nargs="+", default=[], help="Reports: .html, .json, .csv or .png.")
    parser.add_argument("--formats", type=str, nargs="+", default=None, help="Fitted formats that compete, or all.")
    parser.add_argument("--effort", type=float, default=1.0, help="Factor on the work of each fit.")
    parser.add_argument("--seconds", type=float | None, help="Limit on the time of all fits together.")
    parser.add_argument("--objective", default="error", help="Of forms of equal cost: error, speed, or both.")
    parser.add_argument("--seed", type=int, default=0, help="Of all random choices.")
    parser.add_argument("--resume", type=str | None, help="File that keeps finished layers, for an interrupted call.")
    parser.add_argument("--checkpoint", default="best", help=CHECKPOINT_HELP)
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def run(arguments: Namespace) -> None:
    """Compress a trained model to a budget, by what it computes on clips it was trained on; it is not trained."""
    from tensortrain.compression.reports.report import ENDINGS
    from zoo.compressed import compress_model, save_compressed
    from zoo.data import make_dataset

    output = Path(arguments.output)
    if output.suffix != ".safetensors":
        raise ZooError(f"--output = {output} has the suffix {output.suffix!r}; only .safetensors can be written")
    inputs = files_of([arguments.model], arguments.checkpoint)
    for report in map(Path, arguments.report):
        if report.suffix not in ENDINGS:
            raise ZooError(f"--report = {report} has the suffix {report.suffix!r}; legal: {', '.join(ENDINGS)}")
        destination(report, inputs)
    destination(output, inputs)
    if arguments.clips < 1:
        raise ZooError(f"--clips = {arguments.clips}; at least one clip is needed")
    trained = find_trained_model(arguments.model, arguments.checkpoint)
    data = trained.recipe.data
    if data.content != "video":
        raise ZooError(f"{trained.name} reads {data.content}, and what is compressed are models of video; name another")
    dataset = make_dataset(data, "train", arguments.data_root)
    print(f"{trained.name} on {dataset.describe()}", file=sys.stderr)
    budgets = {name: _amount(getattr(arguments, name)) for name in BUDGETS}
    with aside(output) as temporary:  # so that what cannot be written is known beforehand
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
            milliseconds=arguments.milliseconds,
            **budgets,
        )
        save_compressed(result, temporary, trained.recipe)
        for report in arguments.report:
            result.report.save(report)
    print(result)
    print(output)


def _amount(value: float | None) -> float | int | None:
    """A part of the whole as it is, more than 1 as a number."""
    return int(value) if value is not None and value > 1 else value

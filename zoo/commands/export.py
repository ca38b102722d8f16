"""`zoo export`: write a run's model as one file."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.options import CHECKPOINT_HELP
from zoo.commands.trained import files_of, find_trained_model
from zoo.errors import ZooError
from zoo.files import destination
from zoo.names import check_suffix

SUFFIXES = (".safetensors", ".onnx", ".pt2")


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Which run, and the file to write."""
    parser.add_argument("run", type=str, help="Folder of a run, a .safetensors file, or MODEL:WEIGHTS.")
    parser.add_argument(
        "--output",
        "-o",
        type=str,
        required=True,
        help="The file to write: .safetensors for weights and recipe, .onnx or .pt2 for a network of other programs.",
    )
    parser.add_argument("--checkpoint", default="best", help=CHECKPOINT_HELP)
    parser.add_argument("--horizon", type=int | None, help="Frames that the network predicts; default: as trained.")
    parser.add_argument("--step", action="store_true", help="A network that reads one frame, with its state.")


def run(arguments: Namespace) -> None:
    """Write a run's weights and recipe, or its network for other programs, as one file."""
    output, step, horizon = Path(arguments.output), arguments.step, arguments.horizon
    check_suffix(output, SUFFIXES)
    if output.suffix == ".safetensors" and (step or horizon is not None):
        raise ZooError("--step and --horizon are for .onnx and .pt2; weights have neither, leave them out")
    if step and horizon is not None:
        raise ZooError(f"--horizon {horizon} beside --step, which predicts one frame; leave one of them out")
    for written in (output, output.with_suffix(".npz")) if step else (output,):
        destination(written, files_of([arguments.run], arguments.checkpoint))
    model, recipe = find_trained_model(arguments.run, arguments.checkpoint)[1:]
    if output.suffix == ".safetensors":
        from zoo.pretrained import save_weights

        save_weights(output, model, recipe)
        print(output)
        return
    from zoo.exporting import export_rollout, export_step

    if step:
        said = export_step(output, model, recipe)
    else:
        said = export_rollout(
            output, model, recipe, recipe.data.length - recipe.data.observed if horizon is None else horizon
        )
    print(f"{output}: {said}")

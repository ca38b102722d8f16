"""`zoo export`: write a trained model as one file."""

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
    """The model, and the file to write."""
    parser.add_argument("run", type=str, help="Folder of a run, a .safetensors file, or MODEL:WEIGHTS.")
    parser.add_argument(
        "--output",
        "-o",
        type=str,
        required=True,
        help="The file to write: .safetensors for weights and settings, .onnx or .pt2 for a network that other "
        "programs can run.",
    )
    parser.add_argument("--checkpoint", default="best", help=CHECKPOINT_HELP)
    parser.add_argument(
        "--horizon",
        type=int | None,
        help="Number of frames (or steps of a series) that the network predicts; default: as in training.",
    )
    parser.add_argument(
        "--step",
        action="store_true",
        help="Write a network for a single step: it reads a frame and the state, and returns the next frame and state.",
    )


def run(arguments: Namespace) -> None:
    """Write a trained model as one file: weights and settings, or a network for other programs."""
    output, step, horizon = Path(arguments.output), arguments.step, arguments.horizon
    check_suffix(output, SUFFIXES)
    suffix = output.suffix.lower()
    if suffix == ".safetensors" and (step or horizon is not None):
        raise ZooError("--step and --horizon are for .onnx and .pt2 files; leave them out for .safetensors")
    if step and horizon is not None:
        raise ZooError(f"--horizon {horizon} and --step exclude each other: a step predicts one frame; leave one out")
    for written in (output, output.with_suffix(".npz")) if step else (output,):
        destination(written, files_of([arguments.run], arguments.checkpoint))
    model, recipe = find_trained_model(arguments.run, arguments.checkpoint)[1:]
    if suffix == ".safetensors":
        from zoo.model_files.pretrained import save_weights

        save_weights(output, model, recipe)
        print(output)
        return
    from zoo.model_files.exporting import export_rollout, export_step

    if step:
        shapes = export_step(output, model, recipe)
    else:
        shapes = export_rollout(
            output, model, recipe, recipe.data.length - recipe.data.observed if horizon is None else horizon
        )
    print(f"{output}: {shapes}")

"""`zoo export`: write a run's weights as one file."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.options import CHECKPOINT_HELP
from zoo.commands.trained import files_of, find_trained_model
from zoo.errors import ZooError
from zoo.files import destination


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Which run, and the file to write."""
    parser.add_argument("run", type=str, help="Folder of a run.")
    parser.add_argument("--output", "-o", type=str, required=True, help="The .safetensors file to write.")
    parser.add_argument("--checkpoint", default="best", help=CHECKPOINT_HELP)


def run(arguments: Namespace) -> None:
    """Write a run's weights and recipe as one safetensors file."""
    from zoo.pretrained import save_weights

    output = Path(arguments.output)
    if output.suffix != ".safetensors":
        raise ZooError(
            f"--output = {output} has the suffix {output.suffix!r}, and only .safetensors can be written; "
            f"write {output.with_suffix('.safetensors')}"
        )
    destination(output, files_of([arguments.run], arguments.checkpoint))
    trained = find_trained_model(arguments.run, arguments.checkpoint)
    save_weights(output, trained.model, trained.recipe)
    print(output)

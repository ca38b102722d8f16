"""`zoo import`: turn a checkpoint of another code base into weights of a model here."""

from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from zoo.errors import ZooError
from zoo.files import destination
from zoo.names import FOREIGN, check_name, check_suffix


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Whose checkpoint, the file, and what it does not say."""
    parser.add_argument("source", type=str, help=f"The code base that wrote it: {', '.join(FOREIGN)}.")
    parser.add_argument("file", type=str, help="Its checkpoint; for predrnn-pp an .npz file of named arrays.")
    parser.add_argument("--output", "-o", type=str, required=True, help="The .safetensors file to write.")
    parser.add_argument("--channels", type=int, default=1, help="Of the frames: 1 for grey, 3 for RGB.")
    parser.add_argument(
        "--sigmoid", action="store_true", help="Of conv-tt-lstm: its predictions go through a sigmoid, as for KTH."
    )
    parser.add_argument(
        "--dataset", default="moving-mnist", help="The clips that it is for, as `zoo train` names them."
    )
    parser.add_argument(
        "--size", type=int | list[int] | None, help="One number, or height and width; default: the data set's."
    )


def run(arguments: Namespace) -> None:
    """Turn a checkpoint of OpenSTL, predrnn-pytorch, conv-tt-lstm or predrnn-pp into weights of a model here."""
    check_name("source", arguments.source, FOREIGN)
    check_suffix(arguments.output, (".safetensors",))
    destination(arguments.output, [arguments.file])
    if arguments.channels < 1:
        raise ZooError(f"--channels {arguments.channels} must be at least 1")
    from zoo.foreign.weights import import_weights
    from zoo.pretrained import save_weights

    imported = import_weights(
        arguments.source,
        arguments.file,
        arguments.channels,
        arguments.sigmoid,
        arguments.dataset,
        arguments.size,
    )
    save_weights(arguments.output, imported.model, imported.recipe)
    for line in imported.remarks:
        print(line)
    options = ", ".join(f"{name} = {value}" for name, value in imported.recipe.options.items())
    print(f"{arguments.output}: {imported.recipe.model} with {options}")

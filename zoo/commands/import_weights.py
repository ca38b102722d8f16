"""`zoo import`: convert a checkpoint of another code base to weights of the zoo."""

from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from zoo.errors import ZooError
from zoo.files import destination
from zoo.names import FOREIGN, check_name, check_suffix


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The code base, the file, and settings that are not in the file."""
    parser.add_argument("source", type=str, help=f"The code base of the checkpoint: {', '.join(FOREIGN)}.")
    parser.add_argument("file", type=str, help="The checkpoint; for predrnn-pp an .npz file of named arrays.")
    parser.add_argument("--output", "-o", type=str, required=True, help="The .safetensors file to write.")
    parser.add_argument("--channels", type=int, default=1, help="Number of channels: 1 for grey, 3 for RGB.")
    parser.add_argument(
        "--sigmoid", action="store_true", help="For conv-tt-lstm: apply a sigmoid to the predictions, as for KTH."
    )
    parser.add_argument(
        "--dataset", default="moving-mnist", help="The data set of the model, by its name in `zoo train`."
    )
    parser.add_argument(
        "--size",
        type=int | list[int] | None,
        help="Size of frames in pixels, as one number or height and width; default: the data set's.",
    )


def run(arguments: Namespace) -> None:
    """Convert a checkpoint of OpenSTL, predrnn-pytorch, conv-tt-lstm or predrnn-pp to weights of the zoo."""
    check_name("source", arguments.source, FOREIGN)
    check_suffix(arguments.output, (".safetensors",))
    destination(arguments.output, [arguments.file])
    if arguments.channels < 1:
        raise ZooError(f"--channels {arguments.channels} must be at least 1")
    from zoo.foreign.weights import import_weights
    from zoo.model_files.pretrained import save_weights

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

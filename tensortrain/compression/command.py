"""The command `tensortrain compress`."""

import math
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from tensortrain import files
from tensortrain.compression import user_code
from tensortrain.compression.network import compress as compress_network
from tensortrain.compression.reports.report import ENDINGS
from tensortrain.compression.state_dicts.checkpoints import read_checkpoint
from tensortrain.compression.state_dicts.names import plain_names
from tensortrain.compression.state_dicts.shards import files_of
from tensortrain.errors import TensorTrainError

Data = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|MODULE.py:FUNCTION",
        help="Folder of images, or function that returns batches. Without it, the weights are approximated and not the "
        "outputs, which usually costs accuracy.",
    ),
]
EffortOption = Annotated[float, typer.Option("--effort", help="Factor on the work of each fit: 2 is twice as much.")]
Seconds = Annotated[
    float | None,
    typer.Option(help="Time limit of the fits of further formats, in seconds. Without --formats, all are tried."),
]
Include = Annotated[
    list[str] | None, typer.Option(metavar="LAYER", help="Change only the layers that match this pattern.")
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="LAYER", help="Do not change the layers that match this pattern.")
]
Resume = Annotated[
    Path | None, typer.Option(help="File that keeps finished layers, so that an interrupted command can continue.")
]
Size = Annotated[str | None, typer.Option(help='Size to which the images of a folder are stretched: "224", "192x256".')]
Mean = Annotated[str | None, typer.Option(help='Mean of each channel, for pixels from 0 to 1: "0.485,0.456,0.406".')]
Std = Annotated[str | None, typer.Option(help='Standard deviation of each channel: "0.229,0.224,0.225".')]


def compress(
    model: Annotated[str, typer.Argument(metavar="MODULE.py:FUNCTION", help="Function that builds the network.")],
    weights: Annotated[
        Path, typer.Argument(help="Checkpoint of the network: safetensors, or a torch file of tensors.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Safetensors file to write.")],
    data: Data = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    parameters: Annotated[
        str | None,
        typer.Option(metavar="FRACTION|COUNT", help="Budget: parameters of the whole network, such as 0.3 or 100000."),
    ] = None,
    macs: Annotated[
        str | None,
        typer.Option(metavar="FRACTION|COUNT", help="Budget: multiply-accumulates for each sample, such as 0.4."),
    ] = None,
    bytes: Annotated[
        str | None,
        typer.Option(metavar="FRACTION|COUNT", help="Budget: bytes of parameters and buffers, such as 0.3."),
    ] = None,
    milliseconds: Annotated[
        float | None, typer.Option(help="Budget: milliseconds for the first batch of the data, on this machine.")
    ] = None,
    time: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION", help="Budget: time on this machine, as a fraction of the original network's time: 0.6."
        ),
    ] = None,
    max_drop: Annotated[float | None, typer.Option(help="Largest drop of the metric, instead of a budget.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="MODULE.py:FUNCTION", help="Function that maps a network to a number; larger is better."),
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    at_least: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER=FRACTION", help="Smallest share of its parameters that a layer keeps."),
    ] = None,
    at_most: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER=FRACTION", help="Largest share of its parameters that a layer keeps."),
    ] = None,
    multiple: Annotated[int, typer.Option(help="All ranks are multiples of this number.")] = 1,
    formats: Annotated[
        list[str] | None,
        typer.Option(metavar="FORMAT", help="Further formats to fit, such as cttd or cp; all means all formats."),
    ] = None,
    effort: EffortOption = 1.0,
    seconds: Seconds = None,
    objective: Annotated[
        str,
        typer.Option(
            help="How to choose between forms of about equal cost: error, speed, or both (smallest error of the faster "
            "ones)."
        ),
    ] = "error",
    samples: Annotated[
        int,
        typer.Option(help="Largest number of inputs that are used; images of a folder are shuffled."),
    ] = 1024,
    key: Annotated[
        str | None, typer.Option(help="Key of the state dict in a file that has several, such as params_ema.")
    ] = None,
    report: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Report to write: .html, .json, .csv or .png.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all random choices.")] = 0,
    resume: Resume = None,
) -> None:
    """Compress a whole network to a budget, judged by its outputs on your inputs.

    Exactly one budget or --max-drop is needed. MODULE.py is your own code. It
    is run, and builds the network into which the weights are loaded.
    Rebuild the result in Python with tensortrain.nn.load(FUNCTION(), OUTPUT).
    """
    for path in report or ():
        if path.suffix.lower() not in ENDINGS:
            raise TensorTrainError(f"report = {path} ends in {path.suffix!r}; legal: {', '.join(ENDINGS)}")
    own = [*code_files(model), *code_files(metric), *data_files(data)]
    kept = [] if resume is None else [resume]
    files.destinations([output, *(report or ())], [*files_of(weights), *own, *kept])
    network = user_code.called("MODULE.py:FUNCTION", model)
    load_weights(network, weights, key)
    with files.aside(output) as temporary:  # opened now, so that an unwritable file is reported first
        result = compress_network(
            network.eval(),
            calibration_inputs(data, size, mean, std),
            parameters=_amount("parameters", parameters),
            macs=_amount("macs", macs),
            bytes=_amount("bytes", bytes),
            milliseconds=milliseconds,
            time=time,
            include=include or (),
            exclude=exclude or (),
            at_least=_by_layer("--at-least", at_least),
            at_most=_by_layer("--at-most", at_most),
            multiple=multiple,
            formats=formats or None,
            effort=effort,
            seconds=seconds,
            objective=objective,
            samples=samples,
            metric=None if metric is None else user_code.function("--metric", metric),
            max_drop=max_drop,
            seed=seed,
            resume=resume,
        )
        print(result)  # also if no layer has changed, so that there is nothing to save
        result.save(temporary)
    for path in report or ():
        result.report.save(path)
    print(output)


def load_weights(network: Any, weights: Path, key: str | None) -> None:
    """Load a checkpoint into the network that the user's function has built.

    Args:
        network: what the function returned.
        weights: the checkpoint.
        key: key of the state dict in a file that has several.

    Raises:
        TensorTrainError: the function returned no network, or the checkpoint does not fit it.
    """
    if not isinstance(network, torch.nn.Module):
        raise TensorTrainError(f"the function returned a {type(network).__name__}; an nn.Module is needed")
    tensors = read_checkpoint(weights, key).tensors
    names = {plain: name for name, plain in plain_names(network.state_dict()).items()}
    try:
        network.load_state_dict({names.get(name, name): tensor for name, tensor in tensors.items()})
    except RuntimeError as error:
        raise TensorTrainError(f"{weights} does not fit the network: {' '.join(str(error).split())[:500]}") from None


def code_files(text: str | None) -> list[Path]:
    """Return the files that are read when a user's function is called, of which many users have no other copy.

    These are the file of its module and the Python files beside it, which it may import. Nothing is run.

    Args:
        text: the function, such as `my_module.py:build` or `my_package.module:build`; None for no function.

    >>> [path.name for path in code_files("json.decoder:JSONDecoder") if path.stem in ("decoder", "scanner")]
    ['decoder.py', 'scanner.py']
    """
    module = (text or "").rpartition(":")[0]
    file = Path(module) if module.endswith(".py") else _module_file(module)
    return [] if file is None else list(dict.fromkeys([file, *sorted(file.parent.glob("*.py"))]))


def _module_file(name: str) -> Path | None:
    """Return the file of a module with a dotted name, without importing it, or None if there is none."""
    folders: Sequence[str] | None = [os.getcwd(), *sys.path]  # in the order in which `user_code` searches them
    spec = None
    for part in name.split("."):
        spec = PathFinder.find_spec(part, folders) if part and folders else None
        if spec is None:
            return None
        folders = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
    return None if spec is None or not spec.has_location or spec.origin is None else Path(spec.origin)


def data_files(data: str | None) -> list[Path]:
    """Return the files that are read for `--data`: the images of a folder, or the files of a function."""
    if data is None or not Path(data).is_dir():
        return code_files(data)
    return [path for path in Path(data).rglob("*") if path.suffix.lower() in user_code.ENDINGS]


def calibration_inputs(data: str | None, size: str | None, mean: str | None, std: str | None) -> Iterable[Any] | None:
    """Return the batches of inputs from a folder of images or a function.

    Args:
        data: the folder or the function; None for no inputs.
        size: height and width of the images in pixels, such as "224" or "192x256".
        mean: mean of each channel, separated by commas.
        std: standard deviation of each channel, separated by commas.

    Raises:
        TensorTrainError: options for the images of a folder are missing, wrong or unused, or an error of `user_code`.
    """
    options = {"--size": size, "--mean": mean, "--std": std}
    if data is not None and Path(data).is_dir():
        missing = [name for name, value in options.items() if value is None]
        if missing:
            raise TensorTrainError(
                f"--data {data} is a folder of images, which needs {', '.join(missing)}, as in the network's training"
            )
        sides = (size or "").split("x")
        if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
            raise TensorTrainError(f"--size = {size!r}; one whole number of pixels or HEIGHTxWIDTH is needed")
        shape = (int(sides[0]), int(sides[-1]))
        return user_code.image_batches(Path(data), shape, _numbers("--mean", mean), _numbers("--std", std))
    unused = [name for name, value in options.items() if value is not None]
    if unused:
        raise TensorTrainError(f"{', '.join(unused)} are for folders of images; --data is {data!r}")
    if data is None:
        return None
    batches: Iterable[Any] = user_code.called("--data", data)
    return batches


def _numbers(option: str, text: str | None) -> list[float]:
    try:
        return [float(part) for part in (text or "").split(",")]
    except ValueError:
        raise TensorTrainError(f"{option} = {text!r}; numbers are needed, with ',' between them") from None


def _by_layer(option: str, texts: list[str] | None) -> dict[str, float]:
    """Convert `["layer1.*=0.5"]` to a mapping from patterns to numbers."""
    values: dict[str, float] = {}
    for text in texts or ():
        pattern, _, value = text.rpartition("=")
        try:
            fraction = float(value)
        except ValueError:
            fraction = math.nan
        if not pattern or math.isnan(fraction):
            raise TensorTrainError(f"{option} = {text!r}; LAYER=FRACTION is needed, such as 'layer1.*=0.5'")
        if pattern in values:
            raise TensorTrainError(
                f"{option} has two values for {pattern!r}, {values[pattern]:g} and {value}; name one"
            )
        values[pattern] = fraction
    return values


def _amount(option: str, text: str | None) -> float | int | None:
    """Convert `"0.3"` to a fraction, and `"3000"` to a number."""
    if text is None:
        return None
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise TensorTrainError(f"{option} = {text!r}; a fraction such as 0.3 or a whole number is needed") from None

"""The command `tensortrain`: decompose the kernels of a checkpoint or compress a network, show and verify files.

The exit status is 0 for success, 1 if `verify` found a difference, 2 for bad input or for output that cannot be
written, 130 after an interruption, and 141 if the reader of the output has closed it.
"""

import math
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

import tensortrain
from tensortrain import files, storage, terminal
from tensortrain.compression import command, user_code
from tensortrain.compression.certificates import certify_network, check_original
from tensortrain.compression.layers.exchange import exchanged_tensors
from tensortrain.compression.reports import listings
from tensortrain.compression.reports.result_pages import decomposition_page
from tensortrain.compression.state_dicts.checkpoints import Checkpoint, read_checkpoint
from tensortrain.compression.state_dicts.decomposition import (
    check_names,
    decompose_kernels,
    first_failure,
    replace_kernels,
)
from tensortrain.compression.state_dicts.effort import Effort
from tensortrain.compression.state_dicts.kernels import ConvKernel, find_kernels, select, unsaid
from tensortrain.compression.state_dicts.limits import LayerLimits
from tensortrain.compression.state_dicts.records import (
    LayerRecord,
    network_header,
    read_changes,
    read_matrices,
    read_network,
)
from tensortrain.compression.state_dicts.shards import files_of
from tensortrain.compression.verify import verify_network
from tensortrain.compression.verify_outputs import verify_outputs
from tensortrain.conv.certify.claims import Claims
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError
from tensortrain.tables import say, show
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.tensor_train import TensorTrain

T = TypeVar("T")

app = typer.Typer(
    help=(__doc__ or "").partition("\n")[0].partition(": ")[2].capitalize(),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, which ends with `SystemExit`."""
    with terminal.reported("tensortrain", TensorTrainError):
        app(args=None if arguments is None else list(arguments), prog_name="tensortrain")


def _print_version(wanted: bool) -> None:
    """Print the version and exit, if the option `--version` was passed."""
    if wanted:
        print(f"tensortrain {tensortrain.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


Key = Annotated[
    str | None,
    typer.Option(help="Key of the state dict if the file has several, such as params_ema or ema.state_dict."),
]

Fold = Annotated[
    bool,
    typer.Option(
        "--fold",
        help="Compute each weight that weight norm, spectral norm or pruning stores in parts. The result fits a"
        " model from which these parametrizations have been removed.",
    ),
]


@app.command()
def decompose(
    weights: Annotated[Path, typer.Argument(help="Checkpoint: safetensors, or a torch file of tensors.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Safetensors file to write.")],
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[LAYER=]FRACTION", help="Upper limit of a layer's parameters, as a fraction of its kernel: 0.25."
        ),
    ] = None,
    max_parameters: Annotated[
        list[str] | None, typer.Option(metavar="[LAYER=]COUNT", help="Upper limit of a layer's parameters: 5000.")
    ] = None,
    rtol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[LAYER=]TOLERANCE", help="Largest relative error of each kernel, in the Frobenius norm, in [0, 1)."
        ),
    ] = None,
    ranks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[LAYER=]RANKS",
            help='Upper limit of the ranks: one for all bonds, or one for each inner bond: "16", "16,8".',
        ),
    ] = None,
    kernel_sizes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[LAYER=]SIZES",
            help='"auto" (the default), a format such as "tucker2", or the sizes of the cores, first the core nearest'
            ' the output: "3,3", "1x1,3x3,1x1".',
        ),
    ] = None,
    include: command.Include = None,
    exclude: command.Exclude = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER=G", help="Number of groups of the convolutions whose names match LAYER."),
    ] = None,
    transposed: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER", help="Name or pattern of layers that are transposed convolutions."),
    ] = None,
    key: Key = None,
    fold: Fold = False,
    effort: command.EffortOption = 1.0,
    seconds: command.Seconds = None,
    objective: Annotated[
        str,
        typer.Option(
            help='How "auto" chooses a format: error (the smallest error), speed (the shortest time), or both (the'
            " smallest error among the formats that are faster than the dense layer on this machine)."
        ),
    ] = "error",
    size: Annotated[
        str | None, typer.Option(help='Size of the images on which layers are timed: "32" (the default), "24x32".')
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random starting points.")] = 0,
    resume: command.Resume = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write an HTML page with charts and tables of all layers.")
    ] = None,
) -> None:
    """Decompose every conv kernel in a checkpoint; other tensors are copied.

    --budget, --max-parameters, --rtol, --ranks and --kernel-sizes each take
    one value for all layers, or LAYER=VALUE for the layers that match LAYER.
    The second form can be repeated: --budget 'layer1.*=0.5' --budget '*=0.25'.
    The first pattern that matches a layer is used. A layer that matches none
    of the patterns is copied.
    """
    limits = LayerLimits(
        kernel_sizes=_per_layer("kernel-sizes", kernel_sizes, _sizes) or "auto",
        ranks=_per_layer("ranks", ranks, _ranks),
        rtol=_per_layer("rtol", rtol, _fraction),
        max_parameters=_per_layer("max-parameters", max_parameters, _integer),
        budget=_per_layer("budget", budget, _fraction),
    )
    if report is not None and report.suffix.lower() != ".html":
        raise TensorTrainError(f"report = {report} ends in {report.suffix!r}; legal: .html")
    kept = [] if resume is None else [resume]
    files.destinations([output, *([] if report is None else [report])], [*files_of(weights), *kept])
    checkpoint = read_checkpoint(weights, key)
    checkpoint = checkpoint.folded() if fold else checkpoint
    tensors = checkpoint.tensors
    storage.check_tensors(tensors)
    candidates = find_kernels(tensors, _groups(groups or ()), transposed or ())
    kernels = select(candidates, include or (), exclude or ())
    for sentence in unsaid(kernels):
        print(f"tensortrain: {sentence}", file=sys.stderr)
    check_names(tensors, limits.by_kernel(kernels))
    with files.aside(output) as temporary:
        outcomes = decompose_kernels(
            kernels, limits, Effort(seed, effort, seconds, objective, _image(size)), resume=resume
        )
        records = [outcome.record for outcome in outcomes if outcome.chain is not None]
        if not records:
            failure = first_failure(outcomes)
            raise TensorTrainError(f"no kernel can be decomposed; {failure.kernel.name}: {failure.reason}")
        replaced = replace_kernels(tensors, outcomes)
        storage.write_to(temporary, replaced, network_header(records))
    _print_remarks(checkpoint, candidates)
    table = listings.layer_table(records, outcomes, _image(size))
    show(table)
    copied = {outcome.kernel.name: outcome.reason or "" for outcome in outcomes if outcome.chain is None}
    for name, reason in copied.items():
        say(f"copied {name}: {reason}")
    before, after = (sum(t.numel() for t in named.values()) for named in (tensors, replaced))
    say(f"{output}: {after:,} of {before:,} parameters ({after / before:.1%})")
    if report is not None:
        again = shlex.join(["tensortrain", *sys.argv[1:]])
        decomposition_page(records, table, copied, (before, after), again).save(report)
        print(report)


app.command()(command.compress)


@app.command()
def info(
    file: Annotated[Path, typer.Argument(help="A file that this program wrote, or any checkpoint.")], key: Key = None
) -> None:
    """Show the layers of a decomposed network, a saved train, or the conv kernels of a checkpoint."""
    header = storage.read_header(file) if file.is_file() else None
    kind = None if header is None else header["kind"]
    checksummed = header is not None and header["version"] > 1
    if kind == "network":
        tensors, records = read_network(file)
        if records:
            show(listings.layer_table(records))
        for matrix in read_matrices(file):
            say(f"{matrix.weight}: {matrix}")
        say(f"{file}: {sum(t.numel() for t in tensors.values()):,} parameters")
    elif kind is not None:
        print(_load(kind, file))
    else:
        checkpoint = read_checkpoint(file, key)
        checksummed = checkpoint.checksummed
        kernels = find_kernels(checkpoint.tensors)
        _print_remarks(checkpoint, kernels)
        show(listings.kernel_table(kernels))
    if not checksummed:
        say("this file has no checksum, so damage to it cannot be detected")


@app.command()
def verify(
    small: Annotated[
        Path, typer.Argument(help="The file that `tensortrain decompose` or `tensortrain compress` wrote.")
    ],
    against: Annotated[Path, typer.Option(help="The original checkpoint.")],
    key: Key = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE.py:FUNCTION", help="Function that builds the network. It is needed together with --data."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|MODULE.py:FUNCTION",
            help="The inputs that were used for the compression. With --network, the errors of the layers' outputs are "
            "recomputed on them.",
        ),
    ] = None,
    size: command.Size = None,
    mean: command.Mean = None,
    std: command.Std = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="Also write a certificate, which `python -m tensortrain_check` checks without torch."),
    ] = None,
    layers: Annotated[
        list[str] | None, typer.Option(metavar="LAYER", help="Certify only the layers that match this pattern.")
    ] = None,
) -> None:
    """Recompute errors and bounds from the original, and compare core-by-core with dense evaluation.

    Errors of the layers' outputs are checked only with --network and --data,
    the inputs that were used for the compression.
    """
    if (network is None) != (data is None):
        raise TensorTrainError("--network and --data are needed together; add the other option, or leave out both")
    if layers and certificate is None:
        raise TensorTrainError("--layers selects the layers of a certificate; add --certificate FILE")
    if certificate is not None:
        own = [*command.code_files(network), *command.data_files(data)]
        files.destination(certificate, [small, *files_of(against), *own])
        check_original(against, certificate)
    tensors, records = read_network(small)
    if matrices := read_matrices(small):
        raise TensorTrainError(
            f"{small} has layers with TT-matrices ({', '.join(matrix.name for matrix in matrices)}), which verify does "
            "not compare; load both networks and compare their outputs"
        )
    changes = read_changes(small)
    original = read_checkpoint(against, key)
    present = exchanged_tensors(original.tensors, changes.exchanged)
    if any(record.weight not in present for record in records):
        original = original.folded()
    result = verify_network(tensors, records, original.tensors, changes)
    show(listings.verification_table(result))
    for failure in result.failures:
        say(f"FAILED {failure}")
    if result.failures:
        raise typer.Exit(1)
    say(
        f"verified: {len(result.layers)} layers, {result.copied} other tensors unchanged"
        + (f", {result.changed} changed as the file says" if result.changed else "")
    )
    if network is not None:
        _verify_outputs(small, against, key, network, command.calibration_inputs(data, size, mean, std))
    elif any(record.data_error is not None for record in records):
        say("the errors of the layers' outputs were not checked; add --network and --data to check them")
    if certificate is not None:
        results = certify_network(small, against, certificate, layers or ())
        show(listings.certified_table(results))
        _print_how_to_check(certificate, results)


@app.command()
def convert(
    weights: Annotated[Path, typer.Argument(help="Checkpoint: safetensors, or a torch file of tensors.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Safetensors file to write.")],
    key: Key = None,
    fold: Fold = False,
) -> None:
    """Write the tensors of a checkpoint to one plain safetensors file, under the parameter names of the model."""
    files.destination(output, files_of(weights))
    checkpoint = read_checkpoint(weights, key)
    tensors = (checkpoint.folded() if fold else checkpoint).tensors
    storage.write_plain(output, tensors)
    say(f"{output}: {len(tensors)} tensors")


def _print_how_to_check(certificate: Path, results: Sequence[tuple[LayerRecord, Claims]]) -> None:
    """Print the command that checks the certificate, and a warning for each layer whose check takes long."""
    for record, claims in results:
        if claims.seconds > 60:
            minutes = math.ceil(claims.seconds / 60)
            say(
                f"the exact check of {record.name or record.weight} takes about {minutes} minutes; use --layers to"
                " certify other layers only"
            )
    print(f"check with: python -m tensortrain_check {shlex.quote(str(certificate))}")


def _verify_outputs(small: Path, against: Path, key: str | None, network: str, inputs: Any) -> None:
    """Check the errors of the layers' outputs that the file states, and exit with status 1 if one is wrong."""
    original = user_code.called("--network", network)
    command.load_weights(original, against, key)
    count, failures = verify_outputs(original.eval(), user_code.function("--network", network), small, inputs)
    for failure in failures:
        print(f"FAILED {failure}")
    if failures:
        raise typer.Exit(1)
    print(f"verified: errors of the outputs of {count} layers")


def _print_remarks(checkpoint: Checkpoint, kernels: Sequence[ConvKernel]) -> None:
    """Print what the user should know about a checkpoint besides its tensors."""
    for remark in checkpoint.remarks:
        say(remark)
    for kernel in kernels:
        if kernel.doubt:
            say(f"{kernel.name} may not be a convolution kernel: {kernel.doubt}")


def _load(kind: str, file: Path) -> object:
    """Return the object in a file of this kind."""
    loaders: dict[str, Callable[[Path], object]] = {
        "chain": ConvTensorTrain.load,
        "train": TensorTrain.load,
        "matrix": TensorTrainMatrix.load,
    }
    if kind not in loaders:
        raise TensorTrainError(f"{file} is of kind {kind!r}; legal: network, {', '.join(loaders)}")
    return loaders[kind](file)


def _per_layer(option: str, texts: Sequence[str] | None, parse: Callable[[str, str], T]) -> T | dict[str, T] | None:
    """Return one value for `["0.25"]`, a mapping of patterns for `["layer1.*=0.5", "*=0.25"]`, and None for no text."""
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return parse(option, texts[0])
    values = {}
    for text in texts:
        pattern, _, value = text.rpartition("=")
        if not pattern:
            raise TensorTrainError(
                f"{option} = {text!r} has no layer; several values must each be LAYER=VALUE, such as '*={value}' for"
                " all layers"
            )
        if pattern in values:
            raise TensorTrainError(f"{option} has two values for {pattern!r}; one is needed")
        values[pattern] = parse(option, value)
    return values


def _ranks(option: str, text: str) -> int | list[int]:
    """Return 16 for `"16"` and `[16, 8]` for `"16,8"`."""
    values = [_integer(option, part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def _sizes(option: str, text: str) -> str | list[list[int] | int]:
    """Return `[[3, 3], 1]` for `"3x3,1"`; names of formats are returned unchanged."""
    if text[:1].isalpha():
        return text
    sizes = [[_integer(option, k) for k in part.split("x")] for part in text.split(",")]
    return [size[0] if len(size) == 1 else size for size in sizes]


def _groups(texts: Iterable[str]) -> dict[str, int]:
    """Return a mapping of patterns to numbers of groups, from texts such as `"features.3=32"`."""
    values = {}
    for text in texts:
        pattern, _, count = text.rpartition("=")
        if not pattern:
            raise TensorTrainError(f"groups = {text!r}; LAYER=G is needed, such as features.3=32")
        values[pattern] = _integer("groups", count)
    return values


def _integer(option: str, text: str) -> int:
    """Return the integer that the text of an option denotes."""
    try:
        return int(text)
    except ValueError:
        raise TensorTrainError(f"{option}: {text!r} is not an integer") from None


def _fraction(option: str, text: str) -> float:
    """Return the number that the text of an option denotes."""
    try:
        return float(text)
    except ValueError:
        raise TensorTrainError(f"{option}: {text!r} is not a number") from None


def _image(size: str | None) -> int | list[int] | None:
    """Return the image size that a text such as `"24x32"` denotes, as one number or one number for each axis."""
    if size is None:
        return None
    parts = [_integer("size", part) for part in size.split("x")]
    return parts[0] if len(parts) == 1 else parts

"""The command `tensortrain`: decompose every conv kernel of a checkpoint, show what a file holds, verify it.

Exit status: 0 for success, 1 if `verify` found a difference, 2 for bad input, 130 if interrupted.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tensortrain import files, storage
from tensortrain.compression.kernels import (
    Kernel,
    Outcome,
    Verification,
    decompose_kernels,
    find_kernels,
    replace_kernels,
    select,
    verify_network,
)
from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.errors import TensorTrainError
from tensortrain.storage import LayerRecord
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.tensor_train import TensorTrain

app = typer.Typer(
    help=(__doc__ or "").partition("\n")[0].partition(": ")[2].capitalize(),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends with `SystemExit`."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="tensortrain")
    except TensorTrainError as error:
        print(f"tensortrain: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


@app.command()
def decompose(
    weights: Annotated[Path, typer.Argument(help="Checkpoint: safetensors, or a torch file of tensors.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Safetensors file to write.")],
    budget: Annotated[float | None, typer.Option(help="Parameters to keep, as a fraction of each kernel.")] = None,
    rtol: Annotated[float | None, typer.Option(help="Relative Frobenius tolerance in [0, 1).")] = None,
    ranks: Annotated[str | None, typer.Option(help='One rank, or the interior ones: "16", "16,8".')] = None,
    kernel_sizes: Annotated[
        str, typer.Option(help='"auto", a format such as "tucker2", or core sizes: "3,3", "1x1,3x3,1x1".')
    ] = "auto",
    include: Annotated[list[str] | None, typer.Option(help="Only layers matching this pattern.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="No layer matching this pattern.")] = None,
    groups: Annotated[list[str] | None, typer.Option(help="LAYER=G: groups of the convs matching LAYER.")] = None,
    transposed: Annotated[list[str] | None, typer.Option(help="Layers that are transposed convs.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random starts.")] = 0,
) -> None:
    """Decompose every conv kernel in a checkpoint; other tensors are copied."""
    if (kind := storage.kind(weights)) is not None:
        raise TensorTrainError(f"{weights} is of kind {kind!r}, decomposed already; use the original checkpoint")
    tensors = storage.read_checkpoint(weights)
    kernels = find_kernels(tensors, _parse_groups(groups or ()), transposed or ())
    chosen = select(kernels, include or (), exclude or ())
    with files.aside(output) as temporary:
        found = decompose_kernels(
            chosen,
            kernel_sizes=_parse_sizes(kernel_sizes),
            ranks=_parse_ranks(ranks),
            rtol=rtol,
            budget=budget,
            seed=seed,
            progress=False,  # there is one bar for all kernels
        )
        outcomes = _follow(found, chosen)
        records = [outcome.record for outcome in outcomes if outcome.chain is not None]
        if not records:
            raise TensorTrainError(f"no kernel can be decomposed; {outcomes[0].kernel.name}: {outcomes[0].reason}")
        replaced = replace_kernels(tensors, outcomes)
        storage.write_to(temporary, replaced, storage.network_header(records))
    console = _console()
    console.print(_layer_table(records, {o.kernel.name: o.seconds for o in outcomes}))
    for outcome in outcomes:
        if outcome.chain is None:
            console.print(f"copied {outcome.kernel.name}: {outcome.reason}", highlight=False)
    before, after = (sum(t.numel() for t in some.values()) for some in (tensors, replaced))
    console.print(f"{output}: {after:,} of {before:,} parameters ({after / before:.1%})", highlight=False)


@app.command()
def info(file: Annotated[Path, typer.Argument(help="A file of this program, or any checkpoint.")]) -> None:
    """Show the layers of a decomposed network, a saved train, or the conv kernels of a checkpoint."""
    console = _console()
    kind = storage.kind(file)
    if kind == "network":
        tensors, records = storage.read_network(file)
        console.print(_layer_table(records))
        console.print(f"{file}: {sum(t.numel() for t in tensors.values()):,} parameters", highlight=False)
    elif kind is not None:
        console.print(str(_load(kind, file)), highlight=False)
    else:
        console.print(_kernel_table(find_kernels(storage.read_checkpoint(file))))


@app.command()
def verify(
    small: Annotated[Path, typer.Argument(help="What `decompose` wrote.")],
    against: Annotated[Path, typer.Option(help="The checkpoint it was made from.")],
) -> None:
    """Recompute errors and bounds against the original, and core by core against dense evaluation."""
    tensors, records = storage.read_network(small)
    result = verify_network(tensors, records, storage.read_checkpoint(against))
    console = _console()
    console.print(_verification_table(result))
    for failure in result.failures:
        console.print(f"FAILED {failure}", highlight=False)
    if result.failures:
        raise typer.Exit(1)
    console.print(f"verified: {len(result.layers)} layers, {result.copied} other tensors unchanged", highlight=False)


def _load(kind: str, file: Path) -> object:
    """The one object that a file of this kind holds."""
    loaders: dict[str, Callable[[Path], object]] = {
        "chain": ConvTensorTrain.load,
        "train": TensorTrain.load,
        "matrix": TensorTrainMatrix.load,
    }
    if kind not in loaders:
        raise TensorTrainError(f"{file} is of kind {kind!r}; legal: network, {', '.join(loaders)}")
    return loaders[kind](file)


def _parse_ranks(text: str | None) -> int | list[int] | None:
    if text is None:
        return None
    values = [_integer("ranks", part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def _parse_sizes(text: str) -> str | list[list[int] | int]:
    """`"3x3,1"` as `[[3, 3], 1]`; words as they are."""
    if text[:1].isalpha():
        return text
    sizes = [[_integer("kernel-sizes", k) for k in part.split("x")] for part in text.split(",")]
    return [size[0] if len(size) == 1 else size for size in sizes]


def _parse_groups(texts: Iterable[str]) -> dict[str, int]:
    pairs = {}
    for text in texts:
        name, _, count = text.rpartition("=")
        if not name:
            raise TensorTrainError(f"groups = {text!r}; LAYER=G is needed, such as features.3=32")
        pairs[name] = _integer("groups", count)
    return pairs


def _integer(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise TensorTrainError(f"{option}: {text!r} is not an integer") from None


def _console() -> Console:
    """Standard output; wide enough for the tables where nobody's terminal sets the width."""
    return Console() if sys.stdout.isatty() else Console(width=180)


def _follow(found: Iterable[Outcome], kernels: Sequence[Kernel]) -> list[Outcome]:
    """The outcomes, with a progress bar by kernel if a person is watching."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcomes: list[Outcome] = []
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(kernels[0].name, total=len(kernels))
        for outcome in found:
            outcomes.append(outcome)
            following = kernels[min(len(outcomes), len(kernels) - 1)]
            bar.update(task, completed=len(outcomes), description=following.name)
    return outcomes


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in ("layer", "kernel", "cores", "ranks") else "right")
    return table


def _layer_table(records: Sequence[LayerRecord], seconds: dict[str, float] | None = None) -> Table:
    timed = ["seconds"] if seconds is not None else []
    table = _table("layer", "kernel", "cores", "ranks", "parameters", "kept", "error", "lower", "upper", *timed)
    for r in records:
        table.add_row(
            r.name or r.weight,
            "×".join(map(str, r.shape)) + (f" g{r.groups}" if r.groups > 1 else "") + (" T" if r.transposed else ""),
            " | ".join(
                "×".join(map(str, size)) + (f" g{count}" if count > 1 else "")
                for size, count in zip(r.kernel_sizes, r.core_groups, strict=True)
            ),
            ",".join(map(str, r.ranks)),
            f"{r.n_parameters:,}",
            f"{r.n_parameters / r.dense_parameters:.1%}",
            *map(_number, (r.error, r.lower_bound, r.upper_bound)),
            *([f"{seconds[r.weight]:.1f}"] if seconds is not None else []),
        )
    return table


def _kernel_table(kernels: Sequence[Kernel]) -> Table:
    table = _table("layer", "kernel", "parameters")
    for kernel in kernels:
        table.add_row(
            kernel.layer or kernel.name, "×".join(map(str, kernel.weight.shape)), f"{kernel.weight.numel():,}"
        )
    return table


def _verification_table(result: Verification) -> Table:
    table = _table("layer", "kernel", "error", "recorded", "lower", "upper", "sequential - dense", "result")
    for layer in result.layers:
        table.add_row(
            layer.record.name or layer.record.weight,
            "×".join(map(str, layer.record.shape)),
            *map(_number, (layer.error, layer.record.error, layer.lower_bound, layer.upper_bound)),
            f"{layer.difference:.1e}",
            "FAILED" if layer.failures else "ok",
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"

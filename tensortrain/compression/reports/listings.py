"""Tables of layers and kernels for the terminal, with legends that explain their columns."""

from collections.abc import Sequence

from tensortrain.compression.state_dicts.decomposition import Outcome
from tensortrain.compression.state_dicts.kernels import ConvKernel
from tensortrain.compression.state_dicts.records import LayerRecord
from tensortrain.compression.verify import Verification
from tensortrain.conv.certify.claims import Claims
from tensortrain.conv.planner import FASTER, IMAGE
from tensortrain.tables import Column, Table

_LAYER, _KERNEL = Column("layer", words=True), Column("kernel", words=True)
_BOUNDS = (
    "lower: no chain of these sizes and ranks has a smaller error; 0 says nothing. upper: a bound of the error that "
    "was known before the fit was refined; 1 says nothing. Cores that were fitted to outputs or trained have none."
)
_ERROR = "error: relative Frobenius error of the kernel."


def layer_table(
    records: Sequence[LayerRecord], outcomes: Sequence[Outcome] = (), size: int | Sequence[int] | None = None
) -> Table:
    """Return a table with a row for each layer that is a chain.

    Args:
        records: records of the layers.
        outcomes: outcomes for the layers that have just been decomposed. Their rows also show how long this took, and
            whether the layers are faster on this machine.
        size: height and width in pixels of the images on which the layers are timed; 32 by default.
    """
    fits = {outcome.kernel.name: outcome for outcome in outcomes}
    columns = [_LAYER, _KERNEL, Column("cores", words=True), Column("ranks", words=True)]
    columns += map(Column, ("parameters", "kept", "error", "lower", "upper"))
    rows = []
    for record in records:
        cores = zip(record.kernel_sizes, record.core_groups, strict=True)
        row = [record.name or record.weight, _sizes(record.shape, record.groups) + " T" * record.transposed]
        row += [" | ".join(_sizes(size, groups) for size, groups in cores), ",".join(map(str, record.ranks))]
        row += [f"{record.n_parameters:,}", f"{record.n_parameters / record.dense_parameters:.1%}"]
        row += map(number, (record.error, record.lower_bound, record.upper_bound))
        fit = fits.get(record.weight)
        rows.append(row + ([] if fit is None else [_speed(fit, size), f"{fit.seconds:.1f}"]))
    if fits:
        columns += [Column("here"), Column("seconds")]
    notes = [
        "kernel: outputs × inputs × sizes. cores: their sizes from the output to the input, gN with N groups. "
        "ranks: channels of the output, between the cores, and of the input.",
        f"kept: share of the layer's parameters. {_ERROR}",
        _BOUNDS,
    ]
    if fits:
        notes.append(
            "here: time core by core relative to the dense kernel, measured on this machine by chain.plan on an image "
            "of --size; fewer parameters are not always faster. seconds: duration of the fit."
        )
    return Table(columns, rows, notes=notes)


def _speed(outcome: Outcome, size: int | Sequence[int] | None) -> str:
    """Return the time of a chain relative to the dense kernel, as a number and a word."""
    chain = outcome.chain
    assert chain is not None
    plan = chain.plan(size or [max(IMAGE, k) for k in chain.kernel_size])
    ratio = plan.sequential_seconds / plan.dense_seconds
    return f"{ratio:.2f} {'faster' if ratio <= FASTER else 'slower' if ratio > 1 else 'equal'}"


def kernel_table(kernels: Sequence[ConvKernel]) -> Table:
    """Return a table with a row for each conv kernel of a checkpoint."""
    rows = [
        [kernel.layer or kernel.name, _sizes(kernel.weight.shape), f"{kernel.weight.numel():,}"] for kernel in kernels
    ]
    return Table([_LAYER, _KERNEL, Column("parameters")], rows)


def verification_table(result: Verification) -> Table:
    """Return a table with a row for each layer that was checked."""
    rows = []
    for layer in result.layers:
        record = layer.record
        numbers = map(number, (layer.error, record.error, layer.lower_bound, layer.upper_bound))
        end = [f"{layer.difference:.1e}", "FAILED" if layer.failures else "ok"]
        rows.append([record.name or record.weight, _sizes(record.shape), *numbers, *end])
    numbers_of = map(Column, ("error", "recorded", "lower", "upper", "sequential - dense"))
    notes = (
        f"{_ERROR} It was recomputed. recorded: the error that the file states.",
        _BOUNDS,
        "sequential - dense: relative difference of evaluation core by core and with the whole kernel, in float64.",
    )
    return Table([_LAYER, _KERNEL, *numbers_of, Column("result", words=True)], rows, notes=notes)


def certified_table(results: Sequence[tuple[LayerRecord, Claims]]) -> Table:
    """Return a table with a row for each certified layer.

    It shows an interval that contains the error, and a certified lower bound.
    """
    rows = []
    for record, claims in results:
        lower = "not certified" if claims.lower_bound is None else repr(claims.lower_bound.value)
        rows.append([record.name or record.weight, *map(repr, claims.error), lower])
    return Table([_LAYER, *map(Column, ("error at least", "error at most", "certified lower bound"))], rows)


def number(value: float | None) -> str:
    """Format a number with four decimal places; a dash stands for an unknown number."""
    return "-" if value is None else f"{value:.4f}"


def _sizes(sizes: Sequence[int], groups: int = 1) -> str:
    return "×".join(map(str, sizes)) + (f" g{groups}" if groups > 1 else "")

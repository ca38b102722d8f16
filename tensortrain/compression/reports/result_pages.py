"""The page of `tensortrain decompose --report`, and the parts that it shares with the page of a compressed network."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from tensortrain.compression.state_dicts.records import LayerRecord
from tensortrain.pages import Bars, Details, Page, Part, Section, Tile
from tensortrain.tables import Column, Table


def decomposition_page(
    records: Sequence[LayerRecord],
    table: Table,
    copied: Mapping[str, str],
    parameters: tuple[int, int],
    command: str,
) -> Page:
    """Return the page of a decomposed checkpoint.

    Args:
        records: records of its layers.
        table: the table of the layers that the command prints.
        copied: the kernels that were left as they are, with the reasons.
        parameters: number of entries of all tensors, before and after.
        command: the command that writes the page again.
    """
    before, after = parameters
    names = [record.name or record.weight for record in records]
    known = [record.error for record in records if record.error is not None]
    tiles = [
        Tile(f"{after / before:.1%}", "of all parameters kept", f"{after:,} of {before:,}"),
        Tile(f"{len(records)}", "layers decomposed", f"{len(copied)} kernels copied"),
        Tile(f"{max(known):.3f}", "largest error", "relative, Frobenius") if known else Tile("-", "errors", "unknown"),
    ]
    charts: list[Part] = [
        parameter_chart(names, [r.dense_parameters for r in records], [r.n_parameters for r in records]),
        Bars(
            "Error, and its lower bound for all chains of these ranks",
            "relative Frobenius error",
            "layer",
            rows=names,
            bars={"lower bound": [r.lower_bound for r in records], "error": [r.error for r in records]},
            caption="The closer they are, the less a longer fit can gain. A lower bound of 0 says nothing.",
        ),
    ]
    sections = [Section("Layers", [*charts, table])]
    if copied:
        lines = [[name, reason] for name, reason in copied.items()]
        sections.append(Section("Left as they are", [reasons(lines)]))
    sections.append(Section("Again", [Details("Command", command, open=True)]))
    lead = [
        f"{len(records)} conv kernels as chains of smaller convolutions: {after:,} of {before:,} parameters.",
        "The error is that of the kernels. Test the network to see how much accuracy this costs.",
    ]
    return Page("Decomposed kernels", lead, tiles, sections, foot())


def parameter_chart(names: Sequence[str], before: Sequence[int], after: Sequence[int]) -> Bars:
    """Return a chart of the parameters of each layer before and after."""
    return Bars("Parameters", "parameters", "layer", rows=names, bars={"before": before, "after": after})


def reasons(rows: Sequence[Sequence[str]]) -> Table:
    """Return a table of layers with a reason for each."""
    return Table((Column("layer", words=True), Column("why", words=True, wraps=True)), rows)


def foot() -> str:
    """Return the last line of a page."""
    return f"Written by tensortrain {version('tensortrain')}. This page loads nothing from anywhere."

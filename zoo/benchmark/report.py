"""Write the results as tables, CSV files and a picture."""

import csv
import dataclasses
import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensortrain.figures import styled
from tensortrain.tables import Column, Table
from zoo.benchmark.loading import Loading
from zoo.benchmark.measurement import Row
from zoo.files import aside
from zoo.registry import find_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SUMMARY = (
    *("model", "preset", "job", "variant", "batch", "frames", "s", "× plain", "GMAC/s", "floor", "parts"),
    *("special s", "optimiser s", "peak", "predicted s", "MB", "operators"),
)
_BAR, _LOST, _FLOOR = "#4477aa", "#bbbbbb", "#cc3311"


def table(rows: Sequence[Row]) -> Table:
    """The table of the rows of one case."""
    first = rows[0]
    steps = "steps" if find_model(first.model).reads == "series" else "frames"
    read = "" if first.ratio is None else f", {first.ratio:.0%} of later {steps} true"
    launched = "operators" if first.launches is None else "launches"
    words = [Column(name, words=True) for name in ("variant", "precision", "layout")]
    numbers = ("seconds", "×plain", "clips/s", "GMAC/s", "floor", "parts", "peak", "predicted", "MB", launched, "apart")
    lines = [
        [
            row.variant,
            row.precision or "",
            row.layout or "",
            _text(row.seconds, ".4g"),
            _text(row.speedup, ".2f"),
            _text(row.clips_per_second, ".3g"),
            _text(row.gmac_per_second, ".4g"),
            _text(row.floor_share, ".0%"),
            _text(row.parts_share, ".0%"),
            _text(row.best_share, ".0%"),
            _text(row.predicted_seconds, ".4g"),
            _text(row.peak_mb, ",.0f"),
            _text(row.operators if row.launches is None else row.launches, ",d"),
            _text(row.difference, ".0e"),
            row.note or "",
        ]
        for row in rows
    ]
    return Table(
        (*words, *map(Column, numbers), Column("note", words=True)),
        lines,
        title=f"{first.model}, {first.preset}: {first.job}, batch {first.batch}, {first.frames} {steps}{read}",
        notes=(
            "floor: fraction of the time that convolutions and products take if each is timed in isolation. parts: the "
            "same with samplings, patches, softmaxes and the optimiser. peak: GMAC/s as a fraction of the fastest "
            "convolution's. predicted: seconds of the floor, plus the time to move all other operators' bytes at the "
            "speed of a copy. apart: relative difference of the results from the plain loop's.",
        ),
    )


def loading_table(loadings: Sequence[Loading]) -> Table:
    """The table of how fast the data load."""
    lines = []
    for one in loadings:
        times = (f"{value:.4g}" for value in (one.fetch_seconds, one.render_seconds, one.step_seconds))
        lines.append([one.model, one.preset, one.data, f"{one.size}×{one.size}", *times, f"{one.share:.2%}"])
    words = [Column(name, words=True) for name in ("model", "preset", "data")]
    numbers = map(Column, ("pixels", "fetch, s", "render, s", "step, s", "share"))
    return Table((*words, *numbers), lines, title="Loading a batch of clips, and the fastest training step")


def _text(value: Any, form: str) -> str:
    return "" if value is None else format(value, form)


def write(
    rows: Sequence[Row], loadings: Sequence[Loading], machine: Mapping[str, str], command: str, folder: Path
) -> None:
    """Write `benchmark.csv`, `table.csv` and `benchmark.png` of the rows, and `loading.csv`.

    Raises:
        ZooError: if the folder cannot be written.
    """
    _write_csv(rows, machine, folder / "benchmark.csv")
    with aside(folder / "table.csv") as temporary:
        temporary.write_text(_summary(rows, machine, command), encoding="utf-8")
    if loadings:
        _write_csv(loadings, machine, folder / "loading.csv")
    with aside(folder / "benchmark.png") as temporary:
        figure(rows, machine).savefig(temporary, format="png", dpi=130)


def _summary(rows: Sequence[Row], machine: Mapping[str, str], command: str) -> str:
    """The most important columns as CSV, below the command and the machine. The documentation keeps such tables."""
    text = io.StringIO()
    text.write(f"# command: {command}\n")
    text.write(f"# machine: {', '.join(f'{name} {value}' for name, value in machine.items())}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_SUMMARY)
    for row in rows:
        settings = row.model, row.preset, row.job, row.variant, row.batch, row.frames
        numbers = (
            (row.seconds, ".3g"),
            (row.speedup, ".2f"),
            (row.gmac_per_second, ".3g"),
            (row.floor_share, ".0%"),
            (row.parts_share, ".0%"),
            (row.special_seconds, ".2g"),
            (row.optimizer_seconds, ".2g"),
            (row.best_share, ".0%"),
            (row.predicted_seconds, ".3g"),
            (row.peak_mb, ",.0f"),
            (row.operators, ",d"),
        )
        writer.writerow([*settings, *(_text(value, form) for value, form in numbers)])
    return text.getvalue()


def _write_csv(rows: Sequence[Row] | Sequence[Loading], machine: Mapping[str, str], path: Path) -> None:
    """Write a line for each row, with the machine it was measured on. Values that were not measured are empty."""
    lines = [{**dataclasses.asdict(row), **machine} for row in rows]
    with aside(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


@styled
def figure(rows: Sequence[Row], machine: Mapping[str, str]) -> "Figure":
    """Draw milliseconds per clip: a panel for each model, preset and job, a bar for each variant, its floor in red."""
    from matplotlib.figure import Figure

    panels = [list(group) for _, group in itertools.groupby(rows, key=lambda row: (row.model, row.preset, row.job))]
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    height = 0.32 * max(len(panel) for panel in panels) + 0.9
    result = Figure(figsize=(6.8 * across, down * height + 0.6), layout="constrained")
    result.suptitle(", ".join(f"{name} {value}" for name, value in machine.items()), fontsize=9)
    for at, panel in enumerate(panels):
        _draw(result.add_subplot(down, across, at + 1), panel)
    return result


def _draw(axes: "Axes", rows: Sequence[Row]) -> None:
    first = rows[0]
    axes.set_title(f"{first.model}, {first.preset}: {first.job}, batch {first.batch}", fontsize=9)
    for y, row in enumerate(rows):
        if row.seconds is None:
            axes.text(0, y, f" {row.note[:70]}", va="center", fontsize=7, color=_LOST)
            continue
        length, floor = (1e3 * value / row.batch for value in (row.seconds, row.floor_seconds or 0))
        axes.barh(y, length, color=_BAR, height=0.7)
        axes.plot([floor, floor], [y - 0.42, y + 0.42], color=_FLOOR, linewidth=2)
        axes.text(length, y, f" ×{row.speedup:.2f}, floor {row.floor_share:.0%}", va="center", fontsize=7)
    axes.set_yticks(range(len(rows)), [row.variant for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)  # include rows without a time
    axes.set_xlabel("milliseconds per clip; red: convolutions in isolation", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.margins(x=0.32)
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)

"""Charts of a page: interactive by altair and vl-convert-python if both are installed, otherwise by matplotlib."""

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tensortrain.errors import TensorTrainError
from tensortrain.figures import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377")  # Paul Tol's, as in figures.mplstyle
FAINT = "#888888"
HEIGHT = 240  # pixels
_LONG = 20  # longest name, in characters, of which two fit side by side on a phone


@dataclass(frozen=True)
class Chart(ABC):
    """A chart with a title and two axes.

    Args:
        title: the title above the chart.
        x: title of the horizontal axis.
        y: title of the vertical axis, with its unit.
        caption: a sentence below the chart.
    """

    title: str
    x: str
    y: str
    caption: str = ""

    @abstractmethod
    def specification(self) -> dict[str, Any]:
        """Return the chart as a Vega-Lite specification, created by altair."""

    @abstractmethod
    def figure(self) -> "Figure":
        """Return the chart as a matplotlib figure."""


@dataclass(frozen=True)
class Lines(Chart):
    """Lines over a common horizontal axis.

    Args:
        lines: for each name the points (x, y) of a line, in order.
        faint: names of the lines that are grey and dashed, such as baselines.
        pairs: for the name of a dashed line, the name of the line whose colour it shares.
        logarithmic: whether the vertical axis is logarithmic.

    >>> Lines("Loss", "step", "loss", lines={"run": [(1, 0.5), (2, 0.25)]}).lines["run"][-1]
    (2, 0.25)
    """

    lines: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    faint: Sequence[str] = ()
    pairs: Mapping[str, str] = field(default_factory=dict)
    logarithmic: bool = False

    def colours(self) -> dict[str, str]:
        """Return the colour of each line."""
        strong = [name for name in self.lines if name not in self.faint and name not in self.pairs]
        colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(strong)}
        return {name: colours.get(self.pairs.get(name, name), FAINT) for name in self.lines}

    def dashes(self) -> dict[str, list[int]]:
        """Return the dash pattern of each line: the lengths of strokes and gaps."""
        faint = {name: [5, 4] if i % 2 == 0 else [2, 3] for i, name in enumerate(self.faint)}
        return {name: [4, 3] if name in self.pairs else faint.get(name, [1, 0]) for name in self.lines}

    def specification(self) -> dict[str, Any]:
        """Return the Vega-Lite specification. The pointer shows values, and a click on a name highlights its line."""
        import altair

        rows = [{"name": name, "x": x, "y": y} for name, points in self.lines.items() for x, y in points]
        colours = self.colours()
        strokes = list(self.dashes().values())
        names = list(self.lines)
        selection = altair.selection_point(fields=["name"], bind="legend")
        scale = altair.Scale(type="log") if self.logarithmic else altair.Scale(zero=False, nice=True)
        # long names stand below each other, short ones in two columns
        columns = 2 if max(map(len, names)) <= _LONG else 1
        legend = altair.Legend(title=None, orient="bottom", columns=columns, labelLimit=320, symbolType="stroke")
        base = altair.Chart(altair.InlineData(rows)).encode(
            x=altair.X("x:Q", title=self.x, axis=altair.Axis(tickMinStep=1, grid=False)),
            y=altair.Y("y:Q", title=self.y, scale=scale),
            color=altair.Color(
                "name:N", scale=altair.Scale(domain=names, range=list(colours.values())), sort=names, legend=legend
            ),
            strokeDash=altair.StrokeDash(
                "name:N", scale=altair.Scale(domain=names, range=strokes), sort=names, legend=legend
            ),
            opacity=altair.condition(selection, altair.value(1), altair.value(0.12)),
            tooltip=[
                altair.Tooltip("name:N", title="line"),
                altair.Tooltip("x:Q", title=self.x),
                altair.Tooltip("y:Q", title=self.y, format=".5~g"),
            ],
        )
        # wide invisible points, so that the pointer need not hit a line exactly
        points = base.mark_point(size=140, filled=True, opacity=0).encode(opacity=altair.value(0))
        chart = altair.layer(base.mark_line(strokeWidth=2).add_params(selection), points)
        return _plain(chart.properties(width="container", height=HEIGHT))

    @styled
    def figure(self) -> "Figure":
        """Return the matplotlib figure."""
        figure, axes = _axes(7, 3.4)
        for name, points in self.lines.items():
            on, off = self.dashes()[name]
            style = (0, (on, off)) if off else "-"
            axes.plot(*zip(*points, strict=True), linestyle=style, color=self.colours()[name], label=name)
        axes.set(xlabel=self.x, ylabel=self.y, yscale="log" if self.logarithmic else "linear")
        axes.legend(fontsize="small")
        return figure


@dataclass(frozen=True)
class Bars(Chart):
    """Horizontal bars in groups, one group for each row; `x` is the title of the values, `y` that of the rows.

    Args:
        rows: the names of the rows.
        bars: for each kind of bar one value for each row; None where there is no value.
    """

    rows: Sequence[str] = ()
    bars: Mapping[str, Sequence[float | None]] = field(default_factory=dict)

    def specification(self) -> dict[str, Any]:
        """Return the Vega-Lite specification."""
        import altair

        rows = [
            {"row": row, "kind": kind, "value": value}
            for kind, values in self.bars.items()
            for row, value in zip(self.rows, values, strict=True)
            if value is not None
        ]
        kinds = list(self.bars)
        chart = altair.Chart(altair.InlineData(rows)).mark_bar(cornerRadiusEnd=2)
        chart = chart.encode(
            y=altair.Y("row:N", title=None, sort=list(self.rows), axis=altair.Axis(labelLimit=260)),
            yOffset=altair.YOffset("kind:N", sort=kinds),
            x=altair.X("value:Q", title=self.x),
            color=altair.Color(
                "kind:N",
                scale=altair.Scale(domain=kinds, range=self._colours()),
                legend=altair.Legend(title=None, orient="bottom") if len(kinds) > 1 else None,
            ),
            tooltip=[altair.Tooltip("row:N", title=self.y), "kind:N", altair.Tooltip("value:Q", format=",.5~g")],
        )
        step = altair.Step(20 * len(kinds), **{"for": "position"})
        return _plain(chart.properties(width="container", height=step))

    @styled
    def figure(self) -> "Figure":
        """Return the matplotlib figure."""
        figure, axes = _axes(7, 1.2 + 0.3 * len(self.rows))
        height = 0.8 / max(len(self.bars), 1)
        for i, ((kind, values), colour) in enumerate(zip(self.bars.items(), self._colours(), strict=True)):
            places = [row + (i - (len(self.bars) - 1) / 2) * height for row in range(len(self.rows))]
            lengths = [0.0 if value is None else value for value in values]
            axes.barh(places, lengths, height, label=kind, color=colour)
        axes.set_yticks(range(len(self.rows)), self.rows)
        axes.invert_yaxis()
        axes.set(xlabel=self.x)
        if len(self.bars) > 1:
            axes.legend(fontsize="small")
        return figure

    def _colours(self) -> list[str]:
        """Return a colour for each kind of bar. The first of several kinds, usually a reference, is grey."""
        colours = (FAINT, *COLOURS) if len(self.bars) > 1 else COLOURS
        return [colours[i % len(colours)] for i in range(len(self.bars))]


def interactive() -> bool:
    """Return whether charts can be interactive: altair and vl-convert-python (the extra `report`) are installed."""
    from importlib.util import find_spec

    return all(find_spec(name) is not None for name in ("altair", "vl_convert"))


@lru_cache(1)
def javascript() -> str:
    """Return the JavaScript that draws the charts, `vegaEmbed`; it has about one megabyte."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle


def png(chart: Chart) -> bytes:
    """Return the chart as the content of a PNG file.

    Raises:
        TensorTrainError: matplotlib is not installed.
    """
    data = io.BytesIO()
    chart.figure().savefig(data, format="png", dpi=110)
    return data.getvalue()


def _axes(width: float, height: float) -> tuple["Figure", Any]:
    """Return a new figure and its axes."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise TensorTrainError(
            "charts need matplotlib, or altair and vl-convert-python; install one with pip, or write a .csv file"
        ) from None
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _plain(chart: Any) -> dict[str, Any]:
    """Return the specification as plain data without colours of text and lines, which the page sets for dark mode."""
    specification: dict[str, Any] = chart.to_dict()
    specification.pop("config", None)
    specification.pop("$schema", None)
    return specification

"""Charts for the reports of compressions."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tensortrain.errors import TensorTrainError
from tensortrain.figures import palette, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def layer_chart(
    names: Sequence[str],
    before: Sequence[int],
    after: Sequence[int],
    errors: Sequence[float | None],
    predicted: Sequence[float | None],
) -> "Figure":
    """Draw the parameters of each layer before and after, and the predicted and the measured error of its outputs.

    Args:
        names: names of the layers.
        before: number of parameters of each original layer.
        after: number of parameters of each new layer.
        errors: measured relative error of the outputs of each layer; None if it was not measured.
        predicted: relative error that was expected when the ranks were chosen; None if there is none.

    Raises:
        TensorTrainError: matplotlib is not installed.
    """
    figure = _figure(10, 1.5 + 0.22 * len(names))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = range(len(names))
    left.barh(rows, before, color="0.85", label="before")
    left.barh(rows, after, height=0.5, color=palette()[0], label="after")
    left.set_yticks(rows, names, fontsize=7)
    left.set_xlabel("parameters")
    left.invert_yaxis()
    left.legend(frameon=False)
    for values, marker, label in ((errors, "o", "measured"), (predicted, "|", "predicted")):
        points = [(value, row) for row, value in zip(rows, values, strict=True) if value is not None]
        if points:
            right.plot(*zip(*points, strict=True), marker, label=label)
    right.set_xlabel("relative error of the outputs")
    right.set_xlim(left=0)
    if right.lines:
        right.legend(frameon=False)
    return figure


@styled
def curve_chart(kept: Sequence[float], values: Sequence[float], label: str, original: float | None) -> "Figure":
    """Draw a measure of several networks over the share of the network that they keep.

    Args:
        kept: share of the network that each keeps, from 0 to 1.
        values: value of the measure for each network.
        label: name of the measure.
        original: value of the measure for the original network; None if there is none.

    Raises:
        TensorTrainError: matplotlib is not installed.
    """
    figure = _figure(6, 4)
    axes = figure.subplots()
    points = sorted(zip(kept, values, strict=True))
    axes.plot([100 * k for k, _ in points], [v for _, v in points], "o-")
    if original is not None:
        axes.axhline(original, color="0.6", linestyle="--", label="original")
        axes.legend(frameon=False)
    axes.set_xlabel("kept, %")
    axes.set_ylabel(label)
    return figure


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise TensorTrainError("charts need matplotlib; install it, or write a .json or .csv file") from None
    return Figure(figsize=(width, height), layout="constrained")


def png(figure: "Figure") -> bytes:
    """Return a figure as the bytes of a PNG file."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=120)
    return data.getvalue()

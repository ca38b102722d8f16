"""Curves that compare several models at each predicted step."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensortrain.figures import palette, styled
from zoo.errors import ZooError, nearest
from zoo.evaluation.comparison import data_names, shared_convention
from zoo.evaluation.measure import Measure
from zoo.evaluation.scores import PerFrame, Scores
from zoo.files import aside
from zoo.names import check_picture

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FAR = 4  # a baseline is not drawn if it exceeds the models' largest value by this factor


@styled
def curves(scores: Sequence[Scores], metrics: Sequence[str] | None = None) -> "Figure":
    """Draw values at each predicted step, with a panel for each metric, as in Figure 2 of the Conv-TT-LSTM paper.

    Scores on other data, or after another number of observed steps, have panels of their own.

    The band around the line of a model is the 95 % confidence interval of the average over the clips. It does not say
    how much another training would differ.

    If the values of a baseline are so large that the models' lines could not be distinguished, a note in the panel
    replaces its line.

    Args:
        scores: results of `evaluate`, all with the same convention; horizons may differ. The baselines of a panel are
            those of the longest horizon.
        metrics: the metrics to draw; by default all that were measured.

    Raises:
        ZooError: if there are no scores, several conventions, or a metric that was not measured.
    """
    from matplotlib.figure import Figure

    convention = shared_convention(scores)
    keys = [m.key for m in convention.measures if any(m.key in one.per_frame for one in scores)]
    for key in metrics or ():
        if key not in keys:
            raise ZooError(f"no metric {key!r} was measured; {nearest(key, keys)}")
    keys = list(metrics or keys)
    groups: dict[tuple[str, int], list[Scores]] = {}
    for one in scores:
        groups.setdefault((one.comparable_with, one.observed), []).append(one)
    names = data_names({one.task: () for one in scores})
    looks = {name: _look(number) for number, name in enumerate(dict.fromkeys(one.name for one in scores))}

    rows, columns = math.ceil(len(keys) / 3), min(len(keys), 3)
    size = max(3.6 * columns, 6), 3.2 * rows * len(groups) + 1
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(rows * len(groups), columns, squeeze=False).flat)
    entries: dict[str, Artist] = {}
    feet = []
    for number, ((data, observed), group) in enumerate(groups.items()):
        own = panels[number * rows * columns : (number + 1) * rows * columns]
        for spare in own[len(keys) :]:
            spare.set_axis_off()
        place = f"{names[data]} after {observed} observed {group[0].step}{'s' * (observed != 1)}".lstrip()
        for axes, key in zip(own, keys, strict=False):
            for name, line in _draw(axes, group, convention[key], looks).items():
                entries.setdefault(name, line)
            heading = convention[key].heading.replace("\n", " ")
            axes.set_title(f"{place}\n{heading}" if len(groups) > 1 else heading)
        feet.append(f"{place[0].upper()}{place[1:]}; {group[0].measured_on()}.")
    inches = 0.7 + 0.08 * max(map(len, entries))  # width of a legend entry in small print
    beside = max(1, int(figure.get_figwidth() / inches))
    figure.legend(entries.values(), entries, loc="outside upper center", ncols=beside, frameon=False, fontsize="small")
    banded = any(one.half_intervals.get(one.name) for one in scores)
    band = "Bands: 95 % confidence intervals over the clips. " if banded else ""
    foot = f"{' '.join(feet)} {band}{convention.text()}"
    figure.supxlabel(textwrap.fill(foot, int(figure.get_figwidth() * 17)), fontsize=7, color="0.4", x=0.01, ha="left")
    return figure


def _look(number: int) -> dict[str, Any]:
    """Colour and line of a model. The last colour of the style is grey, as baselines are."""
    *colours, _ = palette()
    style = ("-", "--", "-.")[number // len(colours) % 3]
    return {"color": colours[number % len(colours)], "linestyle": style, "marker": "."}


def _draw(
    axes: "Axes", scores: Sequence[Scores], measure: Measure, looks: Mapping[str, dict[str, Any]]
) -> "dict[str, Artist]":
    """Draw one metric of scores on the same data. Returns the line of each model and baseline, by its name."""
    from matplotlib.ticker import AutoLocator

    key = measure.key
    longest = max(scores, key=lambda one: one.horizon)
    dashes = zip(longest.baselines, cycle(("--", ":")), strict=False)
    styles: dict[str, dict[str, Any]] = {name: {"color": "0.5", "linestyle": dash} for name, dash in dashes}
    lines = [*longest.baselines.items(), *((one.name, one.per_frame) for one in scores)]
    bands: list[PerFrame] = [{}] * len(longest.baselines) + [one.half_intervals.get(one.name, {}) for one in scores]
    reach = _FAR * max((float(abs(one.per_frame[key]).max()) for one in scores if key in one.per_frame), default=0.0)
    drawn: dict[str, Artist] = {}
    notes = []
    for (name, per_frame), halves in zip(lines, bands, strict=True):
        if key in per_frame:
            values = per_frame[key] * measure.scale
            far = name in styles and abs(per_frame[key]).max() > reach
            style = styles.get(name) or looks[name]
            steps = range(1, len(values) + 1)
            (drawn[name],) = axes.plot(steps, values * math.nan if far else values, label=name, **style)
            if key in halves:
                half = halves[key] * measure.scale
                axes.fill_between(steps, values - half, values + half, color=style["color"], alpha=0.2, lw=0)
            if far:
                notes.append(f"{name}: about {values.mean():.3g}")
    if notes:
        text = "\n".join(notes)
        axes.text(0.98, 0.02, text, transform=axes.transAxes, fontsize=7, color="0.4", ha="right", va="bottom")
    axes.set_xlabel(f"predicted {longest.step}")
    locator = AutoLocator()
    locator.set_params(integer=True)
    axes.xaxis.set_major_locator(locator)
    axes.margins(x=0)  # there is no step 0
    axes.grid(alpha=0.3)
    return drawn


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure to a `.png` file, completely or not at all.

    Raises:
        ZooError: if the suffix is another one, or the folder cannot be written.
    """
    check_picture(path)
    with aside(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)

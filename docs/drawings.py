"""Draw the diagrams and charts of the documentation: `python docs/drawings.py` writes them to docs/images.

The pictures are kept in the repository, since the README shows them, and a test compares them with what this program
draws.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
from charts import CHARTS
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

IMAGES = Path(__file__).parent / "images"
BLUE, RED, GREEN, YELLOW, CYAN, PURPLE, GREY = (
    "#4477AA",
    "#EE6677",
    "#228833",
    "#CCBB44",
    "#66CCEE",
    "#AA3377",
    "#777777",
)
DARK = "#222222"


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure whose coordinates are inches."""
    figure = plt.figure(figsize=(width, height), layout="none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def grid(
    axes: Axes, x: float, y: float, rows: int, columns: int, colour: str, side: float = 0.2, depth: int = 3
) -> None:
    """A stack of `depth` kernels of rows×columns taps; (x, y) is its lower left corner."""
    for layer in reversed(range(depth)):
        shift = 0.06 * layer
        for row in range(rows):
            for column in range(columns):
                corner = (x + shift + column * side, y + shift + row * side)
                axes.add_patch(Rectangle(corner, side, side, facecolor=colour, edgecolor="white", linewidth=0.8))


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    """A box with rounded corners and a text in its middle; (x, y) is its lower left corner."""
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=colour, edgecolor="none"))
    ink = DARK if colour in (RED, YELLOW, CYAN) else "white"  # whichever has more contrast
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", color=ink, fontsize=10)


def arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    text: str = "",
    colour: str = "#444444",
    bend: float = 0.0,
) -> None:
    """An arrow, with a text above its middle."""
    curve = f"arc3,rad={bend}"
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=colour, lw=1.4, connectionstyle=curve)
    )
    if text:
        axes.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.08, text, ha="center", fontsize=9, color=colour)


def kernel_as_cores() -> Figure:
    """A 5×5 kernel and the two 3×3 cores that replace it."""
    figure, axes = canvas(6.6, 2.5)
    grid(axes, 0.35, 0.9, 5, 5, BLUE)
    axes.text(0.95, 0.55, "one 5×5 kernel\n64 → 64 channels", ha="center", va="top", fontsize=10)
    axes.text(0.95, 2.2, "102,400 parameters", ha="center", fontsize=10, color=BLUE, weight="bold")
    axes.text(2.35, 1.4, "≈", ha="center", va="center", fontsize=26)
    grid(axes, 3.2, 1.1, 3, 3, RED)
    axes.text(3.55, 0.55, "core 3×3\n16 → 64 channels", ha="center", va="top", fontsize=10)
    axes.text(4.78, 1.4, "∗", ha="center", va="center", fontsize=22)
    grid(axes, 5.4, 1.1, 3, 3, GREEN)
    axes.text(5.75, 0.55, "core 3×3\n64 → 16 channels", ha="center", va="top", fontsize=10)
    axes.text(
        4.65, 2.2, "18,432 parameters, 18 % of the operations", ha="center", fontsize=10, color=DARK, weight="bold"
    )
    axes.text(4.78, 0.98, "rank 16", ha="center", va="center", fontsize=10, color=GREY)
    return figure


def chain_evaluation() -> Figure:
    """Sequential evaluation against dense evaluation."""
    figure, axes = canvas(8, 2.6)
    axes.text(0.1, 2.3, "sequential: core by core", fontsize=11, weight="bold")
    for n, (name, colour) in enumerate((("core 2", GREEN), ("core 1", RED))):
        box(axes, 2.2 + 2.4 * n, 1.55, 1.3, 0.5, name, colour)
    arrow(axes, (1.0, 1.8), (2.15, 1.8), "64 channels")
    arrow(axes, (3.55, 1.8), (4.55, 1.8), "rank 16")
    arrow(axes, (5.95, 1.8), (7.1, 1.8), "64 channels")
    axes.text(0.7, 1.8, "x", ha="center", va="center", fontsize=14, style="italic")
    axes.text(7.35, 1.8, "y", ha="center", va="center", fontsize=14, style="italic")
    axes.text(0.1, 1.0, "dense: rebuild the kernel, then one convolution", fontsize=11, weight="bold")
    box(axes, 3.0, 0.25, 2.1, 0.5, "kernel 5×5", BLUE)
    arrow(axes, (1.0, 0.5), (2.95, 0.5), "64 channels")
    arrow(axes, (5.15, 0.5), (7.1, 0.5), "64 channels")
    axes.text(0.7, 0.5, "x", ha="center", va="center", fontsize=14, style="italic")
    axes.text(7.35, 0.5, "y", ha="center", va="center", fontsize=14, style="italic")
    return figure


def border() -> Figure:
    """Where a chain of padded layers differs from the padded kernel."""
    figure, axes = canvas(8, 3.0)
    size, side = 12, 0.18
    for at, (title, width) in enumerate((("padding “same”", 0), ("padding “same_per_step”", 1))):
        x, y = 0.4 + 3.9 * at, 0.35
        for row in range(size):
            for column in range(size):
                outside = min(row, column, size - 1 - row, size - 1 - column) < width
                axes.add_patch(
                    Rectangle(
                        (x + column * side, y + row * side),
                        side,
                        side,
                        facecolor=RED if outside else CYAN,
                        edgecolor="white",
                    )
                )
        axes.text(x + size * side / 2, y + size * side + 0.12, title, ha="center", fontsize=11, weight="bold")
    axes.text(2.75, 1.45, "equal to one\nzero-padded\nconvolution\neverywhere", fontsize=9, va="center")
    axes.text(6.65, 1.45, "may differ in\nthe red border;\nits width is\nchain.border()", fontsize=9, va="center")
    return figure


def tt_cell() -> Figure:
    """The sliding window of a Conv-TT-LSTM cell of order 3."""
    figure, axes = canvas(8, 3.4)
    for n, name in enumerate(("h(t−3)", "h(t−2)", "h(t−1)")):
        box(axes, 0.3, 2.45 - 0.95 * n, 1.1, 0.55, name, BLUE)
        box(axes, 2.0, 2.45 - 0.95 * n, 1.3, 0.55, "window map", CYAN)
        arrow(axes, (1.4, 2.72 - 0.95 * n), (1.95, 2.72 - 0.95 * n))
    for n, name in enumerate(("core 3", "core 2", "core 1")):
        box(axes, 4.1, 2.45 - 0.95 * n, 1.1, 0.55, name, RED)
        arrow(axes, (3.3, 2.72 - 0.95 * n), (4.05, 2.72 - 0.95 * n))
    arrow(axes, (4.65, 2.45), (4.65, 2.1))
    arrow(axes, (4.65, 1.5), (4.65, 1.15))
    axes.text(4.8, 2.24, "rank R, added to the next map", fontsize=8.5, color=GREY)
    box(axes, 6.2, 0.55, 1.4, 0.55, "LSTM gates", PURPLE)
    arrow(axes, (5.2, 0.82), (6.15, 0.82))
    arrow(axes, (6.9, 1.75), (6.9, 1.15))
    axes.text(6.9, 1.85, "x(t), c(t−1)", ha="center", fontsize=10)
    arrow(axes, (6.9, 0.55), (6.9, 0.25))
    axes.text(6.9, 0.08, "h(t), c(t)", ha="center", fontsize=10)
    return figure


def zigzag() -> Figure:
    """The memory of PredRNN that runs up through the layers and on to the next frame."""
    figure, axes = canvas(8, 3.6)
    for frame in range(3):
        x = 0.9 + 2.4 * frame
        for layer in range(3):
            box(axes, x, 0.6 + 0.95 * layer, 1.2, 0.5, f"layer {layer + 1}", BLUE)
            if layer:
                arrow(axes, (x + 0.6, 0.15 + 0.95 * layer), (x + 0.6, 0.55 + 0.95 * layer), colour=RED)
            if frame:
                arrow(axes, (x - 1.2, 0.85 + 0.95 * layer), (x - 0.05, 0.85 + 0.95 * layer), colour=GREEN)
        axes.text(x + 0.6, 0.2, f"frame {frame + 1}", ha="center", fontsize=10)
        if frame < 2:
            arrow(axes, (x + 1.2, 2.55), (x + 2.4, 1.05), colour=RED)
    axes.text(0.9, 3.35, "M (red): one memory that zigzags through all layers", color=DARK, fontsize=10)
    axes.text(5.0, 3.35, "C (green): a memory in each layer", color=DARK, fontsize=10)
    return figure


DRAWINGS: dict[str, Callable[[], Figure]] = {
    "kernel-as-cores": kernel_as_cores,
    "chain": chain_evaluation,
    "border": border,
    "conv-tt-lstm-cell": tt_cell,
    "zigzag-memory": zigzag,
    **CHARTS,
}


def draw(folder: Path) -> None:
    """Write every diagram and chart to a folder as SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    with plt.style.context("tensortrain.figures"):
        for name, drawing in DRAWINGS.items():
            figure = drawing()
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)

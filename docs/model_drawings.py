"""A drawing of each model: what is computed for one frame, or for one step of a series, from left to right.

The pages of the models show them; `model_pages.py` draws them when the site is built.
"""

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
from drawings import BLUE, CYAN, GREEN, GREY, PURPLE, RED, arrow, box, canvas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

WIDTH, HEIGHT, GAP = 1.25, 0.62, 0.4  # of a box, and between two, in inches
STEP = WIDTH + GAP


class Box(NamedTuple):
    """A part of a network, and what it remembers from step to step."""

    text: str
    colour: str
    memory: str = ""


class Network(NamedTuple):
    """One or two rows of boxes.

    Attributes:
        rows: the second one is a forecaster, or another input.
        skips: pairs of boxes of the first row, by number, which a connection joins beside the row.
        handed: boxes whose state in the first row the box below in the second row begins with.
        joins: whether the second row ends in the last box but one of the first row.
        backwards: whether the second row is read from right to left.
        zigzag: what the last recurrent box gives to the first one of the next step.
    """

    rows: list[list[Box]]
    skips: tuple[tuple[int, int], ...] = ()
    handed: tuple[int, ...] = ()
    joins: bool = False
    backwards: bool = False
    zigzag: str = ""


def frame(text: str) -> Box:
    """What is read or predicted."""
    return Box(text, BLUE)


def layer(text: str, memory: str) -> Box:
    """A recurrent layer."""
    return Box(text, RED, memory)


def conv(text: str) -> Box:
    """A part without a memory."""
    return Box(text, CYAN)


def stack(name: str, memory: str) -> Network:
    """The network of the Conv-TT-LSTM paper."""
    blocks = [layer(f"block {n}:\n3 {name}", memory) for n in range(1, 5)]
    return Network([[frame("frame"), *blocks, conv("1×1 conv"), frame("next frame")]], skips=((1, 4), (2, 5)))


def zigzag(name: str, highway: bool = False) -> Network:
    """The network of PredRNN."""
    layers = [layer(f"{name} {n}", "h, c") for n in range(1, 5)]
    if highway:
        layers.insert(1, Box("gradient\nhighway", GREEN, "z"))
    return Network([[frame("frame"), *layers, conv("1×1 conv"), frame("next frame")]], zigzag="spatial memory m")


def pyramid(name: str) -> Network:
    """The network of the TrajGRU paper."""
    reading = [frame("frames"), layer(f"conv\n{name} 1", "h"), layer(f"½ conv\n{name} 2", "h")]
    predicting = [frame("next frame"), layer(f"convs\n{name} 1'", "h"), layer(f"2×\n{name} 2'", "h")]
    return Network(
        [[*reading, layer(f"½ conv\n{name} 3", "h")], [*predicting, layer(f"2×\n{name} 3'", "h")]],
        handed=(1, 2, 3), backwards=True,
    )  # fmt: skip


def sequence(name: str, memory: str) -> Network:
    """An encoder and a decoder of series."""
    reading = [frame("observed\nvalues"), layer(f"{name} 1", memory), layer(f"{name} 2", memory)]
    continuing = [frame("last\nprediction"), layer(f"{name} 1'", memory), layer(f"{name} 2'", memory)]
    return Network([reading, [*continuing, conv("linear, σ"), frame("next values")]], handed=(1, 2))


NETWORKS: dict[str, Network] = {
    "conv-lstm": stack("ConvLSTMs", "h, c"),
    "conv-tt-lstm-sw": stack("Conv-TT-\nLSTMs", "c, sliding windows"),
    "conv-tt-lstm-fw": stack("Conv-TT-\nLSTMs", "c, fixed windows"),
    "conv-lstm-2015": Network(
        [
            [frame("frames"), *(layer(f"ConvLSTM {n}", "h, c") for n in (1, 2, 3))],
            [frame("1×1, σ:\nnext frame"), *(layer(f"ConvLSTM {n}'", "h, c") for n in (1, 2, 3))],
        ],
        handed=(1, 2, 3), backwards=True,
    ),
    "predrnn": zigzag("ST-LSTM"),
    "predrnn-ghu": zigzag("ST-LSTM", highway=True),
    "causal-lstm": zigzag("causal\nLSTM"),
    "causal-lstm-s2t": zigzag("causal LSTM,\nm first,"),
    "predrnn-pp": zigzag("causal\nLSTM", highway=True),
    "e3d-lstm": Network(
        [[frame("last two\nframes"), *(layer(f"E3D-LSTM {n}", "h, all past c") for n in range(1, 5)),
          conv("3-D conv"), frame("next frame")]],
        zigzag="spatial memory m",
    ),
    "conv-gru": pyramid("ConvGRU"),
    "traj-gru": pyramid("TrajGRU"),
    "fc-lstm": Network(
        [
            [frame("frames\nas vectors"), layer("LSTM 1", "h, c"), layer("LSTM 2", "h, c")],
            [frame("last\nprediction"), layer("LSTM 1'", "h, c"), layer("LSTM 2'", "h, c"), conv("linear, σ"),
             frame("next frame")],
        ],
        handed=(1, 2),
    ),
    "dfn": Network(
        [[frame("frame"), conv("5 convs"), layer("sum with\n2 convs of h", "h"), conv("5 convs, 2×"),
          Box("a filter for\neach pixel", PURPLE), frame("next frame")]],
        skips=((0, 4),),
    ),
    "cdna": Network(
        [[frame("frame"), layer("7 ConvLSTMs,\n3 resolutions", "h, c"), conv("kernels,\nmasks, frame"),
          Box("move, mix\nby masks", PURPLE), frame("next frame")]],
        skips=((0, 3),),
    ),
    "mcnet": Network(
        [
            [frame("difference\nof frames"), conv("motion\nconvs"), layer("ConvLSTM", "h, c"), conv("combine"),
             conv("decoder"), frame("next frame")],
            [frame("last frame"), conv("content\nconvs")],
        ],
        skips=((1, 4),), joins=True,
    ),
    "vpn-baseline": Network(
        [[frame("frame"), conv("encoder\nblocks"), layer("ConvLSTM", "h, c"), conv("decoder\nblocks"),
          conv("1×1 conv, σ"), frame("next frame")]]
    ),
    "lstm": sequence("LSTM", "h, c"),
    "tt-rnn": sequence("TT-RNN", "last L of h"),
    "tt-lstm": sequence("TT-LSTM", "c, last L of h"),
}  # fmt: skip


def draw(name: str) -> Figure:
    """The drawing of a model."""
    network = NETWORKS[name]
    across = max(map(len, network.rows))
    figure, axes = canvas(across * STEP + 0.2, 1.75 + 1.55 * (len(network.rows) - 1) + (0.3 if network.zigzag else 0))
    bottoms = [0.75 + 1.55 * (len(network.rows) - 1 - n) for n in range(len(network.rows))]
    for n, (row, y) in enumerate(zip(network.rows, bottoms, strict=True)):
        for at, part in enumerate(row):
            x = 0.3 + at * STEP
            box(axes, x, y, WIDTH, HEIGHT, part.text, part.colour)
            if part.memory:
                _memory(axes, x, y, part.memory)
            if at:
                ends = [(x - GAP, y + HEIGHT / 2), (x - 0.04, y + HEIGHT / 2)]
                arrow(axes, *(reversed(ends) if n and network.backwards else ends))
    for at in network.handed:
        x = 0.3 + at * STEP + WIDTH - 0.12
        arrow(axes, (x, bottoms[0]), (x, bottoms[1] + HEIGHT + 0.04), colour=GREEN)
    for start, end in network.skips:
        _bow(axes, start, end, bottoms[0] + HEIGHT, GREY)
    if network.joins:
        x = 0.3 + (len(network.rows[0]) - 3) * STEP + WIDTH / 2
        right = 0.3 + (len(network.rows[1]) - 1) * STEP + WIDTH
        axes.plot([right, x], [bottoms[1] + HEIGHT / 2] * 2, color="#444444", linewidth=1.5)
        arrow(axes, (x, bottoms[1] + HEIGHT / 2), (x, bottoms[0] - 0.04))
    if network.zigzag:
        recurrent = [at for at, part in enumerate(network.rows[0]) if part.colour == RED]
        _bow(axes, recurrent[-1], recurrent[0], bottoms[0] + HEIGHT, PURPLE)
        middle = 0.3 + (recurrent[0] + recurrent[-1]) / 2 * STEP + WIDTH / 2
        axes.text(middle, bottoms[0] + HEIGHT + 0.45, f"{network.zigzag}, to the next step", ha="center", fontsize=9)
    return figure


def _memory(axes: Axes, x: float, y: float, text: str) -> None:
    """A loop below a box."""
    style = {"arrowstyle": "-|>", "mutation_scale": 10, "color": GREEN, "linewidth": 1.5}
    start, end = (x + 0.85, y), (x + 0.4, y)
    axes.add_patch(FancyArrowPatch(start, end, connectionstyle="arc3,rad=-1.0", shrinkA=0, shrinkB=1, **style))
    axes.text(x + WIDTH / 2, y - 0.36, text, ha="center", va="top", fontsize=8.5, color=GREEN)


def _bow(axes: Axes, start: int, end: int, y: float, colour: str) -> None:
    """A connection above a row, between the middles of two boxes."""
    first, last = (0.3 + at * STEP + WIDTH / 2 for at in (start, end))
    bend = (0.3 if start < end else 0.35) / abs(last - first) * 2
    style = {"arrowstyle": "-|>", "mutation_scale": 12, "color": colour, "linewidth": 1.5}
    curve = f"arc3,rad={-bend if start < end else bend}"
    axes.add_patch(FancyArrowPatch((first, y), (last, y), connectionstyle=curve, shrinkA=0, shrinkB=1, **style))


def write(name: str, path: Path) -> None:
    """Write the drawing of a model as SVG."""
    with plt.style.context("tensortrain.figures"):
        figure = draw(name)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)

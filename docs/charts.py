"""Charts of measured numbers, drawn from the CSV files that commands wrote; `python docs/drawings.py` writes them."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from result_files import RESULTS, read_table

ASSETS = Path(__file__).parents[1] / "assets"
BASELINES = {"copy last frame": "--", "blank frames": ":"}  # grey lines
METRICS = {
    "mse": ("squared error, ×10⁻³", 1e3),
    "mae": ("absolute error, ×10⁻³", 1e3),
    "psnr": ("PSNR, dB", 1.0),
    "ssim": ("SSIM", 1.0),
    "lpips": ("LPIPS, ×10⁻³", 1e3),
}
HIGHER = ("psnr", "ssim")  # is better; else lower
COLOURS = 6  # of the project's style without grey, which is for baselines; no chart has more coloured lines
OF_THE_PAPERS = ("conv-lstm", "conv-tt-lstm-sw", "predrnn", "causal-lstm", "predrnn-pp")
ON_KTH = ("traj-gru", "dfn", "conv-lstm", "conv-tt-lstm-sw", "predrnn", "predrnn-pp")
WORDS = {  # the names of networks as papers write them
    "conv-lstm": "ConvLSTM",
    "conv-tt-lstm-sw": "Conv-TT-LSTM",
    "conv-tt-lstm-fw": "Conv-TT-LSTM, fixed window",
    "traj-gru": "TrajGRU",
    "mcnet": "MCnet",
    "dfn": "DFN",
    "predrnn": "PredRNN",
    "predrnn-ghu": "PredRNN with a gradient highway",
    "causal-lstm": "causal LSTM",
    "causal-lstm-s2t": "causal LSTM, space to time",
    "predrnn-pp": "PredRNN++",
    "copy last frame": "last frame repeated",
}
WIDE = 0.5  # times the span of the networks that a baseline may add to a panel


def in_words(name: str) -> str:
    """The name of a network, or of the weights that the package holds, as a picture shows it.

    >>> in_words("predrnn-pp"), in_words("conv-lstm:moving-mnist-small")
    ('PredRNN++', 'ConvLSTM, 32,000 training clips')
    """
    model, _, weights = name.partition(":moving-mnist-")
    if not weights:
        return WORDS.get(name, name)
    _, *rows = read_table(RESULTS / "moving-mnist-long.csv").rows
    clips = next(clips for network, _, clips, *_ in rows if network.endswith(f"`moving-mnist-{weights}`"))
    return f"{WORDS[model]}, {clips} training clips"


def training_times() -> Figure:
    """Milliseconds of training for a clip, and the part of it that convolutions take."""
    header, *rows = read_table(RESULTS / "speed-training-small.csv").rows
    table = [dict(zip(header, row, strict=True)) for row in rows]
    models = list(dict.fromkeys(row["model"] for row in table))
    variants = {"plain": "plain loop", "compiled": "compiled", "bf16": "bf16", "bf16-compiled": "bf16, compiled"}
    figure, axes = plt.subplots(figsize=(8, 6.4))
    for at, (variant, label) in enumerate(variants.items()):
        of_variant = [row for row in table if row["variant"] == variant]
        lengths = [1000 * float(row["s"]) / 8 for row in of_variant]
        floors = [ms * float(row["floor"].rstrip("%")) / 100 for ms, row in zip(lengths, of_variant, strict=True)]
        places = [models.index(row["model"]) + 0.2 * at - 0.3 for row in of_variant]
        axes.barh(places, lengths, 0.18, label=label)
        axes.plot(floors, places, "|", color="#222222", markersize=9, label="convolutions alone" if at == 3 else None)
    axes.set_yticks(range(len(models)), map(in_words, models))
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("milliseconds of training for a clip of 20 frames, one CPU thread")
    axes.legend(loc="upper center", bbox_to_anchor=(0.35, 1.1), ncols=5, fontsize=9, columnspacing=1)
    return figure


def growth() -> Figure:
    """How fast costs grow: the exponents that are predicted and those that are measured."""
    header, *rows = read_table(RESULTS / "growth.csv").rows
    table = [dict(zip(header, row, strict=True)) for row in rows]
    names = [f"{row['subject']}: {row['against']}" for row in table]
    predicted, measured = ([float(row[name]) for row in table] for name in ("predicted", "measured"))
    figure, axes = plt.subplots(figsize=(8, 6))
    axes.hlines(range(len(names)), measured, predicted, color="#BBBBBB")
    axes.plot(predicted, range(len(names)), "o", markerfacecolor="white", label="predicted by the number of operations")
    axes.plot(measured, range(len(names)), "o", label="measured time")
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="exponent p: doubling the quantity multiplies the cost by 2ᵖ")
    axes.set_xticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.grid(visible=True, axis="x")
    axes.legend(loc="upper center", bbox_to_anchor=(0.3, 1.1), ncols=2, fontsize=9)
    return figure


def error_by_clips() -> Figure:
    """How the error of the predicted frames falls with the number of training clips; published networks beside ours."""
    header, *rows = read_table(RESULTS / "error-by-clips.csv").rows
    table = [dict(zip(header, row, strict=True)) for row in rows]
    figure, axes = plt.subplots(figsize=(6, 3.8))
    for name in dict.fromkeys(row["network"] for row in table):
        own = [row for row in table if row["network"] == name]
        clips, errors = (
            [int(row["clips"].replace(",", "")) for row in own],
            [float(row["per frame, 10→10"]) for row in own],
        )
        published = name.startswith("published")
        style, colour = ("s", "white") if published else ("o-", None)
        axes.plot(clips, errors, style, markerfacecolor=colour, label=in_words(name))
    axes.set(xscale="log", yscale="log", xlabel="training clips, with repetitions", ylabel="squared error of a frame")
    axes.set_yticks([50, 60, 70, 80, 100, 120], ["50", "60", "70", "80", "100", "120"])
    axes.minorticks_off()
    axes.legend(fontsize=9)
    return figure


def curves(name: str, coloured: Sequence[str] = ()) -> Figure:
    """The error of each predicted frame: a panel for each metric, a line for each network.

    Args:
        name: of the CSV file in assets, without its ending `-curves.csv`.
        coloured: the networks that have a colour, if there are too many for all; the others are thin lines.
    """
    with (ASSETS / f"{name}-curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        lines.setdefault(row["metric"], {}).setdefault(row["model"], []).append(float(row["value"]))
    down = (len(lines) + 1) // 2
    figure, panels = plt.subplots(down, 2, figsize=(8, 2.9 * down + 0.4), squeeze=False)
    for axes, (metric, models) in zip(panels.flat, lines.items(), strict=False):
        _panel(axes, metric, models, coloured or list(models))
    for axes in panels.flat[len(lines) :]:
        axes.remove()
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=9)
    return figure


def _panel(axes: Axes, metric: str, models: dict[str, Sequence[float]], coloured: Sequence[str]) -> None:
    """One metric. A baseline that is far away has its value written into the panel instead of a line."""
    name, scale = METRICS[metric]
    networks = [scale * value for model, values in models.items() if model not in BASELINES for value in values]
    low, high = min(networks), max(networks)
    reach = WIDE * (high - low)
    least, greatest = low - reach, high + reach
    shown, others = [model for model in models if model in coloured and model not in BASELINES], 0
    for model, values in models.items():
        scaled = [scale * value for value in values]
        frames = range(1, len(scaled) + 1)
        if model not in BASELINES:
            if model in coloured:
                axes.plot(frames, scaled, color=f"C{shown.index(model) % COLOURS}", label=in_words(model), zorder=3)
            else:
                axes.plot(frames, scaled, color="#BBBBBB", linewidth=0.8, label=None if others else "other networks")
                others += 1
            continue
        axes.plot(frames, scaled, BASELINES[model], color="#777777", label=in_words(model))
        mean = sum(scaled) / len(scaled)
        if least <= mean <= greatest:
            low, high = min([low, *scaled]), max([high, *scaled])
        else:
            falling = metric in HIGHER  # so that the text stands where the lines are not
            place = {"y": 0.96, "va": "top"} if falling else {"y": 0.04, "va": "bottom"}
            text = f"{in_words(model)}: {mean:.3g}"
            axes.text(0.98, s=text, transform=axes.transAxes, ha="right", fontsize=8, **place)
    margin = 0.05 * (high - low)
    axes.set(xlim=(1, len(frames)), ylim=(low - margin, high + margin), xlabel="predicted frame", ylabel=name)
    axes.set_title("higher is better" if metric in HIGHER else "lower is better", fontsize=9, weight="normal")
    axes.set_xticks([1, *range(10, len(frames) + 1, 10)])


CHARTS: dict[str, Callable[[], Figure]] = {
    "training-times": training_times,
    "growth": growth,
    "error-by-clips": error_by_clips,
    "moving-mnist-small-curves": lambda: curves("moving-mnist-small"),
    "moving-mnist-brief-curves": lambda: curves("moving-mnist-brief", OF_THE_PAPERS),
    "kth-small-curves": lambda: curves("kth-small", ON_KTH),
}

"""The analyses of the PredRNN++ paper: gradients with respect to earlier frames, and overlapping digits."""

import csv
import itertools
import re
import textwrap
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tensortrain.figures import styled
from zoo.cells.conv_tt_lstm import ConvTTLSTMCell
from zoo.data import ClipDataset, MovingMNIST, SeriesDataset
from zoo.data.clips import counted, whole
from zoo.devices import find_device
from zoo.errors import ZooError
from zoo.evaluation.evaluator import check_clips, check_count, evaluating, fewer_note, in_batches
from zoo.files import aside
from zoo.predictors.predictor import Predictor
from zoo.predictors.recurrent import RecurrentPredictor, patchify

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

INK = 127  # of 255; a brighter pixel belongs to a digit


@dataclass(frozen=True)
class Series:
    """Values at each frame, averaged over clips.

    Args:
        values: for each panel and each of its lines, the values `(frames,)`.
        unit: the unit of the values.
        note: how the values were measured.
        maps: the panels with many lines, which are drawn as a heat map of line × frame.
    """

    values: Mapping[str, Mapping[str, NDArray[np.float64]]]
    unit: str
    note: str
    maps: Collection[str] = ()

    def to_csv(self, path: str | Path) -> None:
        """Write a CSV file with a row for each panel, line and frame.

        Raises:
            ZooError: if the file cannot be written.
        """
        with aside(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("panel", "line", "frame", "value"))
            for panel, lines in self.values.items():
                for line, values in lines.items():
                    writer.writerows((panel, line, t, value) for t, value in enumerate(values.tolist(), 1))

    @styled
    def figure(self) -> "Figure":
        """Draw the panels, in one column or, if there are more than three, in two. All heat maps share one scale of
        colours."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        heights = {panel: 0.26 * len(lines) + 1 if panel in self.maps else 3.4 for panel, lines in self.values.items()}
        columns = _columns(heights)
        tallest = max(sum(heights[panel] for panel in column) for column in columns)
        figure = Figure(figsize=(8 * len(columns), tallest + 0.4), layout="constrained")
        grid = figure.add_gridspec(1, len(columns))
        for at, column in enumerate(columns):
            ratios = [heights[panel] for panel in column]
            empty = max(tallest - sum(ratios), 1e-6)  # space below the shorter column
            rows = grid[0, at].subgridspec(len(column) + 1, 1, height_ratios=[*ratios, empty])
            images = {}
            for row, panel in enumerate(column):
                axes = figure.add_subplot(rows[row, 0])
                if panel in self.maps:
                    images[axes] = self._draw_map(axes, self.values[panel])
                else:
                    self._draw_lines(axes, self.values[panel])
                axes.set(title=panel, xlabel="frame")
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if images:  # the colour bar stands beside the last column
            figure.colorbar(next(iter(images.values())), ax=list(images), label=self.unit, aspect=40)
        note = textwrap.fill(self.note, int(figure.get_figwidth() * 15))
        figure.supxlabel(note, fontsize=7, color="0.4", x=0.01, ha="left")
        return figure

    def _draw_lines(self, axes: "Axes", lines: Mapping[str, NDArray[np.float64]]) -> None:
        for line, values in lines.items():
            axes.plot(range(1, len(values) + 1), values, marker=".", label=line)
        axes.set_ylabel(self.unit)
        axes.set_ylim(0, 1.05 * max(float(values.max()) for values in lines.values()) or 1)
        axes.legend(fontsize="small")

    def _draw_map(self, axes: "Axes", lines: Mapping[str, NDArray[np.float64]]) -> "AxesImage":
        from matplotlib.colors import LogNorm

        everything = np.concatenate([each for panel in self.maps for each in self.values[panel].values()])
        largest = float(everything.max()) or 1.0
        norm = LogNorm(largest * 1e-4, largest, clip=True)  # four decades; smaller values look like zero
        values = np.stack(list(lines.values()))
        image = axes.imshow(
            values, norm=norm, aspect="auto", extent=(0.5, values.shape[1] + 0.5, len(lines) - 0.5, -0.5)
        )
        axes.set_yticks(range(len(lines)), list(lines), fontsize=8)
        axes.grid(visible=False)
        return image


def _columns(heights: Mapping[str, float]) -> list[list[str]]:
    """Arrange the panels in order in one column or, if there are more than three, in two of about the same height."""
    if len(heights) <= 3:
        return [list(heights)]
    columns: list[list[str]] = [[], []]
    above = 0.0
    for panel, height in heights.items():
        columns[above + height / 2 > sum(heights.values()) / 2].append(panel)
        above += height
    return columns


def gradient_norms(
    models: Mapping[str, Predictor],
    dataset: ClipDataset,
    horizon: int = 10,
    *,
    observed: int = 10,
    count: int | None = None,
    batch: int = 8,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Series:
    """Norms of the gradients of the last frame's squared error, `‖∇ L_T‖`, with respect to earlier frames and states.

    One panel compares the models by the gradient with respect to each observed frame (Figure 7a of the PredRNN++
    paper). One more panel for each model shows the gradients with respect to every part of its state after each
    observed frame (Figure 6). Norms are computed for each clip and averaged. The memory does not grow with the number
    of clips. The gradient with respect to a state includes the paths through other states of the same step that depend
    on it, as h depends on c.

    Args:
        models: the models, by the names that the picture shows.
        dataset: clips of at least `observed + horizon` frames.
        horizon: the number of predicted frames, at least 1. The error is that of the last one.
        observed: the number of observed frames T_in, at least 1.
        count: use only the first `count` clips, or all if there are fewer; by default all.
        batch: the number of clips to process at a time.
        device: where to compute; by default where each model is.
        progress: whether to show a progress bar.

    Raises:
        ZooError: if there are no models, or one is not recurrent; if the clips are series or too short, or a model
            cannot read their frames; or if an argument is out of range.
    """
    if not models:
        raise ZooError("no models to analyse; name one or more")
    if isinstance(dataset, SeriesDataset):
        raise ZooError("gradients are taken of a frame's error, but the clips are series; name video models")
    clips = check_clips(dataset, horizon, observed, count, batch)
    frames: dict[str, NDArray[np.float64]] = {}
    states: dict[str, Mapping[str, NDArray[np.float64]]] = {}
    for name, model in models.items():
        if not isinstance(model, RecurrentPredictor):
            raise ZooError(
                f"{name} has no state that passes from frame to frame; only recurrent models can be analysed"
            )
        weight = next(model.parameters(), torch.empty(0))
        place = find_device(device, weight.device)
        sums: dict[str, NDArray[np.float64]] = {}
        with evaluating(model, place, inference=False):
            for indices in in_batches(clips, batch, progress):
                seen = dataset.clips(indices, place)[:, : observed + horizon].to(weight.dtype)
                for line, values in _norms(model, seen, observed).items():
                    sums[line] = sums.get(line, 0) + values
        means = {line: values / clips for line, values in sums.items()}
        frames[name] = means.pop(_FRAMES)
        states[f"{name}: states"] = means
    what = f"Gradient of the squared error of frame {observed + horizon}"
    note = _note(what, dataset, clips, count)
    return Series({"observed frames": frames, **states}, "mean norm of the gradient", note, maps=list(states))


def _note(what: str, dataset: ClipDataset, clips: int, asked: int | None) -> str:
    """What was measured, on which clips, and whether there were fewer than were asked for."""
    return ". ".join([f"{what}; {counted(clips, 'clip')} of {dataset.describe()}", *fewer_note(dataset, asked)])


_FRAMES = "frames"
_PARTS = {
    "h": "hidden state h",
    "c": "cell state c",
    "m": "spatial memory m",
    "highway": "highway z",
    "past": "memory of past frames",
    "frame": "last frame",
}


def in_words(path: str) -> str:
    """The name of a part of a state in pictures and tables.

    >>> in_words("[1][0].c"), in_words(".layers[2].h"), in_words(".m")
    ('block 2, layer 1: cell state c', 'layer 3: hidden state h', 'spatial memory m')
    >>> in_words("[0][0].pending[1][2]")
    'block 1, layer 1: window 2, 3 steps ahead'
    """
    keys = re.findall(r"\w+", path)
    keys = keys[1:] if keys[:1] == ["layers"] else keys
    numbers = [int(key) + 1 for key in itertools.takewhile(str.isdigit, keys)]
    part, *indices = keys[len(numbers) :] or ["memory"]
    if part == "pending":
        window, ahead = (int(index) + 1 for index in indices)
        words = f"window {window}, {ahead} step{'s' * (ahead > 1)} ahead"
    else:
        words = " ".join([_PARTS.get(part, part), *(str(int(index) + 1) for index in indices if index.isdigit())])
    kinds = ("block", "layer")[2 - len(numbers) :]
    where = ", ".join(f"{kind} {number}" for kind, number in zip(kinds, numbers, strict=True))
    return f"{where}: {words}" if numbers else words


@contextmanager
def _hidden_states(model: RecurrentPredictor) -> Iterator[dict[str, Tensor]]:
    """Context manager: collect hidden states that cells, such as Conv-TT-LSTM, compute but do not keep, by name."""
    hidden: dict[str, Tensor] = {}
    cells = [(name, module) for name, module in model.named_modules() if isinstance(module, ConvTTLSTMCell)]

    def remember(name: str) -> Any:
        def hook(cell: nn.Module, inputs: Any, outputs: tuple[Tensor, Any]) -> None:
            hidden[in_words("".join(f"[{n}]" for n in re.findall(r"\d+", name)) + ".h")] = outputs[0]

        return hook

    handles = [cell.register_forward_hook(remember(name)) for name, cell in cells]
    try:
        yield hidden
    finally:
        for handle in handles:
            handle.remove()


def _norms(model: RecurrentPredictor, clips: Tensor, observed: int) -> dict[str, NDArray[np.float64]]:
    """Norms at each observed frame, summed over clips `(B, T, C, H, W)`, by the variable of differentiation."""
    model.check(clips[:, :observed], clips.shape[1] - observed)
    frames = patchify(clips.transpose(0, 1), model.patch)
    size = (frames.shape[-2], frames.shape[-1])
    inputs = [frame.requires_grad_() for frame in frames[:observed].clone().unbind()]
    state = model.initial_state(len(clips), size, frames.device, frames.dtype)
    variables: list[list[tuple[str, Tensor]]] = []  # the variables of differentiation at each observed frame
    predicted = frames[:0]
    for t in range(len(frames) - 1):
        with _hidden_states(model) as hidden:
            seen = model.normalized(inputs[t]) if t < observed else predicted[-1]
            predicted, state = model.predict(seen[None], state)
        if t < observed:
            leaves = [leaf for leaf in pytree.tree_flatten_with_path(state)[0] if isinstance(leaf[1], Tensor)]
            parts = {in_words(pytree.keystr(path)): leaf for path, leaf in leaves} | hidden
            variables.append([(_FRAMES, inputs[t]), *sorted(parts.items())])
    error = (model.denormalized(predicted[-1]) - frames[-1]).square().sum()
    flat = [(name, t, tensor) for t, each in enumerate(variables) for name, tensor in each]
    gradients = torch.autograd.grad(error, [tensor for *_, tensor in flat], allow_unused=True)
    norms: dict[str, NDArray[np.float64]] = {}
    for (name, t, _), gradient in zip(flat, gradients, strict=True):
        values = norms.setdefault(name, np.zeros(observed))
        if gradient is not None:
            values[t] = float(gradient.flatten(1).double().norm(dim=1).sum())
    return norms


def entanglement(
    dataset: MovingMNIST,
    *,
    frames: int | None = None,
    count: int | None = None,
    batch: int = 64,
    progress: bool = False,
) -> Series:
    """The fraction of clips in which digits overlap, at each frame (Figure 7b of the PredRNN++ paper).

    Digits overlap if some pixel is bright in two of them.

    Args:
        dataset: clips of two or more digits.
        frames: use only the first `frames` frames of a clip; all by default.
        count: use only the first `count` clips, or all if there are fewer; by default all.
        batch: the number of clips to process at a time.
        progress: whether to show a progress bar.

    Raises:
        ZooError: if an argument is out of range.

    >>> clips = MovingMNIST("test", source="embedded", size=28, length=3)  # no space to move
    >>> entanglement(clips, count=8).values["entangled digits"]["frequency"]
    array([1., 1., 1.])
    """
    frames = dataset.length if frames is None else whole("frames", frames)
    if frames > dataset.length:
        raise ZooError(f"frames = {frames} must be from 1 to {dataset.length}, the number of frames of a clip")
    clips = check_count(dataset, count, batch)
    sums = np.zeros(frames)
    for indices in in_batches(clips, batch, progress):
        bright = dataset.layers(dataset.fetch(indices))[:, :frames] > INK
        sums += (bright.sum(2) > 1).flatten(2).any(2).sum(0).numpy()
    note = _note(f"A pixel brighter than {INK} of 255 in two digits", dataset, clips, count)
    return Series({"entangled digits": {"frequency": sums / clips}}, "fraction of clips", note)

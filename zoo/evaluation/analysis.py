"""The analyses of the PredRNN++ paper: how far back gradients reach, and when digits overlap."""

import csv
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from tensortrain.figures import styled
from zoo.data import ClipDataset, MovingMNIST
from zoo.errors import ZooError
from zoo.evaluation.evaluator import check_clips, check_count, evaluating, in_batches
from zoo.files import aside
from zoo.recurrent import RecurrentPredictor, patchify
from zoo.video_model import VideoModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = 127  # of 255: a pixel brighter than this belongs to a digit


@dataclass(frozen=True)
class Series:
    """Values at each frame, averaged over clips.

    Args:
        values: for each panel and each of its lines `(frames,)`.
        unit: of the values.
        note: how they were measured.
    """

    values: Mapping[str, Mapping[str, NDArray[np.float64]]]
    unit: str
    note: str

    def to_csv(self, path: str | Path) -> None:
        """Write a line for each panel, line and frame.

        Raises:
            ZooError: the file cannot be written.
        """
        with aside(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("panel", "line", "frame", "value"))
            for panel, lines in self.values.items():
                for line, values in lines.items():
                    writer.writerows((panel, line, t, value) for t, value in enumerate(values.tolist(), 1))

    @styled
    def figure(self) -> "Figure":
        """A figure with the panels, two beside each other."""
        from matplotlib import colormaps
        from matplotlib.figure import Figure

        columns = min(2, len(self.values))
        rows = math.ceil(len(self.values) / columns)
        figure = Figure(figsize=(7 * columns, 3.4 * rows + 0.4), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for spare in panels[len(self.values) :]:
            spare.set_axis_off()
        for axes, (panel, lines) in zip(panels, self.values.items(), strict=False):
            if len(lines) > 10:  # more than there are colours in the usual cycle
                axes.set_prop_cycle(color=colormaps["turbo"](np.linspace(0, 1, len(lines))))
            for line, values in lines.items():
                axes.plot(range(1, len(values) + 1), values, marker=".", label=line)
            axes.set(title=panel, xlabel="frame", ylabel=self.unit)
            axes.set_ylim(0, 1.05 * max(float(values.max()) for values in lines.values()) or 1)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.3)
            place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
            axes.legend(fontsize="x-small", frameon=False, ncols=math.ceil(len(lines) / 16), **place)
        note = textwrap.fill(self.note, int(figure.get_figwidth() * 17))
        figure.supxlabel(note, fontsize=7, color="0.4", x=0.01, ha="left")
        return figure


def gradient_norms(
    models: Mapping[str, VideoModel],
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

    One panel compares the models by their gradients with respect to each observed frame (Figure 7a); one for each
    model has those with respect to every part of its state after each observed frame (Figure 6). Norms are taken clip
    by clip and averaged; memory does not grow with the number of clips. The gradient with respect to a state includes
    the ways through other states of the same step that depend on it, as h does on c.

    Args:
        models: by the names that the picture shows.
        dataset: clips of at least `observed + horizon` frames.
        horizon: predicted frames, at least 1; the error is that of the last.
        observed: T_in, at least 1.
        count: measure only the first `count` clips; all by default.
        batch: clips at a time.
        device: where to compute; by default where each model is.
        progress: show a progress bar.

    Raises:
        ZooError: no models, one that is not recurrent, an argument outside its range, clips that are too short or of
            which a model cannot read the frames.
    """
    if not models:
        raise ZooError("no models to analyse; name one or more")
    clips = check_clips(dataset, horizon, observed, count, batch)
    frames: dict[str, NDArray[np.float64]] = {}
    states: dict[str, Mapping[str, NDArray[np.float64]]] = {}
    for name, model in models.items():
        if not isinstance(model, RecurrentPredictor):
            raise ZooError(f"{name} has no state from frame to frame; only recurrent models can be analysed")
        weight = next(model.parameters(), torch.empty(0))
        place = torch.device(device or weight.device)
        sums: dict[str, NDArray[np.float64]] = {}
        with evaluating(model, place, inference=False):
            for indices in in_batches(clips, batch, progress):
                seen = dataset.clips(indices, place)[:, : observed + horizon].to(weight.dtype)
                for line, values in _norms(model, seen, observed).items():
                    sums[line] = sums.get(line, 0) + values
        means = {line: values / clips for line, values in sums.items()}
        frames[name] = means.pop(_FRAMES)
        states[f"{name}: states"] = means
    note = f"Gradient of the squared error of frame {observed + horizon}; {clips:,} clips of {dataset.describe()}"
    return Series({"observed frames": frames, **states}, "mean norm of the gradient", note)


_FRAMES = "frames"


def _norms(model: RecurrentPredictor, clips: Tensor, observed: int) -> dict[str, NDArray[np.float64]]:
    """Norms at each observed frame, summed over clips `(B, T, C, H, W)`, by what the gradient is with respect to."""
    model.check(clips[:, :observed], clips.shape[1] - observed)
    frames = patchify(clips.transpose(0, 1), model.patch)
    size = (frames.shape[-2], frames.shape[-1])
    inputs = [frame.requires_grad_() for frame in frames[:observed].clone().unbind()]
    state = model.initial_state(len(clips), size, frames.device, frames.dtype)
    variables: list[list[tuple[str, Tensor]]] = []  # with respect to which to differentiate, at each observed frame
    predicted = frames[:0]
    for t in range(len(frames) - 1):
        predicted, state = model.predict((inputs[t] if t < observed else predicted[-1])[None], state)
        if t < observed:
            leaves = [leaf for leaf in pytree.tree_flatten_with_path(state)[0] if isinstance(leaf[1], Tensor)]
            variables.append(
                [(_FRAMES, inputs[t]), *((pytree.keystr(path).lstrip("."), leaf) for path, leaf in leaves)]
            )
    error = (predicted[-1] - frames[-1]).square().sum()
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
    """The share of clips in which digits overlap, at each frame (Figure 7b): some pixel is bright in two digits.

    Args:
        dataset: clips of two or more digits.
        frames: measure only the first `frames` frames; all by default.
        count: measure only the first `count` clips; all by default.
        batch: clips at a time.
        progress: show a progress bar.

    Raises:
        ZooError: an argument outside its range.

    >>> clips = MovingMNIST("test", source="embedded", size=28, length=3)  # no room to move
    >>> entanglement(clips, count=8).values["entangled digits"]["frequency"]
    array([1., 1., 1.])
    """
    frames = dataset.length if frames is None else frames
    if not 1 <= frames <= dataset.length:
        raise ZooError(f"frames = {frames} must be from 1 to {dataset.length}, the frames of a clip")
    clips = check_count(dataset, count, batch)
    sums = np.zeros(frames)
    for indices in in_batches(clips, batch, progress):
        bright = dataset.layers(dataset.fetch(indices))[:, :frames] > INK
        sums += (bright.sum(2) > 1).flatten(2).any(2).sum(0).numpy()
    note = f"A pixel brighter than {INK} of 255 in two digits; {clips:,} clips of {dataset.describe()}"
    return Series({"entangled digits": {"frequency": sums / clips}}, "share of clips", note)

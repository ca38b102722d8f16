"""Measure a model's predictions over a data set, one batch at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo.data import ClipDataset
from zoo.errors import ZooError
from zoo.evaluation.baselines import Blank, CopyLast
from zoo.evaluation.conventions import Convention, find_convention
from zoo.evaluation.metrics import Comparison
from zoo.evaluation.scores import Scores
from zoo.video_model import VideoModel

_FRAMES = 64  # measured at a time


def evaluate(
    model: VideoModel,
    dataset: ClipDataset,
    horizon: int = 10,
    *,
    observed: int = 10,
    convention: str | Convention = "correct",
    metrics: Sequence[str] | None = None,
    count: int | None = None,
    batch: int = 16,
    name: str | None = None,
    device: torch.device | str | None = None,
    root: str | Path | None = None,
    progress: bool = False,
) -> Scores:
    """Predict `horizon` frames after `observed` ones of every clip and compare them with the truth.

    The baselines, the last observed frame for ever and black frames, are measured in the same pass. Memory does not
    grow with the number of clips. The model is left as it was found: its mode, its device.

    Args:
        model: any model of the zoo.
        dataset: clips of `observed + horizon` frames or more; further frames are not looked at.
        horizon: frames to predict, at least 1.
        observed: T_in, at least 1.
        convention: how to measure; see `zoo.evaluation.CONVENTIONS`.
        metrics: which of the convention's metrics; all by default.
        count: how many clips, the first ones; all by default.
        batch: clips at a time.
        name: of the model in tables; its class by default.
        device: where to compute; where the model is by default.
        root: data root, in which weights for LPIPS are looked for. Without any, LPIPS stays empty, with a note.
        progress: show a bar.

    Raises:
        ZooError: an argument outside its range, clips that are too short, frames the model cannot read.
    """
    count = check_clips(dataset, horizon, observed, count, batch)
    chosen = find_convention(convention)
    chosen = chosen if metrics is None else chosen.choose(tuple(metrics))

    weight = next(model.parameters(), torch.empty(0))
    place = torch.device(device or weight.device)
    with evaluating(model, place):
        channels, height, width = dataset.clips([0], place).shape[2:]
        frame = (channels, height, width)
        # one frame of a baseline stands for all: measures broadcast over time
        predictors: dict[str, Callable[[Tensor], Tensor]] = {
            "copy last frame": lambda x: CopyLast(channels)(x, 1)[:, -1:],
            "blank frames": lambda x: Blank(channels)(x, 1)[:, -1:],
        }
        name = name or type(model).__name__
        if name in predictors:
            raise ZooError(f"name = {name!r} is that of a baseline; choose another")
        predictors[name] = lambda x: model(x, horizon)[:, -horizon:]
        comparisons, notes = _comparisons(chosen, frame, root, place)
        sums = {
            row: {key: torch.zeros(horizon, dtype=torch.float64, device=place) for key in comparisons}
            for row in predictors
        }
        for indices in in_batches(count, batch, progress):
            clips = dataset.clips(indices, place)
            x, truth = clips[:, :observed].to(weight.dtype), clips[:, observed : observed + horizon]
            made = {row: predict(x) for row, predict in predictors.items()}
            for part in _parts(len(clips), horizon):
                for key, (features, value) in comparisons.items():
                    true = features(truth[part])
                    for row, frames in made.items():
                        sums[row][key] += value(features(frames[part]), true).sum(0)
        found = {row: {key: (s / count).cpu().numpy() for key, s in kept.items()} for row, kept in sums.items()}
    return Scores(
        name=name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        data=dataset.describe(),
        kind=dataset.kind,
        clips=count,
        observed=observed,
        horizon=horizon,
        frame=frame,
        convention=chosen,
        per_frame=found.pop(name),
        baselines=found,
        notes=notes,
    )


def check_clips(dataset: ClipDataset, horizon: int, observed: int, count: int | None, batch: int) -> int:
    """How many clips to look at.

    Raises:
        ZooError: a number outside its range, or clips that are too short.
    """
    for argument, given in (("horizon", horizon), ("observed", observed)):
        if given < 1:
            raise ZooError(f"{argument} = {given} must be at least 1")
    if dataset.length < observed + horizon:
        raise ZooError(
            f"clips of {dataset.length} frames are too short for {observed} observed and {horizon} predicted ones; "
            f"make the data set with length={observed + horizon}"
        )
    return check_count(dataset, count, batch)


def check_count(dataset: ClipDataset, count: int | None, batch: int) -> int:
    """How many clips to look at, so many at a time.

    Raises:
        ZooError: a number outside its range.
    """
    if batch < 1:
        raise ZooError(f"batch = {batch} must be at least 1")
    count = len(dataset) if count is None else count
    if not 1 <= count <= len(dataset):
        raise ZooError(f"count = {count} must be from 1 to {len(dataset)}, the clips of the data set")
    return count


def _comparisons(
    convention: Convention, frame: tuple[int, ...], root: str | Path | None, device: torch.device
) -> tuple[dict[str, Comparison], tuple[str, ...]]:
    """What measures frames of this shape, by metric, and why any metric stays empty."""
    found, notes = {}, []
    for measure in convention.measures:
        try:
            comparison = measure.comparison(root, device)
            comparison.features(torch.zeros(1, 1, *frame, device=device))
            found[measure.key] = comparison
        except ZooError as error:
            notes.append(f"{measure.key.upper()} is empty: {error}.")
    return found, tuple(notes)


@contextmanager
def evaluating(model: nn.Module, device: torch.device | None = None, inference: bool = True) -> Iterator[None]:
    """Evaluation mode on `device` if given, for inference alone or not; then modules and device are as before."""
    home = next(model.parameters(), torch.empty(0)).device
    modes = [(module, module.training) for module in model.modules()]
    model.eval().to(device or home)
    try:
        with torch.inference_mode(inference):
            yield
    finally:
        model.to(home)
        for module, training in modes:
            module.training = training


def in_batches(count: int, batch: int, progress: bool) -> Iterator[Sequence[int]]:
    """The batches of indices, with a bar on standard error if asked for."""
    from rich.console import Console
    from rich.progress import track

    batches = [range(start, min(start + batch, count)) for start in range(0, count, batch)]
    yield from track(batches, "Evaluating", console=Console(stderr=True), disable=not progress)


def _parts(clips: int, horizon: int) -> Iterator[slice]:
    """Slices of a batch with few enough frames that features take little memory whatever its size."""
    step = max(1, _FRAMES // horizon)
    return (slice(start, start + step) for start in range(0, clips, step))

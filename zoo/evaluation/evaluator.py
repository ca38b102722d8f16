"""Measure a model's predictions on a data set, batch by batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo.data import ClipDataset, ClipSource, SeriesDataset, adapted
from zoo.errors import ZooError
from zoo.evaluation.baselines import trivial_predictions
from zoo.evaluation.conventions import Convention, find_convention
from zoo.evaluation.measure import Comparison
from zoo.evaluation.scores import Scores
from zoo.predictor import Predictor

_STEPS = 64  # number that is measured at a time


def evaluate(
    model: Predictor,
    dataset: ClipDataset | ClipSource,
    horizon: int = 10,
    *,
    observed: int = 10,
    convention: str | Convention | None = None,
    metrics: Sequence[str] | None = None,
    count: int | None = None,
    batch: int = 16,
    name: str | None = None,
    device: torch.device | str | None = None,
    root: str | Path | None = None,
    progress: bool = False,
) -> Scores:
    """Predict `horizon` steps after `observed` ones of every clip and compare them with the true steps.

    Two baselines are measured in the same pass: the last observed step repeated; and black frames, or of series the
    mean of the data. Of each clip only its values are kept, not its frames. The model is left in the mode and on the
    device that it was in.

    Args:
        model: the model.
        dataset: clips of at least `observed + horizon` steps; further steps are ignored. Any object that has what
            `zoo.data.ClipSource` says will do.
        horizon: steps to predict, at least 1.
        observed: T_in, at least 1.
        convention: how to measure frames, by default "standard"; see `zoo.evaluation.CONVENTIONS`. Series have one
            measure, the root of the mean squared error.
        metrics: which of the convention's metrics; all by default.
        count: measure only the first `count` clips; all by default.
        batch: clips at a time.
        name: of the model in tables; by default that of its class.
        device: where to compute; by default where the model is.
        root: the data root, in which weights for LPIPS are searched. Without any, LPIPS stays empty, with a note.
        progress: show a progress bar.

    Raises:
        ZooError: an argument outside its range, clips that are too short, steps that the model cannot read.

    >>> from zoo.data import MovingMNIST
    >>> from zoo.evaluation import CopyLast
    >>> test = MovingMNIST("test", source="embedded", size=32, length=6)
    >>> scores = evaluate(CopyLast(), test, horizon=4, observed=2, metrics=["mse"], count=3)
    >>> scores.per_frame["mse"].shape, list(scores.baselines)
    ((4,), ['copy last frame', 'blank frames'])
    """
    dataset = adapted(dataset)
    count = check_clips(dataset, horizon, observed, count, batch)
    convention = find_convention(convention, "series" if isinstance(dataset, SeriesDataset) else "video")
    convention = convention if metrics is None else convention.choose(tuple(metrics))

    weight = next(model.parameters(), torch.empty(0))
    place = torch.device(device or weight.device)
    with evaluating(model, place):
        first = dataset.clips([0], place)
        for measure in convention.measures:
            measure.check(first)
        predictors = trivial_predictions(dataset)  # one step of a baseline stands for all: measures broadcast over time
        name = name or type(model).__name__
        if name in predictors:
            raise ZooError(f"name = {name!r} is that of a baseline; choose another")
        predictors[name] = lambda x: _last(model(x, horizon), horizon)
        comparisons, notes = _comparisons(convention, first[:, :1], root, place)
        sums = {
            row: {key: torch.zeros(horizon, dtype=torch.float64, device=place) for key in comparisons}
            for row in predictors
        }
        clip_values: dict[str, dict[str, list[Tensor]]] = {row: {key: [] for key in comparisons} for row in predictors}
        for indices in in_batches(count, batch, progress):
            clips = dataset.clips(indices, place)
            x, truth = clips[:, :observed].to(weight.dtype), clips[:, observed : observed + horizon]
            predictions = {row: predict(x) for row, predict in predictors.items()}
            for part in _parts(len(clips), horizon):
                for key, (features, value) in comparisons.items():
                    true = features(truth[part])
                    for row, steps in predictions.items():
                        values = value(features(steps[part]), true)
                        sums[row][key] += values.sum(0)
                        clip_values[row][key].append(values.mean(1))
        means = {
            row: {key: convention[key].of_mean(total / count).cpu().numpy() for key, total in of.items()}
            for row, of in sums.items()
        }
        per_clip = {
            row: {key: torch.cat(parts).cpu().numpy() for key, parts in of.items()} for row, of in clip_values.items()
        }
    return Scores(
        name=name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        data=dataset.describe(),
        comparable_with=dataset.comparable_with,
        clips=count,
        observed=observed,
        horizon=horizon,
        frame=tuple(first.shape[2:]),
        convention=convention,
        per_frame=means.pop(name),
        baselines=means,
        notes=(*notes, *_interval(dataset)),
        per_clip=per_clip,
    )


def _last(predictions: Tensor, horizon: int) -> Tensor:
    """The last `horizon` steps, of which there must be so many: one alone would stand for all."""
    if predictions.shape[1] < horizon:
        raise ZooError(f"the model predicted {predictions.shape[1]} steps, fewer than horizon = {horizon}")
    return predictions[:, -horizon:]


def _interval(dataset: ClipDataset) -> list[str]:
    """How much time a step takes, if it is known."""
    return [f"A step is {dataset.interval:g} {dataset.unit}."] if isinstance(dataset, SeriesDataset) else []


def check_clips(dataset: ClipDataset, horizon: int, observed: int, count: int | None, batch: int) -> int:
    """The number of clips to evaluate: `count`, or all.

    Raises:
        ZooError: a number outside its range, or clips of fewer than `observed + horizon` steps.
    """
    for argument, value in (("horizon", horizon), ("observed", observed)):
        if value < 1:
            raise ZooError(f"{argument} = {value} must be at least 1")
    if dataset.length < observed + horizon:
        raise ZooError(
            f"clips of {dataset.length} steps are too short for {observed} observed and {horizon} predicted ones; "
            f"make the data set with length={observed + horizon}"
        )
    return check_count(dataset, count, batch)


def check_count(dataset: ClipDataset, count: int | None, batch: int) -> int:
    """The number of clips to evaluate: `count`, or all.

    Raises:
        ZooError: `batch` below 1, or `count` outside 1 … the number of clips.
    """
    if batch < 1:
        raise ZooError(f"batch = {batch} must be at least 1")
    count = len(dataset) if count is None else count
    if not 1 <= count <= len(dataset):
        raise ZooError(f"count = {count} must be from 1 to {len(dataset)}, the clips of the data set")
    return count


def _comparisons(
    convention: Convention, step: Tensor, root: str | Path | None, device: torch.device
) -> tuple[dict[str, Comparison], tuple[str, ...]]:
    """The comparison of each metric for steps like `(1, 1, …)`, and a note for each metric that must stay empty."""
    comparisons, notes = {}, []
    for measure in convention.measures:
        try:
            comparison = measure.comparison(root, device)
            comparison.features(torch.zeros_like(step))
            comparisons[measure.key] = comparison
        except ZooError as error:
            notes.append(f"{measure.key.upper()} is empty: {error}.")
    return comparisons, tuple(notes)


@contextmanager
def evaluating(model: nn.Module, device: torch.device | None = None, inference: bool = True) -> Iterator[None]:
    """Put a model into evaluation mode, and on `device` unless that is None; restore its modes and device at the end.

    Nothing inside can be differentiated, unless `inference` is False.
    """
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
    """The indices 0 … count - 1 in batches, with a progress bar on standard error if `progress`."""
    from rich.console import Console
    from rich.progress import track

    batches = [range(start, min(start + batch, count)) for start in range(0, count, batch)]
    yield from track(batches, "Evaluating", console=Console(stderr=True), disable=not progress)


def _parts(clips: int, horizon: int) -> Iterator[slice]:
    """Slices of a batch with few enough steps that features take little memory whatever its size."""
    step = max(1, _STEPS // horizon)
    return (slice(start, start + step) for start in range(0, clips, step))

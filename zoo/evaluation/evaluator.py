"""Evaluate a model's predictions on a data set, batch by batch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo.data import ClipDataset, ClipSource, SeriesDataset, adapted
from zoo.data.clips import counted, whole
from zoo.devices import find_device
from zoo.errors import ZooError
from zoo.evaluation.baselines import trivial_predictions
from zoo.evaluation.conventions import Convention, find_convention
from zoo.evaluation.measure import Comparison
from zoo.evaluation.scores import Scores
from zoo.evaluation.totals import Totals
from zoo.predictors.predictor import Predictor
from zoo.predictors.video_model import check_predicted_shape
from zoo.schema import shortened
from zoo.settings import Recipe

_STEPS = 64  # largest number of steps to measure at a time


def evaluate(
    model: Predictor,
    dataset: ClipDataset | ClipSource,
    horizon: int = 10,
    *,
    observed: int = 10,
    convention: str | Convention | None = None,
    metrics: str | Sequence[str] | None = None,
    count: int | None = None,
    batch: int = 16,
    name: str | None = None,
    recipe: Recipe | None = None,
    device: torch.device | str | None = None,
    root: str | Path | None = None,
    progress: bool = False,
) -> Scores:
    """Evaluate a model: predict `horizon` steps after `observed` steps of every clip, and compare them with the truth.

    Two trivial baselines are evaluated in the same pass: the last observed step repeated, and black frames (for series:
    the mean of the data). Only the values of each clip are kept, not its frames. The mode and device of the model are
    the same afterwards.

    Args:
        model: the model to evaluate.
        dataset: clips of at least `observed + horizon` steps; further steps are ignored. It may be any object with the
            methods of `zoo.data.ClipSource`.
        horizon: the number of steps to predict, at least 1.
        observed: the number of observed steps T_in, at least 1.
        convention: how to measure frames; by default "standard"; see `zoo.evaluation.CONVENTIONS`. Series have one
            measure, the root of the mean squared error.
        metrics: the name of one of the convention's metrics to compute, or several; all by default.
        count: evaluate only the first `count` clips, or all if there are fewer, which a note then says; by default all.
        batch: the number of clips to process at a time.
        name: the name of the model in tables; by default that of its class.
        recipe: the recipe that trained the model; `compare` finds the published row of the same system by it.
        device: where to compute; by default where the model is.
        root: the data root with the weights of LPIPS. Without these weights, LPIPS is empty, and a note says so.
        progress: whether to show a progress bar.

    Returns:
        The scores: `print` shows them as a table, `average` holds the averages, and `per_frame` the values at each
        step.

    Raises:
        ZooError: if an argument is out of range, the clips are too short, the model cannot read their steps, or there
            is no such device.

    >>> from zoo.data import MovingMNIST
    >>> from zoo.evaluation import CopyLast
    >>> test = MovingMNIST("test", source="embedded", size=32, length=6)
    >>> scores = evaluate(CopyLast(), test, horizon=4, observed=2, metrics=["mse"], count=3)
    >>> scores.per_frame["mse"].shape, list(scores.baselines)
    ((4,), ['copy last frame', 'blank frames'])
    """
    if not isinstance(model, nn.Module):
        raise ZooError(f"model = {shortened(model)} must be a model; zoo.open_run(FOLDER).model is that of a run")
    dataset = adapted(dataset)
    horizon, observed, batch = whole("horizon", horizon), whole("observed", observed), whole("batch", batch)
    asked, count = count, check_clips(dataset, horizon, observed, count, batch)
    convention = find_convention(convention, "series" if isinstance(dataset, SeriesDataset) else "video")
    convention = convention if metrics is None else convention.choose(_names(metrics))

    weight = next(model.parameters(), torch.empty(0))
    place = find_device(device, weight.device)
    with evaluating(model, place):
        first = dataset.clips([0], place)
        for measure in convention.measures:
            measure.check(first)
        predictors = trivial_predictions(dataset)  # a baseline predicts one step, which is broadcast over the horizon
        name = name or type(model).__name__
        if name in predictors:
            raise ZooError(f"name = {name!r} is the name of a baseline; choose another name")
        # the model reads frames in the precision of its weights; the baselines and the truth keep theirs
        predictors[name] = lambda x: predicted_steps(model, x.to(weight.dtype), horizon)
        comparisons, notes = _comparisons(convention, first[:, :1], root, place)
        totals = {row: {key: Totals(convention[key], horizon, place) for key in comparisons} for row in predictors}
        for indices in in_batches(count, batch, progress):
            clips = dataset.clips(indices, place)
            x, truth = clips[:, :observed], clips[:, observed : observed + horizon]
            _add(totals, comparisons, {row: predict(x) for row, predict in predictors.items()}, truth)
    means = {row: {key: total.per_step() for key, total in of.items()} for row, of in totals.items()}
    several = totals if count > 1 else {}  # the spread of a single clip is not known
    halves = {row: {key: total.half_intervals() for key, total in of.items()} for row, of in several.items()}
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
        notes=(*notes, *_no_sampling(model, name), *_interval(dataset), *fewer_note(dataset, asked)),
        per_clip={row: {key: total.per_clip() for key, total in of.items()} for row, of in totals.items()},
        half_intervals=halves,
        recipe=recipe,
    )


def _add(
    totals: Mapping[str, Mapping[str, Totals]],
    comparisons: Mapping[str, Comparison],
    predictions: Mapping[str, Tensor],
    truth: Tensor,
) -> None:
    """Measure the predictions of some clips by each metric, and add the values to the totals of their row and metric.

    The features of the truth are computed once for all rows.
    """
    clips, horizon = truth.shape[:2]
    for part in _parts(clips, horizon):
        for key, (features, value) in comparisons.items():
            true = features(truth[part])
            for row, steps in predictions.items():
                totals[row][key].add(value(features(steps[part]), true))


def _names(metrics: str | Sequence[str]) -> list[str]:
    """The names of metrics as a list. A single name may be passed as text; it must not be split into its letters.

    Raises:
        ZooError: if a name is not a text.
    """
    names = [metrics] if isinstance(metrics, str) or not isinstance(metrics, Iterable) else list(metrics)
    for name in names:
        if not isinstance(name, str):
            raise ZooError(f"metrics = {metrics!r} must be the name of a metric, such as 'mse', or several names")
    return names


def predicted_steps(model: Predictor, x: Tensor, horizon: int) -> Tensor:
    """The `horizon` steps that a model predicts after the observed steps x `(B, T_in, …)`.

    Raises:
        ZooError: if the model returns another shape; torch would repeat a single frame.
    """
    predictions: Tensor = model(x, horizon)
    check_predicted_shape(predictions, x, horizon)
    return predictions[:, -horizon:]


def _interval(dataset: ClipDataset) -> list[str]:
    """A note about the time between two steps, if it is known."""
    return [f"A step is {dataset.interval:g} {dataset.unit}."] if isinstance(dataset, SeriesDataset) else []


def check_clips(dataset: ClipDataset, horizon: int, observed: int, count: int | None, batch: int) -> int:
    """The number of clips to evaluate: `count`, or all if there are fewer.

    Raises:
        ZooError: if a number is not a whole number of at least 1, or clips have fewer than `observed + horizon` steps.
    """
    horizon, observed = whole("horizon", horizon), whole("observed", observed)
    if dataset.length < observed + horizon:
        raise ZooError(
            f"clips of {counted(dataset.length, 'step')} are too short for {observed} observed and {horizon} predicted "
            f"steps; make the data set with length={observed + horizon}"
        )
    return check_count(dataset, count, batch)


def check_count(dataset: ClipDataset, count: int | None, batch: int) -> int:
    """The number of clips to evaluate: `count`, or all if there are fewer; see `fewer_note`.

    Raises:
        ZooError: if `batch` or `count` is not a whole number of at least 1.
    """
    whole("batch", batch)
    return len(dataset) if count is None else min(whole("count", count), len(dataset))


def fewer_note(dataset: ClipDataset, count: int | None) -> list[str]:
    """A note that there are fewer clips than `count`, if there are fewer."""
    if count is None or count <= len(dataset):
        return []
    one = len(dataset) == 1
    there, measured = ("There is", "it was") if one else ("There are", "all were")
    return [f"{there} only {counted(len(dataset), 'clip')} of the {count:,} that were asked for; {measured} measured."]


def _comparisons(
    convention: Convention, step: Tensor, root: str | Path | None, device: torch.device
) -> tuple[dict[str, Comparison], tuple[str, ...]]:
    """The comparison of each metric for steps of the shape of `step`, and a note for each metric that stays empty."""
    comparisons, notes = {}, []
    for measure in convention.measures:
        try:
            comparison = measure.comparison(root, device)
            comparison.features(torch.zeros_like(step))
            comparisons[measure.key] = comparison
        except ZooError as error:
            notes.append(f"{measure.key.upper()} is empty: {error}.")
    return comparisons, tuple(notes)


def _no_sampling(model: Predictor, name: str) -> tuple[str, ...]:
    """A note on a model that reads no frames after the observed ones, neither true ones nor its own."""
    if getattr(model, "feeds_back", True):  # `torch.compile` passes the attributes of its model on
        return ()
    return (f"{name} reads no frames after the observed ones, so it is trained without scheduled sampling.",)


@contextmanager
def evaluating(model: nn.Module, device: torch.device | None = None, inference: bool = True) -> Iterator[None]:
    """Context manager: put a model into evaluation mode and on a device, and restore both at the end.

    Gradients are off inside, unless `inference` is False. If `device` is None, the model stays where it is.
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
    """The indices 0 … count - 1 in batches. With `progress`, a progress bar is shown on standard error."""
    from rich.console import Console
    from rich.progress import track

    batches = [range(start, min(start + batch, count)) for start in range(0, count, batch)]
    yield from track(batches, "Evaluating", console=Console(stderr=True), disable=not progress)


def _parts(clips: int, horizon: int) -> Iterator[slice]:
    """Slices of a batch with few steps each, so that their features take little memory."""
    step = max(1, _STEPS // horizon)
    return (slice(start, start + step) for start in range(0, clips, step))

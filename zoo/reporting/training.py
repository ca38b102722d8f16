"""The page about a training that is under way: `report.html` in the folder of the run."""

import shlex
import time
from functools import cached_property
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor

from tensortrain import storage
from tensortrain.errors import TensorTrainError
from tensortrain.pages import Details, Page, Part, Section
from zoo.data import ClipDataset, SeriesDataset, make_dataset
from zoo.data.clips import counted
from zoo.errors import ZooError
from zoo.evaluation import Prediction, SeriesPrediction, evaluate, predict, predict_series
from zoo.files import aside
from zoo.importing import imports_in_words
from zoo.reporting.course import Course, Row, read_course
from zoo.reporting.films import film, series_picture, strip
from zoo.reporting.page import duration, run_page
from zoo.reporting.source import read_source
from zoo.settings import Recipe
from zoo.training.run_folder import Run, open_run, read_recipe

PAGE, FRAMES = "report.html", "predictions.safetensors"  # in the folder of the run
CHECKPOINT = Path("checkpoints") / "last.ckpt"
SHARE = 0.05  # the page takes at most about this share of the training's time
_CLIPS = 16  # validation clips that are measured for the page
_QUARTERS = 4  # parts of the training; the first prediction of each is kept


class TrainingPage:
    """A function to pass to `zoo.fit` as `watch`: it writes the page of a training after each validation.

    The page shows the curves so far, the scores on a few validation clips beside the trivial baselines, and how the
    prediction of one of these clips has changed. It is made from the files of the run, so it cannot affect the
    training. If making it takes long, validations are skipped, except the last one.

    Args:
        folder: the folder of the run.
        steps: the number of steps of the training.
        root: the data root; see `zoo.data.data_root`.
    """

    def __init__(self, folder: Path | str, steps: int, root: Path | str | None = None) -> None:
        self._folder, self._steps, self._root = Path(folder), steps, root
        self._next = 0.0  # the earliest time for the next page, by `time.monotonic`

    def __call__(self, step: int, loss: float) -> bool:
        """Write the page of this step, in the first process. Returns False, as it never stops a training."""
        self._renew(step)
        return False

    @rank_zero_only
    def _renew(self, step: int) -> None:
        """Write the page, unless it is new enough. That of the last validation must say that the training has ended."""
        began = time.monotonic()
        try:
            if self._renewed() or not (began >= self._next or step == self._steps or self._stalled()):
                return
            self._write()
        except (ZooError, TensorTrainError) as error:
            print(f"{self._folder / PAGE} was not written: {error}")
        ended = time.monotonic()
        self._next = ended + (ended - began) / SHARE

    def _renewed(self) -> bool:
        """Whether the page is newer than the last checkpoint, as when the command of a finished run is repeated."""
        page = self._folder / PAGE
        return page.exists() and page.stat().st_mtime_ns > (self._folder / CHECKPOINT).stat().st_mtime_ns

    def _stalled(self) -> bool:
        """Whether the training stops early, after this validation."""
        return self._recipe.training.early_stop > 0 and read_course(self._folder, self._recipe).stalled

    @cached_property
    def _recipe(self) -> Recipe:
        return read_recipe(self._folder / "config.yaml")

    def _write(self) -> None:
        run = open_run(self._folder, "last")
        page = training_page(run, make_dataset(run.recipe.data, "val", self._root))
        with aside(self._folder / PAGE) as temporary:
            temporary.write_text(page.to_html(live=False), encoding="utf-8")


def training_page(run: Run, clips: ClipDataset) -> Page:
    """Make the page of a run, and keep the prediction of its first validation clip in its folder for later pages.

    Args:
        run: the run, with the weights of its last step.
        clips: its validation clips.

    Raises:
        ZooError: if a file of the run is damaged.
        TensorTrainError: if the predictions that were kept are damaged, or cannot be written.
    """
    recipe, name = run.recipe, run.folder.resolve().name
    observed, horizon = recipe.data.observed, recipe.data.length - recipe.data.observed
    source = read_source(name, run.model, recipe, run.folder)
    metrics = ("mse", "ssim") if recipe.data.content == "video" else None
    count = min(_CLIPS, recipe.training.validation_clips or _CLIPS)
    scores = evaluate(run.model, clips, horizon, observed=observed, metrics=metrics, count=count, name=name)
    intro = "One validation clip, predicted by the model as it was after some of its steps."
    return run_page(
        [source],
        [scores],
        predictions=Section("Predictions", _pictures(run, clips, observed, horizon), intro),
        closing=Section("Next", [Details("Commands", _commands(run, clips), open=True)]),
        lead=[_remaining(source.course)],
    )


def _pictures(run: Run, clips: ClipDataset, observed: int, horizon: int) -> list[Part]:
    """A clip as predicted now and earlier."""
    clip, now = clips.clips([0])[0], f"step {run.step:,}"
    if isinstance(clips, SeriesDataset):
        series = predict_series({now: run.model}, clip, horizon, observed, clips.columns)
        earlier = _kept(run, series.predictions[now])
        every = SeriesPrediction(series.observed, earlier, series.truth, clips.columns)
        return [series_picture("The first validation series", every)]
    frames = predict({now: run.model}, clip, horizon, observed)
    steps = Prediction(frames.observed, _kept(run, frames.predictions[now]), frames.truth)
    return [film("The first validation clip", steps), strip("The same clip, frame by frame", steps)]


def _kept(run: Run, prediction: Tensor) -> dict[str, Tensor]:
    """Keep a prediction, and return those kept so far: the first one of each quarter of the training, and this one."""
    path = run.folder / FRAMES
    before = storage.read(path)[0] if path.exists() else {}
    steps = {int(step): frames for step, frames in before.items() if int(step) < run.step}
    steps[run.step] = prediction.contiguous()
    quarters: dict[int, int] = {}
    for step in sorted(steps):
        quarters.setdefault(_QUARTERS * step // run.recipe.training.steps, step)
    shown = sorted({*quarters.values(), run.step})
    storage.write_plain(path, {f"{step}": steps[step] for step in shown})
    return {f"step {step:,}": steps[step] for step in shown}


def _remaining(course: Course) -> str:
    """A sentence about the time that the training still needs, at its average speed.

    An earlier run that it continues may have had another speed.
    """
    left = course.recipe.training.steps - course.steps
    if left <= 0:
        return "The training has ended."
    if course.stalled:
        patience = counted(course.recipe.training.early_stop, "validation")
        return f"The training has ended early, after {patience} without improvement."
    before: Row = next((row for row in reversed(course.rows) if row["step"] <= course.start), {})
    seconds, steps = course.seconds - before.get("seconds", 0.0), course.steps - before.get("step", 0.0)
    time_left = duration(seconds / steps * left)
    return f"At this speed, the remaining {left:,} steps take {time_left}. This page is renewed after each validation."


def _commands(run: Run, clips: ClipDataset) -> str:
    folder, suffix = shlex.quote(str(run.folder)), "png" if isinstance(clips, SeriesDataset) else "gif"
    lines = (
        f"evaluate {folder}",
        f"predict {folder} -o prediction.{suffix}",
        f"report {folder} -o report.html",
        f"compare {folder} OTHER",
    )
    imports = imports_in_words()
    return "\n".join(f"zoo {line}{imports}" for line in lines)

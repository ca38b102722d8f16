"""Train a model: from a recipe to the folder of a run.

`fit` sets everything up, `train` is the loop, and `train_step` (in `zoo.training.step`) is one step of it, which is
recorded as a graph on a GPU (`zoo.training.graph`). Everything in the loop depends only on the number of the step,
except when to stop. So a resumed run computes the same at each step as an uninterrupted run.
"""

import csv
import io
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from tensortrain.files import remove_leftovers
from zoo.checks import check_recipe
from zoo.data import ClipDataset, ClipSource, adapted, make_dataset, pin_data
from zoo.errors import ZooError
from zoo.files import folder_name
from zoo.model_files.building import build_model
from zoo.settings import PythonData, Recipe
from zoo.training.checkpoint import RunProgress, load_checkpoint
from zoo.training.checks import check_repeatable, check_steps
from zoo.training.compiled import compile_model, compiling
from zoo.training.devices import convolution_algorithms, make_fabric, quiet_lightning, warn_of_slow_precision
from zoo.training.environment import describe_environment
from zoo.training.graph import fastest_step
from zoo.training.loggers import make_loggers
from zoo.training.metrics_log import NEVER, restore
from zoo.training.nonfinite import explain
from zoo.training.origin import continued, freeze, initialize, located
from zoo.training.processes import watching
from zoo.training.run_folder import (
    Run,
    begin_session,
    check_data,
    check_same,
    claimed,
    describe_session,
    open_run,
)
from zoo.training.session import Session
from zoo.training.step import TrainState, own_generators
from zoo.training.subnormals import subnormals_as_zero
from zoo.training.validation import validate


def fit(
    recipe: Recipe,
    folder: Path | str,
    *,
    root: Path | str | None = None,
    resume: bool = True,
    progress: bool = True,
    train_clips: ClipSource | None = None,
    val_clips: ClipSource | None = None,
    watch: Callable[[int, float], bool] | None = None,
    loggers: str | Sequence[str] | None = None,
) -> Run:
    """Train a model, or resume a training that was stopped. Returns the run with its best model so far.

    The folder gets `config.yaml`, `versions.json`, `metrics.csv`, `checkpoints/` and the files of loggers. If the run
    is stopped by Ctrl-C, `max_time` or a kill, the same call resumes it. It then ends with the same weights and metrics
    as an uninterrupted run, bit for bit, if the machine, the versions and the numbers of processes and threads are the
    same (on a GPU only with `training.deterministic`, the default). If they are not the same, there is a warning and a
    line in `versions.json`. A model may draw from torch's generators, as a dropout does: they are seeded before each
    step, and at the end they have the caller's state again. While it trains on a CPU, numbers below 1.2e-38 are flushed
    to zero, which is faster.

    Args:
        recipe: all settings of the run, from `zoo.recipe`.
        folder: the folder of the run. If it is new or empty, a new run starts. If it holds this run, it is resumed.
        root: the data root; see `zoo.data.data_root`.
        resume: if False, raise an error when the folder already holds a run.
        progress: whether to show the progress.
        train_clips: your own training clips, if the data of the recipe are "python"; see `zoo.data.ClipSource`.
        val_clips: your own validation clips.
        watch: a function of the number of steps and the loss, called after each validation. If it returns True,
            training stops, and can be resumed. For training in one process. For a run that has finished already, it is
            called with the last validation again, as a kill may have prevented that call.
        loggers: where to log metrics besides `metrics.csv`: "tensorboard", "wandb" or "mlflow", or a list of
            them; "csv" for nowhere else. By default a resumed run keeps its loggers, and a new run uses TensorBoard if
            it is installed. See `zoo.training.loggers`.

    Returns:
        The run: its folder, recipe, model (in evaluation mode, with the best weights) and the step of these weights.

    Raises:
        ZooError: if settings do not fit together; if the folder holds another run, or another process trains in it; if
            data are missing, or differ from those that the run started with; if a logger is not installed or cannot
            start; if another process of this training died; if the disk is full; or if a loss or a gradient is not
            finite (the message names the step, and the operation and weight where this arose).
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written. After SIGTERM it is a SystemExit.

    >>> import tempfile, zoo
    >>> short = {"steps": 2, "validation_clips": 2}
    >>> recipe = zoo.recipe("conv-lstm", "demo", {"hidden": [2], "layers": [1]}, training=short)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(zoo.fit(recipe, folder, progress=False).step)
    2
    """
    began, folder = time.monotonic(), folder_name(folder)
    recipe = located(check_recipe(recipe))
    outlets = make_loggers(loggers, folder, recipe)
    model = build_model(recipe)
    check_steps(recipe, model)  # before the data are prepared, which may take long
    freeze(model, recipe.origin.freeze)
    begun = (folder / "checkpoints" / "last.ckpt").exists()
    notes, other = [], None
    if recipe.origin.weights and not begun:
        notes = initialize(model, recipe.origin.weights)
    if recipe.origin.run and not begun:
        other, notes = continued(recipe, model)
    if isinstance(recipe.data, PythonData) or train_clips is not None or val_clips is not None:
        recipe, clips, val = own_clips(recipe, train_clips, val_clips)
    else:
        recipe = replace(recipe, data=pin_data(recipe.data, root))
        check_steps(recipe, model)  # again, as only the data themselves may say their size
        clips, val = make_dataset(recipe.data, "train", root), make_dataset(recipe.data, "val", root)
    if model.recompute is not None:
        model.recompute = recipe.training.recompute
    elif recipe.training.recompute:
        raise ZooError(f"{recipe.model} is not recurrent, so it cannot recompute steps; leave training.recompute off")
    if recipe.training.compile:
        compile_model(model)
    compiled = compiling() if recipe.training.compile else nullcontext()
    algorithms = convolution_algorithms(recipe.training.deterministic)
    with quiet_lightning(), algorithms, subnormals_as_zero(), compiled:
        fabric = make_fabric(recipe.training, outlets)
        check_repeatable(recipe, model, fabric.device)
        first = fabric.is_global_zero
        data = {"train": clips.digest(), "val": val.digest()}
        identity = {"data": data, "environment": describe_environment(fabric)}
        with claimed(recipe, folder, resume) if first else nullcontext():
            checkpoint = last_checkpoint(recipe, folder, data) or other
            if not finished(recipe, checkpoint):
                if first:
                    session = describe_session(checkpoint, identity["environment"], [clips.describe(), val.describe()])
                    begin_session(recipe, folder, session)
                    warn_of_slow_precision(recipe.training, fabric.device)

                def run_session(fabric: Fabric) -> None:  # runs in every process
                    with own_generators(fabric.device):
                        state = TrainState(fabric, recipe, model, clips, val)
                        with Session(state, folder, checkpoint, identity, progress, began, notes, watch) as session:
                            train(session)
                    session.interrupt.take_effect()

                with watching(fabric):
                    fabric.launch(run_session)
            elif first and checkpoint:
                restore(folder / "metrics.csv", checkpoint["metrics"])
                for place in (folder, folder / "checkpoints"):  # a kill after the last step may leave some
                    remove_leftovers(place)
                if watch is not None:
                    watch(checkpoint["step"], last_loss(checkpoint["metrics"]))
    return open_run(folder)


def own_clips(
    recipe: Recipe, train_clips: ClipSource | None, val_clips: ClipSource | None
) -> tuple[Recipe, ClipDataset, ClipDataset]:
    """Prepare the caller's own training and validation clips, and set their number in the recipe.

    Raises:
        ZooError: if one of them is missing, the recipe is for other data, or the clips do not fit it.
    """
    if not isinstance(recipe.data, PythonData):
        raise ZooError(
            f"train_clips are passed, but data.name = {recipe.data.name!r}; make the recipe with dataset='python'"
        )
    if train_clips is None or val_clips is None:
        raise ZooError("data.name = 'python' needs train_clips and val_clips; pass both, see zoo.data.ClipSource")
    clips, val = adapted(train_clips), adapted(val_clips)
    expected = (recipe.data.length, recipe.data.channels, *recipe.data.frame)
    for name, each in (("train_clips", clips), ("val_clips", val)):
        if each.length != expected[0] or (shape := tuple(each[0].shape)) != expected:
            shape = (each.length,) if each.length != expected[0] else shape
            raise ZooError(
                f"the clips of {name} have shape {shape}, but data.length, channels and size say {expected}; change "
                "these settings"
            )
    return replace(recipe, data=replace(recipe.data, clips_per_epoch=len(clips), endless=False)), clips, val


def last_checkpoint(recipe: Recipe, folder: Path, data: dict[str, str]) -> dict[str, Any] | None:
    """The checkpoint that the run of this recipe resumes from; None for a new run.

    Raises:
        ZooError: if the checkpoint is damaged, of another model, or was trained on clips with other digests.
    """
    path = folder / "checkpoints" / "last.ckpt"
    if not path.exists():
        return None
    checkpoint = load_checkpoint(path)
    check_same(checkpoint, recipe, path)
    check_data(checkpoint, data, folder)
    return checkpoint


def finished(recipe: Recipe, checkpoint: dict[str, Any] | None) -> bool:
    """Whether a run has taken all its steps or has stopped early."""
    if checkpoint is None:
        return False
    stalled = RunProgress(**checkpoint["progress"]).stalled(recipe.training.early_stop)
    return stalled or checkpoint["step"] >= recipe.training.steps


def last_loss(metrics: str) -> float:
    """The loss of the last validation in the text of `metrics.csv`."""
    losses = [row["validation_loss"] for row in csv.DictReader(io.StringIO(metrics))]
    return float(next(loss for loss in reversed(losses) if loss))


def train(session: Session) -> None:
    """The training loop: it takes steps, and after some of them writes metrics, validates and saves.

    Every process runs it on its share of each batch.
    """
    state = session.state
    # the last session did not finish this validation: otherwise there would be a row of this step
    missed = session.validation_due() and session.progress.row < state.step
    # only a signal may abandon this validation; a time limit might do so in every session
    if missed and finish_interval(session, stop=False, abandon=session.signalled):
        return
    take_step = fastest_step(state)
    session.reporter.restart(state.step)
    for batch in state.batches():
        take_step(state.inputs(batch))
        state.step += 1
        session.reporter.step(state.step)

        due, asked = session.row_due(), session.stop_asked()
        if not due and not (asked and state.fabric.world_size == 1):  # several processes stop together, at a row
            continue
        stop = synchronise(session, asked)
        if due:
            stop = finish_interval(session, stop, session.stop_asked)
        else:
            session.save("last")
        if stop:
            return


def synchronise(session: Session, asked: bool) -> bool:
    """Synchronise all processes and the device, and return whether any process was asked to stop.

    Raises:
        ZooError: if a step since the last call gave values that are not finite. All processes raise it.
    """
    state, fabric = session.state, session.state.fabric
    fabric.all_reduce(state.meter.loss, reduce_op="mean")  # in place
    bad = int(fabric.all_reduce(state.meter.bad, reduce_op="min"))  # type: ignore[arg-type]
    stop = fabric.all_reduce(torch.tensor(float(asked), device=fabric.device), reduce_op="max")
    if bad != NEVER:
        raise explain(state, session.checkpoints / "last.ckpt", bad)
    return bool(stop)


def finish_interval(session: Session, stop: bool, abandon: Callable[[], bool]) -> bool:
    """Finish a logging interval: validate if due, append a row of metrics, save. Returns whether training must stop.

    If training must stop before a due validation has finished, nothing is logged, and the resumed run validates first.
    After the last step, the validation is always finished.

    Args:
        session: the session, at the end of an interval.
        stop: whether some process was asked to stop.
        abandon: a function that says whether to abandon a validation that has started.
    """
    state, training = session.state, session.training
    last, validating, improved = state.step == training.steps, session.validation_due(), False
    row, speed = state.measured(), session.reporter.speed(state.step)
    if validating:
        if session.save_due() and not last:
            session.save("last")
        session.reporter.busy("validating")
        must_finish = last or state.fabric.world_size > 1
        validation = None if stop and not last else validate(state, (lambda: False) if must_finish else abandon)
        if validation is None:
            session.save("last")
            return True
        row |= {"validation_loss": validation.loss, "validation_mse": validation.mse}
        improved = session.observe(validation)
    session.write(row, speed)
    if improved:
        session.save("best")
    if session.keep_due():
        session.save(f"step-{state.step}")
    if validating or last or stop or session.save_due():
        session.save("last")
    watched = validating and session.watched(row["validation_loss"])
    session.reporter.restart(state.step)  # what was written and watched does not count as time of steps
    return stop or watched or session.progress.stalled(training.early_stop)

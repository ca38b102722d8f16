"""Train a model: from settings to a run folder."""

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException

from zoo.data import make_dataset, pin_data
from zoo.errors import ZooError
from zoo.recurrent import RecurrentPredictor
from zoo.settings import Recipe, Training
from zoo.training.checkpoint import load_checkpoint
from zoo.training.checks import check_frames, check_recipe
from zoo.training.compiled import compile_cells, compiling
from zoo.training.interrupt import Interrupt
from zoo.training.module import VideoTraining
from zoo.training.progress import Reporter
from zoo.training.run_folder import Run, begin_session, build_model, check_folder, check_same, open_run
from zoo.training.subnormals import subnormals_as_zero
from zoo.training.supervisor import Standing, Supervisor


def fit(
    recipe: Recipe, folder: Path | str, *, root: Path | str | None = None, resume: bool = True, progress: bool = True
) -> Run:
    """Train, or go on training, and return the best model so far.

    The folder gets `config.yaml`, `versions.json`, `metrics.csv`, TensorBoard's events and `checkpoints/`. A run that
    was stopped, by Ctrl-C, `max_time` or a kill, goes on when it is asked for again, and ends with the same weights
    and metrics as if it had never stopped. Meanwhile the CPU takes numbers below 1.2e-38 as zero.

    Args:
        recipe: the whole of the settings.
        folder: of the run; new, empty, or that of this very run.
        root: data root, see `zoo.data.data_root`.
        resume: go on with a run found in the folder, instead of refusing.
        progress: show how it goes.

    Raises:
        ZooError: settings that do not fit together, a folder with another run, data that are missing; or a loss that
            was not finite, with its step and the layer where it began.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written.
    """
    began, folder = time.monotonic(), Path(folder)
    recipe = check_recipe(recipe)
    model = build_model(recipe)
    check_frames(recipe, model)  # before data are made ready, which may take long
    recipe = replace(recipe, data=pin_data(recipe.data, root))
    train, val = make_dataset(recipe.data, "train", root), make_dataset(recipe.data, "val", root)
    if isinstance(model, RecurrentPredictor):
        model.recompute = recipe.training.recompute
    elif recipe.training.recompute:
        raise ZooError(f"{recipe.model} is not recurrent, so nothing can be recomputed; leave training.recompute off")
    module = VideoTraining(recipe, model, train, val)
    if recipe.training.compile:
        compile_cells(model)
    compiled = compiling() if recipe.training.compile else nullcontext()
    with quiet_lightning(), repeatable_convolutions(), subnormals_as_zero(), compiled:
        trainer = make_trainer(recipe.training)
        if trainer.is_global_zero:
            check_folder(recipe, folder, resume)
        checkpoint = last_checkpoint(recipe, folder)
        if not finished(recipe, checkpoint):
            start, shown = checkpoint["step"] if checkpoint else 0, progress and trainer.is_global_zero
            if trainer.is_global_zero:
                begin_session(recipe, folder, start, [train.describe(), val.describe()], trainer)
            with Interrupt() as interrupt, Reporter(recipe.training, start, shown) as reporter:
                reporter.say(f"{f'going on from step {start}' if start else 'training'} on {train.describe()}")
                supervisor = Supervisor(folder, checkpoint, reporter, interrupt, began)
                trainer.callbacks.append(supervisor)  # type: ignore[attr-defined]
                try:
                    trainer.fit(module, module.loader(start, trainer.global_rank, trainer.world_size))
                except SystemExit:  # Lightning's answer to a second Ctrl-C
                    if not interrupt.signal:
                        raise
            interrupt.take_effect()
    return open_run(folder, "best" if (folder / "checkpoints" / "best.ckpt").exists() else "last")


def last_checkpoint(recipe: Recipe, folder: Path) -> dict[str, Any] | None:
    """What the run of this recipe goes on from; None to begin it.

    Raises:
        ZooError: a damaged checkpoint, or one of another model.
    """
    path = folder / "checkpoints" / "last.ckpt"
    if not path.exists():
        return None
    checkpoint = load_checkpoint(path)
    check_same(checkpoint, recipe, path)
    return checkpoint


def finished(recipe: Recipe, checkpoint: dict[str, Any] | None) -> bool:
    """Whether a run has taken all its steps, or has stopped early."""
    if checkpoint is None:
        return False
    stalled = Standing(**checkpoint["progress"]).stalled(recipe.training.early_stop)
    return stalled or checkpoint["step"] >= recipe.training.steps


def make_trainer(training: Training) -> pl.Trainer:
    """Lightning's trainer for one pass over the steps; a `Supervisor` does the rest.

    Raises:
        ZooError: no such accelerator or devices here, or a launcher with another number of processes.
    """
    launched = [kind() for kind in (TorchElasticEnvironment, SLURMEnvironment) if kind.detect()]
    try:
        for environment in launched:
            environment.validate_settings(training.devices, training.nodes)
        return pl.Trainer(
            accelerator=training.accelerator,
            devices=training.devices,
            num_nodes=training.nodes,
            precision=training.precision,  # type: ignore[arg-type]
            max_epochs=1,
            # Lightning's way to requeue would save checkpoints of its own
            plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ZooError(
            f"training.accelerator = {training.accelerator!r}, devices = {training.devices}, nodes = {training.nodes}, "
            f"precision = {training.precision!r} do not work here: {reason}"
        ) from error


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's tips and warnings, which do not concern the user of a finished training program."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def repeatable_convolutions() -> Iterator[None]:
    """cuDNN with algorithms that give the same bits every time, or a resumed run would drift from an unbroken one."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before

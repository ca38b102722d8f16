"""One call of `fit`, from start to stop: what it writes and shows, its clock, and requests to stop."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zoo.training.checkpoint import RunProgress, save_checkpoint
from zoo.training.interrupt import Interrupt
from zoo.training.loggers import RunLogger
from zoo.training.metrics_log import MetricsLog
from zoo.training.progress import Reporter
from zoo.training.step import TrainState
from zoo.training.validation import Validation

VANISHED = 1e-4  # a network that learns has a gradient norm of more than this fraction of its loss
SAVE_SECONDS = 60.0  # a killed run loses at most this time, and the steps since the last row


class Session:
    """Everything besides the state of a training. As a context manager, it opens and closes files, bar and handlers.

    Args:
        state: the state of the training at its start.
        folder: the folder of the run.
        checkpoint: the checkpoint that the run resumes from; None for a new run.
        identity: the entries `data` and `environment` of its checkpoints.
        progress: whether to show the progress, in the first process.
        began: `time.monotonic()` at the start of the call of `fit`.
        notes: lines to print at the start.
        watch: a function that can stop the training; see `zoo.fit`.
    """

    def __init__(
        self,
        state: TrainState,
        folder: Path,
        checkpoint: dict[str, Any] | None,
        identity: dict[str, Any],
        progress: bool,
        began: float,
        notes: Sequence[str] = (),
        watch: Callable[[int, float], bool] | None = None,
    ) -> None:
        self.state, self.training, self.first = state, state.recipe.training, state.fabric.is_global_zero
        self.checkpoints = folder / "checkpoints"
        self.progress = RunProgress(**checkpoint["progress"]) if checkpoint else RunProgress.at_start()
        self.interrupt = Interrupt()
        self._watch, self._watching = watch, 0.0  # the seconds that calls of `watch` have taken
        self._checkpoint, self._folder, self._identity = checkpoint, folder, identity
        self._began, self._saved, self._before = began, began, self.progress.seconds
        start = checkpoint["step"] if checkpoint else 0
        self._told_of_gradient = False
        self.reporter = Reporter(state.recipe, start, progress and self.first)
        self.reporter.say(f"{f'resuming from step {start}' if start else 'training'} on {state.clips.describe()}")
        for line in notes:
            self.reporter.say(line)
        for line in dict.fromkeys([*state.clips.left_out(), *state.val.left_out()]):
            self.reporter.say(f"left out: {line}")

    def __enter__(self) -> "Session":
        with ExitStack() as opening:  # closes what is open already if something cannot be opened
            opening.enter_context(self.interrupt)
            opening.enter_context(self.reporter)
            if self.first:
                text = self._checkpoint["metrics"] if self._checkpoint else ""
                self._log = MetricsLog(self._folder, text)
                for logger in self.state.fabric.loggers:
                    assert isinstance(logger, RunLogger), "those of `make_loggers`"
                    logger.start(self.progress.row, self.reporter.say)
                    opening.callback(logger.finalize, "success")
            if self._checkpoint:
                self.state.load_state_dict(self._checkpoint, str(self.checkpoints / "last.ckpt"))
            else:
                self.save("last")
            self._open = opening.pop_all()
        self._checkpoint = None
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        with self._open:
            if kind is None:
                self._say_why_stopped()
                self.state.fabric.barrier()  # no process may leave before the last checkpoint is written

    def validation_due(self) -> bool:
        """Whether to validate after the step that was just taken."""
        every = self.training.validate_every or self.state.epoch
        return self.state.step % every == 0 or self.state.step == self.training.steps

    def row_due(self) -> bool:
        """Whether the step that was just taken ends a logging interval."""
        return self.state.step % self.training.log_every == 0 or self.keep_due() or self.validation_due()

    def keep_due(self) -> bool:
        """Whether to keep a checkpoint of the step that was just taken."""
        return self.training.save_every > 0 and self.state.step % self.training.save_every == 0

    def save_due(self) -> bool:
        """Whether the last checkpoint is too old."""
        return time.monotonic() - self._saved > SAVE_SECONDS

    def signalled(self) -> bool:
        """Whether a signal asked this process to stop."""
        return bool(self.interrupt.signal)

    def stop_asked(self) -> bool:
        """Whether a signal or `max_time` asks this process to stop."""
        limit = 60 * self.training.max_time or math.inf
        return self.signalled() or time.monotonic() - self._began > limit

    def save(self, name: str) -> None:
        """Write a checkpoint. Only the first process does so."""
        if name == "last":
            self._saved = time.monotonic()
        if self.first:
            self.progress.seconds = self._seconds()
            run = {"progress": asdict(self.progress), "metrics": self._log.text, **self._identity}
            save_checkpoint(self.state.state_dict() | run, self.checkpoints / f"{name}.ckpt")

    def observe(self, validation: Validation) -> bool:
        """Pass a validation to the schedules and the progress, and return whether its loss is the lowest so far."""
        state, loss = self.state, validation.loss
        state.sampling.observe(state.step, loss)
        state.learning_rate.observe(state.step, loss, state.sampling.fall(state.step))
        return self.progress.observe(state.step, loss)

    def watched(self, loss: float) -> bool:
        """Tell `watch` the loss of a validation, and return whether it stops the training."""
        if self._watch is None:
            return False
        began = time.monotonic()
        stop = self._watch(self.state.step, loss)
        self._watching += time.monotonic() - began
        return bool(stop)

    def write(self, row: dict[str, float], speed: float) -> None:
        """Append a row to the metrics, show it, and start the next interval."""
        row["seconds"] = self._seconds()
        self.state.meter.reset()
        self.progress.row = self.state.step
        if self.first:
            self._log.write(row)
            values = {name: value for name, value in row.items() if name != "step"}
            self.state.fabric.log_dict(values, self.state.step)
        self.reporter.row(row, speed)
        if not self._told_of_gradient and row["gradient_norm"] < VANISHED * row["loss"]:
            self._told_of_gradient = True
            self.reporter.say(
                f"The gradient has vanished: its norm is {row['gradient_norm']:.1g} at a loss of {row['loss']:.3g}, so "
                "the network hardly learns any more. If it should still improve, its sigmoids or softmax may be "
                "saturated; start again with a smaller learning rate."
            )

    def _seconds(self) -> float:
        """Seconds of training, including its validations and earlier sessions, without the calls of `watch`."""
        return self._before + time.monotonic() - self._began - self._watching

    def _say_why_stopped(self) -> None:
        step, patience = self.state.step, self.training.early_stop
        if self.progress.stalled(patience):
            self.reporter.say(f"Stopped at step {step}: the last {patience} validations brought no improvement.")
        elif step < self.training.steps:
            self.reporter.say(
                f"Stopped after step {step} of {self.training.steps}, as requested. Everything is saved: repeat the "
                "command or the call to resume."
            )

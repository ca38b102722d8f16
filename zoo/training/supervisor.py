"""What happens between the steps: looking at the device, validating, saving and stopping."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from zoo.errors import ZooError
from zoo.training.checkpoint import load_checkpoint, save_checkpoint
from zoo.training.interrupt import Interrupt
from zoo.training.metrics_log import MetricsLog
from zoo.training.module import Validation, VideoTraining
from zoo.training.nonfinite import find_cause
from zoo.training.progress import Reporter

SAVE_SECONDS = 60.0  # the most that a killed run loses, but for the steps until the next look


@dataclass
class Standing:
    """What the supervisor remembers: the best validation loss, validations since, the steps of the latest validation
    and of the latest row, and training time."""

    best: float = math.inf
    stale: int = 0
    validated: int = 0
    row: int = 0
    seconds: float = 0.0

    def stalled(self, patience: int) -> bool:
        """Whether the validation loss has not improved for `patience` validations; never if that is 0."""
        return 0 < patience <= self.stale


def validation_due(module: VideoTraining) -> bool:
    """Whether the step just done is one to validate after."""
    training = module.recipe.training
    return module.step % (training.validate_every or module.epoch) == 0 or module.step == training.steps


def row_due(module: VideoTraining) -> bool:
    """Whether the step just done is one for the metrics file."""
    training = module.recipe.training
    saving = training.save_every > 0 and module.step % training.save_every == 0
    return module.step % training.log_every == 0 or saving or validation_due(module)


def _never() -> bool:
    return False


class Supervisor(pl.Callback):
    """Counts steps; looks at the device every `log_every` of them, validates, saves, and says when to stop.

    Everything but stopping depends on the step alone, so that a resumed run does the same at the same steps.

    Args:
        folder: of the run.
        checkpoint: what the run goes on from, if anything.
        reporter: shows it.
        interrupt: notes signals.
        began: `time.monotonic()` at the session's beginning.
    """

    def __init__(
        self, folder: Path, checkpoint: dict[str, Any] | None, reporter: Reporter, interrupt: Interrupt, began: float
    ) -> None:
        self.folder, self.reporter, self.interrupt, self.began = folder, reporter, interrupt, began
        self._checkpoint = checkpoint
        self._standing = Standing(**checkpoint["progress"]) if checkpoint else Standing()
        self._before = self._standing.seconds
        self._saved, self._limit = began, math.inf
        self._metrics: MetricsLog | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Go on from the checkpoint, or write the first one."""
        assert isinstance(module, VideoTraining)
        self.interrupt.install()  # Lightning has just set its own
        module.start(self._checkpoint)
        self._limit = 60 * module.recipe.training.max_time or math.inf
        if trainer.is_global_zero:
            self._metrics = MetricsLog(self.folder, self._standing.row)
        if self._checkpoint is None:
            self._save(trainer, module, "last")
        elif validation_due(module) and self._standing.validated < module.step:
            # a time limit must not end it again and again
            self._close_row(trainer, module, stop=False, abandon=lambda: bool(self.interrupt.signal))
        self._checkpoint = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step, then do whatever is due."""
        assert isinstance(module, VideoTraining)
        module.step += 1
        self.reporter.step(module.step)
        due, asked = row_due(module), self._asked()
        if not due and not (asked and trainer.world_size == 1):  # several processes stop together, at a row
            return
        stop = self._look(trainer, module, asked)
        if due:
            self._close_row(trainer, module, stop, self._asked)
        elif stop:
            self._stop(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Close the files; if there is more to do, say so. All ranks leave together, after the last checkpoint."""
        assert isinstance(module, VideoTraining)
        if self._metrics:
            self._metrics.close()
        training = module.recipe.training
        if self._standing.stalled(training.early_stop):
            self.reporter.say(f"stopped at step {module.step}: {training.early_stop} validations without improvement")
        elif module.step < training.steps:
            self.reporter.say(f"stopped at step {module.step} of {training.steps}; the same call or command goes on")
        trainer.strategy.barrier("saved")

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Close the files."""
        if self._metrics:
            self._metrics.close()

    def _look(self, trainer: pl.Trainer, module: VideoTraining, asked: bool) -> bool:
        """Read the device: raise if a loss was not finite, on all ranks alike; else whether any was asked to stop."""
        meter, reduce = module.meter, trainer.strategy.reduce
        meter.loss.copy_(reduce(meter.loss, reduce_op="mean"))
        bad = float(reduce(meter.bad, reduce_op="min"))
        stop = reduce(torch.tensor(float(asked), device=module.device), reduce_op="max")
        if bad < math.inf:
            raise self._explain(trainer, module, int(bad))
        return bool(stop)

    def _explain(self, trainer: pl.Trainer, module: VideoTraining, bad: int) -> ZooError:
        good = self.folder / "checkpoints" / "last.ckpt"
        checkpoint = load_checkpoint(good)
        module.start(checkpoint)
        cause = find_cause(trainer, module, bad)
        training, rate = module.recipe.training, module.recipe.learning_rate
        norm = training.clip_norm or math.inf
        remedies = [f"a learning_rate.base below {rate.base:g}", f"a training.clip_norm below {norm:g}"]
        if "16" in training.precision:
            remedies.append(f"training.precision 32-true instead of {training.precision}")
        return ZooError(
            f"training stopped: step {bad} gave values that are not finite, first {cause}; {good} keeps the weights of "
            f"step {checkpoint['step']}. Try {' or '.join(remedies)}"
        )

    def _close_row(self, trainer: pl.Trainer, module: VideoTraining, stop: bool, abandon: Callable[[], bool]) -> None:
        """Validate if due, write the row, save. Where `stop` or `abandon()` prevents the validation, it and the row are
        left to the next session."""
        step, last = module.step, module.step == module.recipe.training.steps
        row, speed = self._measured(module), self.reporter.speed(step)
        improved, validating = False, validation_due(module)
        if validating:
            if self._save_due() and not last:
                self._save(trainer, module, "last")
            abandon = _never if last or trainer.world_size > 1 else abandon
            self.reporter.busy("validating")
            found = None if stop and not last else module.validate(abandon)
            if found is None:
                self._stop(trainer, module)
                return
            row |= {"validation_loss": found.loss, "validation_mse": found.mse}
            improved = self._observe(module, found)
        row["seconds"] = self._seconds()
        module.meter.reset()
        self._standing.row = step
        if self._metrics:
            self._metrics.write(row)
        self.reporter.row(row, speed)
        if improved:
            self._save(trainer, module, "best")
        every = module.recipe.training.save_every
        if every and step % every == 0:
            self._save(trainer, module, f"step-{step}")
        if validating or last or stop or self._save_due():
            self._save(trainer, module, "last")
        trainer.should_stop = trainer.should_stop or stop or self._standing.stalled(module.recipe.training.early_stop)

    def _measured(self, module: VideoTraining) -> dict[str, float]:
        meter, step = module.meter, module.step
        return {
            "step": step,
            "loss": float(meter.loss) / max(1, meter.steps),
            "gradient_norm": float(meter.norm),
            "ratio": module.sampling.ratio(step - 1),
            "rate": module.rate.rate(step - 1),
        }

    def _observe(self, module: VideoTraining, found: Validation) -> bool:
        """Tell the rules; whether it is the best so far."""
        step, standing = module.step, self._standing
        module.sampling.observe(step, found.loss)
        module.rate.observe(step, found.loss, module.sampling.fall(step))
        standing.validated = step
        improved = found.loss < standing.best
        standing.stale = 0 if improved else standing.stale + 1
        standing.best = min(found.loss, standing.best)
        return improved

    def _stop(self, trainer: pl.Trainer, module: VideoTraining) -> None:
        self._save(trainer, module, "last")
        trainer.should_stop = True

    def _save(self, trainer: pl.Trainer, module: VideoTraining, name: str) -> None:
        if name == "last":
            self._saved = time.monotonic()
        if trainer.is_global_zero:
            self._standing.seconds = self._seconds()
            checkpoint = module.checkpoint() | {"progress": asdict(self._standing)}
            save_checkpoint(checkpoint, self.folder / "checkpoints" / f"{name}.ckpt")

    def _save_due(self) -> bool:
        return time.monotonic() - self._saved > SAVE_SECONDS

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self.began

    def _asked(self) -> bool:
        return bool(self.interrupt.signal) or time.monotonic() - self.began > self._limit

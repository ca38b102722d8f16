"""The model in training, as Lightning sees it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from zoo.data import ClipDataset
from zoo.settings import Recipe
from zoo.training.batches import StepSampler
from zoo.training.learning_rates import make_rate
from zoo.training.metrics_log import Meter
from zoo.training.scheduled_sampling import draw_truth, make_sampling
from zoo.video_model import VideoModel


class Validation(NamedTuple):
    """Averages over the validation clips: the training loss, and the squared error of a predicted frame, in pixels."""

    loss: float
    mse: float


class VideoTraining(pl.LightningModule):
    """A model, its loss, its optimiser and its rules. Everything it does in a step follows from the step's number.

    Args:
        recipe: of the run.
        model: to be trained.
        train: training clips.
        val: validation clips.
    """

    def __init__(self, recipe: Recipe, model: VideoModel, train: ClipDataset, val: ClipDataset) -> None:
        super().__init__()
        self.recipe, self.model, self.clips, self.val = recipe, model, train, val
        self.epoch = max(1, -(-recipe.data.clips_per_epoch // recipe.training.batch_size))
        self.sampling = make_sampling(recipe.sampling, self.epoch)
        self.rate = make_rate(recipe.learning_rate, self.epoch, recipe.training.steps)
        self.step = 0
        self.meter: Meter
        self._loss = torch.zeros(())

    def start(self, checkpoint: dict[str, Any] | None) -> None:
        """Go on from a checkpoint, or from the beginning; the trainer stands."""
        assert isinstance(self.dtype, torch.dtype)
        self.meter = Meter(self.device, torch.promote_types(self.dtype, torch.float32))
        if checkpoint is not None:
            self.step = checkpoint["step"]
            self.model.load_state_dict(checkpoint["weights"])
            self.trainer.optimizers[0].load_state_dict(checkpoint["optimizer"])
            self.trainer.precision_plugin.load_state_dict(checkpoint["precision"])
            self.sampling.load_state_dict(checkpoint["sampling"])
            self.rate.load_state_dict(checkpoint["rate"])
            self.meter.load_state_dict(checkpoint["meter"])

    def checkpoint(self) -> dict[str, Any]:
        """All that `start` needs, and what the model is."""
        return {
            "model": self.recipe.model,
            "options": self.recipe.options,
            "step": self.step,
            "weights": self.model.state_dict(),
            "optimizer": self.trainer.optimizers[0].state_dict(),
            "precision": self.trainer.precision_plugin.state_dict(),
            "sampling": self.sampling.state_dict(),
            "rate": self.rate.state_dict(),
            "meter": self.meter.state_dict(),
        }

    def loader(self, start: int, rank: int, ranks: int) -> DataLoader[Any]:
        """This rank's batches from step `start` on."""
        training, data = self.recipe.training, self.recipe.data
        sampler = StepSampler(
            training.seed,
            data.clips_per_epoch,
            training.batch_size,
            training.steps,
            endless=data.endless,
            start=start,
            rank=rank,
            ranks=ranks,
        )
        return DataLoader(
            self.clips,  # type: ignore[arg-type]
            batch_sampler=sampler,
            collate_fn=_as_fetched,
            num_workers=training.num_workers,
            pin_memory=self.recipe.training.accelerator != "cpu" and torch.cuda.is_available(),
            generator=torch.Generator(),  # or the loader would draw from the global one
        )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam; its rate is set before every step."""
        # gradients scaled for 16 bits must be unscaled before they are clipped, which the fused form does not allow
        fused = (self.device.type == "cuda" and self.recipe.training.precision != "16-mixed") or None
        return torch.optim.Adam(self.model.parameters(), lr=self.recipe.learning_rate.base, fused=fused)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the learning rate."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.rate.rate(self.step)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of this rank's share of the step."""
        training, data = self.recipe.training, self.recipe.data
        clips = self.clips.render(batch).to(self.dtype)
        each = len(clips)
        first = self.global_rank * each
        horizon = data.length - data.observed
        use_truth = draw_truth(
            training.seed,
            self.step,
            range(first, first + each),
            training.batch_size,
            self.sampling.ratios(self.step, data.observed, horizon),
        )
        predictions = self.model(clips[:, : data.observed], horizon, clips[:, data.observed :], use_truth)
        loss = self.model.loss(predictions, clips, training.l1, training.l2)
        self._loss = loss.detach()
        return loss

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """Clip by the global norm, and note on the device whether all was finite."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.recipe.training.clip_norm > 0:
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), self.recipe.training.clip_norm, norm)
        finite = self._loss.isfinite()
        if self.recipe.training.precision != "16-mixed":  # there an overflow only lowers the scale
            finite = finite & norm.isfinite()
        self.meter.update(self.step, self._loss, norm, finite)

    @torch.no_grad()
    def validate(self, stop: Callable[[], bool]) -> Validation | None:
        """Look at every validation clip once, free-running; None if `stop()` says so on the way."""
        data, training = self.recipe.data, self.recipe.training
        count = min(training.validation_clips or len(self.val), len(self.val))
        mine = range(self.global_rank, count, self.trainer.world_size)
        each = training.batch_size // self.trainer.world_size
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.model.eval()
        try:
            for first in range(0, len(mine), each):
                if stop():
                    return None
                sums += self._validate_batch(mine[first : first + each], data.observed)
        finally:
            self.model.train()
        total = self.trainer.strategy.reduce(sums, reduce_op="sum")
        loss, mse, clips = total.tolist()
        return Validation(loss / clips, mse / clips)

    def _validate_batch(self, indices: Sequence[int], observed: int) -> Tensor:
        """Sums of the loss and the squared error of a predicted frame over the clips, and their number."""
        clips = self.val.clips(indices, self.device).to(self.dtype)
        with self.trainer.precision_plugin.val_step_context():
            predictions = self.model(clips[:, :observed], clips.shape[1] - observed)
        loss = self.model.loss(predictions, clips, self.recipe.training.l1, self.recipe.training.l2)
        future = clips[:, observed:]
        error = (predictions[:, -future.shape[1] :] - future).double().square().sum() / future.shape[1]
        return torch.stack([loss.double() * len(clips), error, error.new_tensor(len(clips))])


def _as_fetched(plan: Any) -> Any:
    return plan

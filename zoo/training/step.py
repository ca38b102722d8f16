"""One training step, and the state that it changes.

The training loop (`zoo.training.loop`), the search for the cause of a loss that is not finite
(`zoo.training.nonfinite`) and `zoo benchmark` all use this step. On a GPU it is recorded as a CUDA graph
(`zoo.training.graph`). This is possible because everything that changes from step to step is passed as a tensor; see
`StepInputs`.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.data import ClipDataset
from zoo.errors import ZooError, nearest
from zoo.model_files.building import check_tensors
from zoo.predictors.predictor import Predictor
from zoo.predictors.recurrent import RecurrentPredictor
from zoo.predictors.series_model import SeriesModel
from zoo.predictors.video_model import VideoModel, check_predicted_shape
from zoo.schema import shortened
from zoo.settings import Recipe
from zoo.training.batches import StepSampler
from zoo.training.devices import keep_channels_last
from zoo.training.learning_rates import make_rate
from zoo.training.metrics_log import Meter
from zoo.training.optimizers import load_moments, make_optimizer, moments_like
from zoo.training.scheduled_sampling import draw_truth, make_sampling


class StepInputs(NamedTuple):
    """What a step reads besides the state: everything that changes from one step to the next.

    Args:
        batch: this process's share of the clips, as `ClipDataset.render` takes it.
        use_truth: the mask of scheduled sampling; see `Predictor.forward`.
        number: the number of the step, int64 `()`.
        rate: the learning rate: a float32 tensor `()` if the step can be recorded, otherwise a number.
    """

    batch: Any
    use_truth: Tensor
    number: Tensor
    rate: Tensor | float


def recordable(fabric: Fabric, precision: str) -> bool:
    """Whether a step has the same operators every time and never waits for the device, so that it can be recorded.

    This holds on a GPU, and recorded and unrecorded steps compute the same bits. With 16-mixed it does not hold,
    because after each step the CPU decides whether the gradients have overflowed.
    """
    return fabric.device.type == "cuda" and precision != "16-mixed"


class TrainState:
    """What training changes: weights, optimiser, schedules, running sums, and the number of steps.

    Everything in a step follows from this state and the number of the step. So a run that is resumed from a checkpoint
    computes the same as an uninterrupted run.

    Args:
        fabric: the Fabric, already launched if there are several processes.
        recipe: all settings of the run.
        model: the model to train. It is moved to Fabric's device and precision in place.
        clips: the training clips.
        val: the validation clips.

    Attributes:
        network: the model itself, for everything that must not be synchronised between processes.
        model: the model as set up by Fabric: its `forward` and `loss` synchronise the gradients.
        step: the number of steps taken.
        epoch: the number of steps in an epoch.
        dtype: the dtype of weights and clips.
        recordable: whether a step can be recorded; see the function `recordable`.
        own_loss: whether the model has a loss of its own, so that in training it may return other things than steps.
    """

    def __init__(self, fabric: Fabric, recipe: Recipe, model: Predictor, clips: ClipDataset, val: ClipDataset) -> None:
        self.fabric, self.recipe, self.network, self.clips, self.val = fabric, recipe, model, clips, val
        self.recordable = recordable(fabric, recipe.training.precision)
        self.own_loss = type(model).loss not in (VideoModel.loss, SeriesModel.loss)
        self.model: Any = fabric.setup_module(model)
        self.model.mark_forward_method("loss")
        if isinstance(model, RecurrentPredictor):
            model.look_ahead = not self.recordable
        if self.recordable:
            keep_channels_last(model)
        optimizer = make_optimizer(recipe.optimizer, model.parameters(), recipe.learning_rate.base, self.recordable)
        self.optimizer: Any = fabric.setup_optimizers(optimizer)
        self.epoch = max(1, -(-recipe.data.clips_per_epoch // recipe.training.batch_size))
        self.sampling = make_sampling(recipe.sampling, self.epoch)
        self.learning_rate = make_rate(recipe.learning_rate, self.epoch, recipe.training.steps)
        self.dtype = next(model.parameters()).dtype
        self._names = [name for name, _ in model.named_parameters()]  # in the optimiser's order
        self.meter = Meter(fabric.device, torch.promote_types(self.dtype, torch.float32))
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        """The state that `load_state_dict` restores, with the name of the model."""
        return {
            "model": self.recipe.model,
            "options": self.recipe.options,
            "step": self.step,
            "weights": self.network.state_dict(),
            "optimizer": {self._names[i]: state for i, state in self.optimizer.state_dict()["state"].items()},
            "precision": self.fabric.strategy.precision.state_dict(),
            "sampling": self.sampling.state_dict(),
            "learning_rate": self.learning_rate.state_dict(),
            "meter": self.meter.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], where: str) -> None:
        """Restore the state of a checkpoint.

        Args:
            state: the checkpoint, as `load_checkpoint` returns it.
            where: the checkpoint's path, for error messages.

        Raises:
            ZooError: if it does not fit this model or its schedules; then nothing is changed.
        """
        self._check(state, where)
        self.step = state["step"]
        self.network.load_state_dict(state["weights"])
        moments = {i: state["optimizer"][name] for i, name in enumerate(self._names) if name in state["optimizer"]}
        load_moments(self.optimizer.optimizer, moments)
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.sampling.load_state_dict(state["sampling"])
        self.learning_rate.load_state_dict(state["learning_rate"])
        self.meter.load_state_dict(state["meter"])

    def _check(self, state: dict[str, Any], where: str) -> None:
        """Raise a ZooError unless a checkpoint has the same structure as this state."""
        own = self.state_dict()
        check_tensors(state["weights"], own["weights"], f"{where}: weights of another model", exact=True)
        for name, moments in state["optimizer"].items():
            if name not in self._names:
                raise ZooError(f"{where}: optimizer: the model has no {shortened(name)}; {nearest(name, self._names)}")
            own_moments = moments_like(self.recipe.optimizer, own["weights"][name])
            check_tensors(moments, own_moments, f"{where}: optimizer: {name}", exact=True)
        sums = {name: own["meter"][name] for name in ("loss", "norm")}
        check_tensors({name: state["meter"][name] for name in sums}, sums, f"{where}: meter", exact=True)
        for part in ("precision", "sampling", "learning_rate"):
            kinds, expected = ({name: type(value) for name, value in each[part].items()} for each in (state, own))
            if kinds != expected:
                raise ZooError(f"{where}: {part} = {shortened(state[part])} must be like {own[part]}")

    def measured(self) -> dict[str, float]:
        """The row of metrics of the interval that ends with the step that was just taken."""
        return {
            "step": self.step,
            "loss": float(self.meter.loss) / max(1, int(self.meter.steps)),
            "gradient_norm": float(self.meter.norm),
            "sampling_ratio": self.sampling.ratio(self.step - 1),
            "learning_rate": self.learning_rate.rate(self.step - 1),
        }

    def batches(self) -> Iterator[Any]:
        """This process's share of each batch from step `step` on, on the device, as `ClipDataset.render` takes it."""
        training, data, fabric = self.recipe.training, self.recipe.data, self.fabric
        times = 2 if training.backwards else 1  # number of steps with each batch
        sampler = StepSampler(
            training.seed,
            data.clips_per_epoch,
            training.batch_size,
            -(-training.steps // times),
            endless=data.endless,
            start=self.step // times,
            rank=fabric.global_rank,
            ranks=fabric.world_size,
        )
        loader: DataLoader[Any] = DataLoader(
            _Fetched(self.clips),
            sampler=sampler,
            batch_size=None,  # the sampler yields whole batches
            collate_fn=_as_fetched,
            num_workers=training.num_workers,
            pin_memory=fabric.device.type == "cuda",
            generator=torch.Generator(),  # otherwise the loader would draw from the global generator
        )
        left = training.steps - self.step
        skipped = self.step % times  # steps with the first batch that the last session took
        for batch in loader:
            on_device = fabric.to_device(batch)
            for _ in range(min(times - skipped, left)):
                left -= 1
                yield on_device
            skipped = 0

    def inputs(self, batch: Any) -> StepInputs:
        """The inputs of the next step, on the device. `batch` comes from `batches`.

        The random numbers that the model draws are an input too, so torch's generators are seeded here. In the step
        itself this is impossible: a recorded step reads the seed when it is replayed, but cannot set it.
        """
        seed_step(self)
        recipe, device = self.recipe, self.fabric.device
        observed, horizon = recipe.data.observed, recipe.data.length - recipe.data.observed
        count = len(batch[0])
        first = self.fabric.global_rank * count
        drawn = self.step - self.step % 2 if recipe.training.backwards else self.step  # both directions share a mask
        use_truth = draw_truth(
            recipe.training.seed,
            drawn,
            range(first, first + count),
            recipe.training.batch_size,
            self.sampling.ratios(drawn, observed, horizon),
        )
        if device.type == "cuda":
            use_truth = use_truth.pin_memory().to(device, non_blocking=True)
        number, rate = torch.full((), self.step, device=device), self.learning_rate.rate(self.step)
        if self.recordable:
            return StepInputs(batch, use_truth, number, torch.full((), rate, device=device))
        return StepInputs(batch, use_truth, number, rate)


def seed_step(state: TrainState) -> None:
    """Seed torch's generators of the CPU and the device, as a function of the run's seed, the step and the process.

    So a model that draws from them, as a dropout does, draws the same in each run and after each resumption.
    """
    key = (state.step, state.fabric.global_rank)
    seed = int(np.random.SeedSequence(state.recipe.training.seed, spawn_key=key).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(seed)
    if state.fabric.device.type != "cpu":
        torch.get_device_module(state.fabric.device).manual_seed(seed)


def own_generators(device: torch.device) -> AbstractContextManager[None]:
    """Context manager after which torch's generators, of the CPU and of a CUDA device, have their earlier state."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def train_step(state: TrainState, inputs: StepInputs) -> None:
    """Take one step, and add its loss to `state.meter`. The caller increases `state.step`.

    Nothing here waits for the device. Of the numbers on the CPU, only the settings have an effect.

    Args:
        state: the state, which is changed in place.
        inputs: the inputs of the step, from `state.inputs`.

    Raises:
        ZooError: if the predictions have a wrong shape.
    """
    recipe, fabric = state.recipe, state.fabric
    observed, horizon = recipe.data.observed, recipe.data.length - recipe.data.observed
    for group in state.optimizer.param_groups:
        group["lr"] = inputs.rate

    clips = state.clips.render(inputs.batch).to(state.dtype)  # (B, T, …)
    if recipe.training.backwards:
        clips = torch.where(inputs.number % 2 == 1, clips.flip(1), clips)
    with fabric.autocast():
        predictions = state.model(clips[:, :observed], horizon, clips[:, observed:], inputs.use_truth)
        if not state.own_loss:
            check_predicted_shape(predictions, clips[:, :observed], horizon)
        loss = state.model.loss(predictions, clips, **recipe.training.loss_weights)

    state.optimizer.zero_grad(set_to_none=not state.recordable)  # a recorded step needs them at the same addresses
    fabric.backward(loss)
    norm = clip_gradients(state)
    state.optimizer.step()

    loss = loss.detach()
    finite = loss.isfinite()
    if recipe.training.precision != "16-mixed":  # in 16-mixed an overflow only lowers the scale
        finite = finite & norm.isfinite()
    state.meter.update(inputs.number, loss, norm, finite)


def clip_gradients(state: TrainState) -> Tensor:
    """Scale the gradients down to the global norm `training.clip_norm`, and return their norm before the scaling."""
    state.fabric.strategy.precision.unscale_gradients(state.optimizer.optimizer)  # has an effect in 16-mixed only
    parameters = list(state.network.parameters())
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if state.recipe.training.clip_norm > 0:
        torch.nn.utils.clip_grads_with_norm_(parameters, state.recipe.training.clip_norm, norm)
    return norm


class _Fetched(Dataset[Any]):
    """What `ClipDataset.fetch` returns for a batch, so that clips are rendered on the device of the training."""

    def __init__(self, clips: ClipDataset) -> None:
        self.clips = clips

    def __getitem__(self, indices: Sequence[int]) -> Any:
        return self.clips.fetch(indices)


def _as_fetched(batch: Any) -> Any:
    return batch

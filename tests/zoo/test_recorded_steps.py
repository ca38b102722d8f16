"""A training step can be recorded as a CUDA graph and replayed: shown on the CPU, with graphs that are imitated.

What needs the real ones, memory pools and streams, is in `tests/cuda`.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from tests.support.recording import Operators, Tape, Unrecordable, imitate_graphs, only_recordable
from tests.support.runs import RECIPE, Tiny, last, rows, same, with_training
from zoo.data import make_dataset
from zoo.errors import ZooError
from zoo.model_files.building import build_model
from zoo.registry import find_model, register
from zoo.settings import CosineRate, LinearSampling, PlateauSampling, Recipe, ReverseSampling, SGDOptimizer
from zoo.training import fit
from zoo.training.devices import make_fabric
from zoo.training.graph import Graphed
from zoo.training.step import StepInputs, TrainState, train_step

SHORT = replace(
    with_training(steps=7, log_every=3, validate_every=3, save_every=0, clip_norm=0.05),
    sampling=LinearSampling(stop=6),
    learning_rate=CosineRate(base=0.1),
)
STACK = {"hidden": [3, 4], "layers": [1, 1], "kernel": 3, "patch": 4}
ZIGZAG = {"hidden": [3, 4], "kernel": 3, "patch": 4}
MODELS = {"test-tiny": {}, "conv-lstm": STACK, "conv-tt-lstm-sw": STACK, "conv-tt-lstm-fw": STACK, "predrnn-pp": ZIGZAG}


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """Graphs are imitated on the CPU; the replays, as they come."""
    return imitate_graphs(monkeypatch)


def a_state(recipe: Recipe = RECIPE) -> TrainState:
    clips = make_dataset(recipe.data, "train")
    return TrainState(make_fabric(recipe.training), recipe, build_model(recipe), clips, clips)


def some_inputs(state: TrainState, ratio: float = 0.5, step: int = 0, rate: float = 0.1) -> StepInputs:
    generator = torch.Generator().manual_seed(step)
    inputs = state.inputs(state.clips.fetch([(step + n) % 10 for n in range(4)]))
    use_truth = torch.rand(inputs.use_truth.shape, generator=generator) < ratio
    return inputs._replace(use_truth=use_truth, number=torch.tensor(step), rate=torch.tensor(rate))


# ---- a replayed step is the step ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_recorded_training_has_the_bits_of_plain_training(model: str, tmp_path: Path, replays: list[Tape]) -> None:
    """While the sampling ratio falls and the rate decays; the gradients are clipped in every step."""
    recipe = replace(SHORT, model=model, options=MODELS[model])
    for name, graph in (("plain", False), ("graph", True)):
        fit(replace(recipe, training=replace(recipe.training, graph=graph)), tmp_path / name, progress=False)
        assert len(replays) == (4 if graph else 0)  # the first three warm up
    assert same(last(tmp_path / "plain"), last(tmp_path / "graph"))
    assert rows(tmp_path / "plain") == rows(tmp_path / "graph")
    ratios, rates = ({row[name] for row in rows(tmp_path / "graph")} for name in ("sampling_ratio", "learning_rate"))
    assert min(len(ratios), len(rates)) > 1
    assert all(float(row["gradient_norm"]) > 0.05 for row in rows(tmp_path / "graph"))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_in_every_precision(precision: str, tmp_path: Path, replays: list[Tape]) -> None:
    recipe = replace(with_training(steps=6, precision=precision), model="conv-tt-lstm-sw", options=STACK)
    for name, graph in (("plain", False), ("graph", True)):
        fit(replace(recipe, training=replace(recipe.training, graph=graph)), tmp_path / name, progress=False)
    assert len(replays) == 3
    assert same(last(tmp_path / "plain"), last(tmp_path / "graph"))


def test_with_momentum(tmp_path: Path, replays: list[Tape]) -> None:
    recipe = replace(SHORT, optimizer=SGDOptimizer())
    for name, graph in (("plain", False), ("graph", True)):
        fit(replace(recipe, training=replace(recipe.training, graph=graph)), tmp_path / name, progress=False)
    assert same(last(tmp_path / "plain"), last(tmp_path / "graph"))


@pytest.mark.parametrize("schedule", [PlateauSampling(patience=0, decay=0.2), ReverseSampling(stop=6)])
def test_in_every_way_of_sampling(schedule: Any, tmp_path: Path, replays: list[Tape]) -> None:
    recipe = replace(SHORT, sampling=schedule)
    for name, graph in (("plain", False), ("graph", True)):
        fit(replace(recipe, training=replace(recipe.training, graph=graph)), tmp_path / name, progress=False)
    assert same(last(tmp_path / "plain"), last(tmp_path / "graph"))


def test_a_run_is_resumed_by_either_path_and_by_a_cpu(
    tmp_path: Path, replays: list[Tape], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a graph, without one, and as a CPU takes its steps; only the last rounds otherwise."""
    recipe = replace(with_training(steps=16, log_every=1, precision="64-true"), model="conv-lstm", options=STACK)
    recipe = replace(recipe, learning_rate=replace(recipe.learning_rate, base=0.25))  # which has few bits

    def train(folder: Path, until: int, graph: bool = False, recorded: bool = True) -> None:
        monkeypatch.setattr("zoo.training.step.recordable", lambda fabric, precision: recorded)
        monkeypatch.setattr("zoo.training.session.Session.stop_asked", lambda session: session.state.step >= until)
        fit(replace(recipe, training=replace(recipe.training, graph=graph)), folder, progress=False)

    def weights_apart() -> float:
        pairs = zip(*(last(tmp_path / name)["weights"].values() for name in ("unbroken", "broken")), strict=True)
        return max(float((a - b).abs().max()) for a, b in pairs)

    train(tmp_path / "broken", 5, graph=True)
    train(tmp_path / "broken", 8)
    train(tmp_path / "unbroken", 8)
    assert len(replays) == 2
    assert same(last(tmp_path / "unbroken"), last(tmp_path / "broken"))
    train(tmp_path / "broken", 10, recorded=False)
    train(tmp_path / "broken", 16, graph=True)
    train(tmp_path / "unbroken", 16)
    assert len(replays) == 5
    assert weights_apart() < 1e-12


def test_other_shapes_are_recorded_anew(replays: list[Tape]) -> None:
    seen: list[torch.Size] = []
    total = torch.zeros(())

    def run(x: Tensor) -> Tensor:
        seen.append(x.shape)
        total.add_(x.sum())
        return 2 * x

    graphed = Graphed(run, warm_up=1)
    for size in (3, 3, 3, 5, 5, 5, 3):
        x = torch.full((size,), float(size))
        assert torch.equal(graphed(x), 2 * x)
    assert [len(shape) and shape[0] for shape in seen] == [3, 3, 5, 5, 3]
    assert len(replays) == 4
    assert float(total) == 4 * 9 + 3 * 25


def test_what_is_loaded_into_a_state_is_where_the_graph_looks(replays: list[Tape]) -> None:
    state, other = a_state(), a_state()
    step, inputs = Graphed(partial(train_step, state)), [some_inputs(state, step=n) for n in range(8)]
    for x in inputs:
        step(x)
    assert len(replays) == 5
    checkpoint = copy.deepcopy(state.state_dict())
    for x in inputs[:2]:
        step(x)
    state.load_state_dict(checkpoint, "")
    other.load_state_dict(checkpoint, "")
    for x in inputs[2:4]:
        step(x)
        train_step(other, x)
    assert len(replays) == 9
    assert same(state.state_dict(), other.state_dict())


def test_a_checkpoint_brings_numbers_and_not_how_they_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In either direction between a CPU and a GPU."""
    states = []
    for recorded in (False, True):
        monkeypatch.setattr("zoo.training.step.recordable", lambda fabric, precision, here=recorded: here)
        states.append(warm(replace(RECIPE, model="conv-lstm", options=STACK)))
    cpu, gpu = states
    checkpoints = [copy.deepcopy(state.state_dict()) for state in states]
    gpu.load_state_dict(checkpoints[0], "")
    cpu.load_state_dict(checkpoints[1], "")
    for state, fused, moments in ((cpu, None, checkpoints[1]), (gpu, True, checkpoints[0])):
        (group,) = state.optimizer.param_groups
        assert (group["fused"], group["capturable"]) == (fused, bool(fused))
        for p, expected in zip(group["params"], moments["optimizer"].values(), strict=True):
            assert state.optimizer.state[p]["exp_avg"].stride() == p.stride()
            assert torch.equal(state.optimizer.state[p]["exp_avg"], expected["exp_avg"])


# ---- nothing in a step asks the device, and nothing in it depends on the host ---------------------------------


@pytest.fixture
def recordable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps on the CPU are as they are on a GPU."""
    monkeypatch.setattr("zoo.training.step.recordable", lambda fabric, precision: True)


def warm(recipe: Recipe) -> TrainState:
    """A state after a step, with gradients and moments."""
    state = a_state(recipe)
    train_step(state, some_inputs(state))
    return state


@pytest.mark.parametrize("model", [name for name in zoo.list_models() if not name.startswith(("test-", "benchmark-"))])
@pytest.mark.usefixtures("recordable")
def test_a_step_can_be_recorded(model: str) -> None:
    """Of every model, in demonstration size; its operators are the same whatever the mask."""
    data: dict[str, Any] = {"observed": 3, "length": 6, "clips_per_epoch": 10}
    if find_model(model).reads == "video":
        data |= {"source": "embedded", "size": 32}
    recipe = zoo.recipe(model, "demo", data=data, training={"batch_size": 4, "accelerator": "cpu"})
    state = warm(recipe)
    inputs = some_inputs(state)
    places = [p.grad.data_ptr() for p in state.network.parameters()]
    with only_recordable():
        train_step(state, inputs)
    assert [p.grad.data_ptr() for p in state.network.parameters()] == places
    assert operators(state, some_inputs(state, ratio=0.0)) == operators(state, some_inputs(state, ratio=1.0))


@contextlib.contextmanager
def without_numbers(recipe: Recipe) -> Iterator[Callable[[], None]]:
    """A step on tensors that have a shape and a type, but no numbers."""
    inputs = some_inputs(a_state(recipe))
    with FakeTensorMode() as fake, pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "to", lambda self, *args, **kwargs: self)  # of which such tensors are not capable
        state = a_state(recipe)
        yield lambda: train_step(state, pytree.tree_map(fake.from_tensor, inputs))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.usefixtures("recordable")
def test_a_step_needs_no_numbers(model: str, precision: str) -> None:
    """It runs on tensors that have none, so no operator's result is looked at."""
    with without_numbers(replace(with_training(precision=precision), model=model, options=MODELS[model])) as step:
        step()
        step()


class Trained:
    """A state in which steps are recordable, and the operators of one of its steps; its `repr` is short."""

    def __init__(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("zoo.training.step.recordable", lambda fabric, precision: True)
            self.state = warm(replace(RECIPE, model="conv-tt-lstm-sw", options=STACK))
        self.operators = operators(self.state, some_inputs(self.state))


@pytest.fixture(scope="module")
def trained() -> Trained:
    return Trained()


def operators(state: TrainState, inputs: StepInputs) -> list[tuple[Any, ...]]:
    with Operators() as seen:
        train_step(state, inputs)
    return seen.calls


@given(
    ratio=st.sampled_from([0.0, 0.3, 1.0]),
    step=st.integers(0, 2**40),
    rate=st.floats(0, 1, width=32),
)
@settings(max_examples=12)
def test_the_operators_are_the_same_in_every_step(trained: Trained, ratio: float, step: int, rate: float) -> None:
    assert operators(trained.state, some_inputs(trained.state, ratio, step, rate)) == trained.operators


@pytest.mark.usefixtures("recordable")
def test_a_mask_that_is_looked_at_changes_them() -> None:
    state = warm(RECIPE)
    state.network.look_ahead = True
    some, all_true = (operators(state, some_inputs(state, ratio)) for ratio in (0.0, 1.0))
    assert some != all_true
    inputs = some_inputs(state)
    with only_recordable(), pytest.raises(Unrecordable, match="__int__"):
        train_step(state, inputs)


PLANTS = {
    "item": lambda x: x * x.detach().max().item(),
    "if": lambda x: x if x.sum() > 0 else 2 * x,
    "float": lambda x: x * float(x.detach().mean()),
    "a number": lambda x: x * torch.tensor(0.5),
    "to the host": lambda x: x + x.detach().cpu().mean(),
    "by name": lambda x: x + x.detach().to("cpu").mean(),
    "a mask": lambda x: x + x[x > 0].mean(),
    "masked_select": lambda x: x + x.masked_select(x > 0).mean(),
    "nonzero": lambda x: x + x.detach().nonzero().sum(),
    "another device": lambda x: x + torch.ones_like(x, device="meta").to(x),
}


@register("test-planted", paper="none")
class Planted(Tiny):
    """Its loss does something that cannot be recorded."""

    def __init__(self, plant: str) -> None:
        super().__init__()
        self.plant = PLANTS[plant]

    def loss(self, predictions: Tensor, clips: Tensor, **weights: float) -> Tensor:
        return super().loss(self.plant(predictions), clips, **weights)


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.usefixtures("recordable")
def test_what_cannot_be_recorded_is_noticed(plant: str) -> None:
    state = a_state(replace(RECIPE, model="test-planted", options={"plant": plant}))
    inputs = some_inputs(state)
    with only_recordable(), pytest.raises(Unrecordable):
        train_step(state, inputs)


@pytest.mark.parametrize("plant", ["item", "if", "float", "a mask", "masked_select", "nonzero"])
@pytest.mark.usefixtures("recordable")
def test_what_needs_numbers_is_noticed(plant: str) -> None:
    unknown = DataDependentOutputException, DynamicOutputShapeException
    with (
        without_numbers(replace(RECIPE, model="test-planted", options={"plant": plant})) as step,
        pytest.raises(unknown),
    ):
        step()


class Layouts(TorchDispatchMode):
    """Whether the tensors of convolutions lie channels last, and the shapes of those that are brought into a layout."""

    def __init__(self) -> None:
        super().__init__()
        self.last: set[bool] = set()
        self.reordered: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.last |= {x.is_contiguous(memory_format=torch.channels_last) for x in args[:2]}
        if func is torch.ops.aten.clone.default:
            self.reordered.append(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("model", ["conv-lstm", "conv-tt-lstm-sw", "predrnn-pp"])
@pytest.mark.usefixtures("recordable")
def test_tensors_lie_channels_last_from_end_to_end(model: str) -> None:
    """Weights are never reordered, and what grows with the clips is a frame each at the most."""
    reordered = []
    for length in (5, 8):
        recipe = replace(RECIPE, model=model, options=MODELS[model], data=replace(RECIPE.data, length=length))
        state = warm(recipe)
        inputs = some_inputs(state)
        with Layouts() as seen:
            train_step(state, inputs)
        assert seen.last == {True}
        assert not set(seen.reordered) & {tuple(p.shape) for p in state.network.parameters()}
        reordered.append(len(seen.reordered))
    assert reordered[1] - reordered[0] <= 3


def test_what_a_gpu_refuses_to_record_is_said(replays: list[Tape], monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def refuse(graph: Any, capture_error_mode: str) -> Iterator[None]:
        yield
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    graphed = Graphed(lambda x: x + 1, warm_up=0)
    with pytest.raises(ZooError, match=r"\(operation not permitted when stream is capturing\); set training.graph"):
        graphed(torch.ones(2))

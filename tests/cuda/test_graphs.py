"""Training steps recorded as CUDA graphs: their bits, their memory, their streams."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.runs import last, same
from zoo.data import make_dataset
from zoo.errors import ZooError
from zoo.model_files.building import build_model
from zoo.settings import (
    ConstantRate,
    CosineRate,
    LinearSampling,
    MovingMNISTData,
    Optimizer,
    Recipe,
    RMSPropOptimizer,
    SGDOptimizer,
    Training,
)
from zoo.training import fit
from zoo.training.devices import make_fabric
from zoo.training.graph import Graphed, fastest_step
from zoo.training.step import StepInputs, TrainState, train_step

STACK = {"hidden": [8, 16], "layers": [2, 1], "kernel": 3, "patch": 4}
RECIPE = Recipe(
    "conv-tt-lstm-sw",
    STACK,
    data=MovingMNISTData(size=32, observed=3, length=7, clips_per_epoch=32, source="embedded"),
    sampling=LinearSampling(stop=8),
    learning_rate=CosineRate(base=0.01),
    training=Training(
        steps=10, batch_size=8, clip_norm=0.05, log_every=4, validate_every=5, validation_clips=8, accelerator="gpu"
    ),
)
MODELS: dict[str, dict[str, Any]] = {
    "conv-lstm": STACK,
    "conv-tt-lstm-sw": STACK,
    "predrnn-pp": {"hidden": [8, 8], "kernel": 3, "patch": 4},
}


def with_training(**changes: Any) -> Recipe:
    return replace(RECIPE, training=replace(RECIPE.training, **changes))


def a_state(recipe: Recipe = RECIPE) -> TrainState:
    clips = make_dataset(recipe.data, "train")
    return TrainState(make_fabric(recipe.training), recipe, build_model(recipe), clips, clips)


def some_inputs(state: TrainState, step: int = 0, clips: int = 8) -> StepInputs:
    state.step = step
    return state.inputs(state.fabric.to_device(state.clips.fetch(range(clips))))


@pytest.fixture
def repeatable() -> Iterator[None]:
    """Algorithms as in training."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    yield
    cudnn.deterministic, cudnn.benchmark = before


def fit_both(recipe: Recipe, folder: Path) -> None:
    for name, graph in (("plain", False), ("graph", True)):
        fit(replace(recipe, training=replace(recipe.training, graph=graph)), folder / name, progress=False)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("model", MODELS)
def test_both_paths_give_the_same_bits(model: str, precision: str, tmp_path: Path) -> None:
    fit_both(replace(with_training(precision=precision), model=model, options=MODELS[model]), tmp_path)
    assert same(last(tmp_path / "plain"), last(tmp_path / "graph"))


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_in_other_precisions(precision: str, tmp_path: Path) -> None:
    fit_both(with_training(precision=precision), tmp_path)
    assert same(last(tmp_path / "plain"), last(tmp_path / "graph"))


@pytest.mark.parametrize("optimizer", [SGDOptimizer(), RMSPropOptimizer()])
def test_with_other_optimisers(optimizer: Optimizer, tmp_path: Path) -> None:
    fit_both(replace(RECIPE, optimizer=optimizer, learning_rate=ConstantRate(base=1e-3)), tmp_path)
    assert same(last(tmp_path / "plain"), last(tmp_path / "graph"))


def test_with_recomputed_frames(tmp_path: Path) -> None:
    fit_both(with_training(recompute=True), tmp_path)
    assert same(last(tmp_path / "plain"), last(tmp_path / "graph"))


def test_while_other_threads_load_and_pin_clips(tmp_path: Path) -> None:
    fit(with_training(), tmp_path / "one", progress=False)
    fit(with_training(num_workers=2), tmp_path / "more", progress=False)
    assert same(last(tmp_path / "one")["weights"], last(tmp_path / "more")["weights"])


def test_what_the_host_decides_is_not_recorded(tmp_path: Path) -> None:
    fit(with_training(precision="16-mixed"), tmp_path, progress=False)
    assert last(tmp_path)["step"] == 10


def test_with_the_fastest_algorithms(tmp_path: Path) -> None:
    fit(with_training(deterministic=False), tmp_path, progress=False)
    assert last(tmp_path)["step"] == 10


def test_a_run_goes_from_path_to_path_and_to_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = with_training(precision="64-true", steps=20)

    def train(folder: Path, until: int, **changes: Any) -> None:
        monkeypatch.setattr("zoo.training.session.Session.stop_asked", lambda session: session.state.step >= until)
        fit(replace(recipe, training=replace(recipe.training, **changes)), folder, progress=False)

    train(tmp_path / "broken", 6)
    train(tmp_path / "broken", 10, graph=False)
    train(tmp_path / "unbroken", 10)
    assert same(last(tmp_path / "unbroken"), last(tmp_path / "broken"))
    train(tmp_path / "broken", 12, accelerator="cpu")
    train(tmp_path / "broken", 20)
    train(tmp_path / "unbroken", 20)
    for name, weight in last(tmp_path / "unbroken")["weights"].items():
        torch.testing.assert_close(last(tmp_path / "broken")["weights"][name], weight, rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_not_finite_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"step \d+ gave values that are not finite, first "):
        fit(replace(RECIPE, learning_rate=ConstantRate(base=1e20)), tmp_path, progress=False)


# ---- memory and streams ---------------------------------------------------------------------------------------


def test_a_plain_step_waits_for_nothing(repeatable: None) -> None:
    state = a_state()
    for step in range(2):
        train_step(state, some_inputs(state, step))
    batch = state.fabric.to_device(state.clips.fetch(range(8)))
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        train_step(state, state.inputs(batch))
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_replays_take_no_more_memory(repeatable: None) -> None:
    state = a_state()
    step = fastest_step(state)
    for n in range(6):
        step(some_inputs(state, n))
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    for n in range(20):
        step(some_inputs(state, n))
    torch.cuda.synchronize()
    assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == before


def test_other_work_between_replays_does_not_disturb_them(repeatable: None) -> None:
    """Tensors of others come and go between two replays; the graph's own memory is not lent to them."""
    alone, disturbed = a_state(), a_state()
    steps = [Graphed(partial(train_step, state)) for state in (alone, disturbed)]
    for n in range(12):
        steps[0](some_inputs(alone, n))
        waste = [torch.full((2**20,), float("nan"), device="cuda") for _ in range(20)]
        steps[1](some_inputs(disturbed, n))
        del waste
        with torch.no_grad():
            disturbed.network(torch.rand(8, 3, 1, 32, 32, device="cuda"), 4)
    assert same(alone.state_dict(), disturbed.state_dict())


def test_a_graph_returns_its_memory() -> None:
    def reserved() -> int:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved()

    def record() -> int:
        state = a_state()
        step = fastest_step(state)
        for n in range(6):
            step(some_inputs(state, n))
        return reserved()

    record()  # libraries keep workspaces
    before = reserved()
    held = max(record() for _ in range(4)) - before
    assert held > 0
    assert reserved() - before < held


def test_on_another_stream(repeatable: None) -> None:
    expected, state = a_state(), a_state()
    for n in range(8):
        train_step(expected, some_inputs(expected, n))
    step = fastest_step(state)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for n in range(8):
            step(some_inputs(state, n))
    stream.synchronize()
    assert same(expected.state_dict(), state.state_dict())


def test_other_shapes_are_recorded_anew(repeatable: None) -> None:
    expected, state = a_state(), a_state()
    step = fastest_step(state)
    for n, clips in enumerate([8] * 5 + [4] * 5 + [8] * 5):
        train_step(expected, some_inputs(expected, n, clips))
        step(some_inputs(state, n, clips))
    assert same(expected.state_dict(), state.state_dict())


def test_a_checkpoint_is_loaded_where_the_graph_looks(repeatable: None) -> None:
    state = a_state()
    step = fastest_step(state)
    for n in range(5):
        step(some_inputs(state, n))
    checkpoint = copy.deepcopy(state.state_dict())
    for n in range(5, 8):
        step(some_inputs(state, n))
    expected = copy.deepcopy(state.state_dict())
    state.load_state_dict(checkpoint, "")
    for n in range(5, 8):
        step(some_inputs(state, n))
    assert same(expected, state.state_dict())


# ---- the slowest at the end -------------------------------------------------------------------------------------


def test_with_compiled_cells(tmp_path: Path) -> None:
    fit_both(with_training(precision="bf16-mixed", compile=True), tmp_path)
    assert same(last(tmp_path / "plain"), last(tmp_path / "graph"))

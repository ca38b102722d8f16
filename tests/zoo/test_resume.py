"""A run that is killed, stopped or interrupted and resumed ends as if nothing had happened."""

import signal
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tests.support.runs import RECIPE, Tiny, exit_code, last, rows, same, start, train_until, with_training
from zoo.registry import register
from zoo.settings import Optimizer, RMSPropOptimizer, SGDOptimizer
from zoo.training import fit
from zoo.training.step import seed_step

KILLS = [
    ("renaming", 3),
    ("writing", 1),
    ("forward", 3),
    ("row", 2),
    ("backward", 7),
    ("validation", 1),
    ("writing", 4),
    ("validation", 4),
    ("row", 3),
    ("forward", 8),
]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
    fit(RECIPE, folder, progress=False)
    return folder


def test_the_uninterrupted_run(uninterrupted: Path) -> None:
    metrics = rows(uninterrupted)
    assert [int(row["step"]) for row in metrics] == [3, 5, 6, 8, 9, 10, 12, 15, 16, 18, 20, 21, 24]
    assert [int(row["step"]) for row in metrics if row["validation_loss"]] == [3, 6, 9, 12, 15, 18, 21, 24]
    assert {path.name for path in (uninterrupted / "checkpoints").iterdir()} == {
        "best.ckpt", "last.ckpt", "step-8.ckpt", "step-16.ckpt", "step-24.ckpt"
    }  # fmt: skip
    assert last(uninterrupted)["step"] == last(uninterrupted)["progress"]["validated"] == 24
    ratios = {float(row["sampling_ratio"]) for row in metrics}
    assert min(ratios) == 0 < 1 == max(ratios), "the rules should have something to remember"


@pytest.mark.parametrize("save_seconds", [0.0, 1000.0])
def test_killed_again_and_again(tmp_path: Path, uninterrupted: Path, save_seconds: float) -> None:
    """SIGKILL in a forward pass, a backward pass, a validation, when a checkpoint is written or renamed, and before a
    row; saving at every row or only after validations."""
    folder = tmp_path / "run"
    for event, count in KILLS:
        process = start(train_until, RECIPE, folder, signal.SIGKILL, event, count, save_seconds)
        if exit_code(process) == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    else:
        fit(RECIPE, folder, progress=False)
    assert not list(folder.rglob(".*"))
    assert last(folder)["metrics"] == (folder / "metrics.csv").read_text()
    assert rows(folder) == rows(uninterrupted)
    for name in ("last", "best", "step-8", "step-16", "step-24"):
        assert same(last(folder, name), last(uninterrupted, name)), name


@pytest.mark.parametrize(("event", "count"), [("forward", 4), ("validation", 1), ("backward", 8)])
def test_interrupted(tmp_path: Path, uninterrupted: Path, event: str, count: int) -> None:
    """Ctrl-C loses no step: the checkpoint is that of the step it fell in."""
    folder = tmp_path / "run"
    process = start(train_until, RECIPE, folder, signal.SIGINT, event, count, 1000.0)
    assert exit_code(process) == 1  # KeyboardInterrupt
    assert last(folder)["step"] == {"forward": 4, "validation": 3, "backward": 8}[event]
    fit(RECIPE, folder, progress=False)
    assert rows(folder) == rows(uninterrupted)
    assert same(last(folder), last(uninterrupted))


def test_terminated(tmp_path: Path) -> None:
    process = start(train_until, RECIPE, tmp_path / "run", signal.SIGTERM, "forward", 4, 1000.0)
    assert exit_code(process) == 128 + signal.SIGTERM
    assert last(tmp_path / "run")["step"] == 4


def test_short_sessions(tmp_path: Path, uninterrupted: Path) -> None:
    """`max_time` ends a session after one step at least, and the last session ends the run."""
    folder = tmp_path / "run"
    for session in range(1, 30):
        run = fit(with_training(max_time=1e-9), folder, progress=False)
        if last(folder)["step"] == 24:
            break
        assert last(folder)["step"] <= session
    assert run.folder == folder
    assert rows(folder) == rows(uninterrupted)
    assert same(last(folder), last(uninterrupted))


@pytest.mark.parametrize("count", [1, 4, 6, 7, 9, 13, 15, 18, 24, 28, 33, 37, 40, 44])
def test_killed_while_its_folder_is_made(tmp_path: Path, count: int) -> None:
    """Before some of the first operations on files: from the first folder to the first checkpoint. The same call then
    trains as if nothing had happened."""
    recipe, folder = with_training(steps=2), tmp_path / "parent" / "run"
    process = start(train_until, recipe, folder, signal.SIGKILL, "file operation", count, 1000.0)
    assert exit_code(process) == -signal.SIGKILL
    assert not (folder / "checkpoints" / "last.ckpt").exists()
    fit(recipe, folder, progress=False)
    assert last(folder)["step"] == 2
    assert [row["step"] for row in rows(folder)] == ["2"]
    assert not list(folder.rglob(".*"))


@pytest.mark.parametrize("optimizer", [RMSPropOptimizer(), SGDOptimizer(), SGDOptimizer(momentum=0.0)])
def test_with_another_optimiser(tmp_path: Path, optimizer: Optimizer) -> None:
    recipe = replace(with_training(steps=4), optimizer=optimizer)
    fit(recipe, tmp_path / "unbroken", progress=False)
    for _ in range(4):
        session = replace(recipe, training=replace(recipe.training, max_time=1e-9))
        fit(session, tmp_path / "broken", progress=False)
    assert same(last(tmp_path / "unbroken"), last(tmp_path / "broken"))


@register("test-dropout", paper="none")
class Dropping(Tiny):
    """Draws random numbers: which values are dropped in training, and a little noise in validations too."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def read(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        predictions, state = super().read(self.drop(frames), state)
        return predictions + 0.01 * torch.rand_like(predictions), state


def test_random_numbers_follow_from_the_seed_and_the_step(tmp_path: Path) -> None:
    """And training leaves the caller's random numbers as they are."""
    recipe = replace(with_training(steps=7), model="test-dropout")
    before = torch.get_rng_state()
    fit(recipe, tmp_path / "unbroken", progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    fit(recipe, tmp_path / "again", progress=False)
    for _ in range(7):
        torch.rand(1)
        fit(replace(recipe, training=replace(recipe.training, max_time=1e-9)), tmp_path / "broken", progress=False)
    for other in ("again", "broken"):
        assert rows(tmp_path / other) == rows(tmp_path / "unbroken")
        assert same(last(tmp_path / other), last(tmp_path / "unbroken"))
    fit(replace(recipe, training=replace(recipe.training, seed=4)), tmp_path / "other", progress=False)
    assert rows(tmp_path / "other") != rows(tmp_path / "unbroken")


def test_each_step_and_process_draws_other_numbers() -> None:
    drawn = set()
    with torch.random.fork_rng(devices=[]):
        for seed, step, rank in product((0, 2**64 - 1), (0, 1), (0, 1)):
            training = SimpleNamespace(seed=seed)
            fabric = SimpleNamespace(global_rank=rank, device=torch.device("cpu"))
            seed_step(SimpleNamespace(step=step, fabric=fabric, recipe=SimpleNamespace(training=training)))  # type: ignore[arg-type]
            drawn.add(torch.rand(()).item())
    assert len(drawn) == 8


def test_a_finished_run_is_left_alone(uninterrupted: Path) -> None:
    before = {path: path.read_bytes() for path in uninterrupted.rglob("*") if path.is_file()}
    run = fit(RECIPE, uninterrupted, progress=False)
    assert run.step == 24
    assert last(uninterrupted)["metrics"] == (uninterrupted / "metrics.csv").read_text()
    assert before == {path: path.read_bytes() for path in uninterrupted.rglob("*") if path.is_file()}

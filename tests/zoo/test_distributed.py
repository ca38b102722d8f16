"""Several processes do what one does."""

import signal
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.runs import CLIFF, RECIPE, exit_code, free_port, last, rows, start, train_as_rank, with_training
from zoo.errors import ZooError
from zoo.model_files.building import build_model
from zoo.settings import LinearSampling, Recipe
from zoo.training import fit
from zoo.training.batches import StepSampler
from zoo.training.scheduled_sampling import draw_truth

DOUBLE = replace(
    with_training(precision="64-true", steps=20, log_every=1, validate_every=7),
    sampling=LinearSampling(start=0, stop=25),
)


def in_two(recipe: Recipe, folder: Path, event: str = "forward", count: int = 10**9) -> list[int | None]:
    """Exit codes of two gloo processes that train together, and are terminated at an event."""
    recipe = replace(recipe, training=replace(recipe.training, devices=2))
    port = free_port()
    processes = [start(train_as_rank, recipe, folder, rank, 2, port, event, count) for rank in range(2)]
    return [exit_code(process) for process in processes]


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    """Losses and validations, also over clips that do not divide by two, and the weights."""
    fit(DOUBLE, tmp_path / "one", progress=False)
    assert in_two(DOUBLE, tmp_path / "two") == [0, 0]
    seen = [(tmp_path / "two" / f"validated-{rank}.txt").read_text().split() for rank in range(2)]
    assert seen == [["0", "2", "4", "6"] * 3, ["1", "3", "5"] * 3]
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 20
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert bool(a[name]) == bool(b[name])
            if a[name]:
                np.testing.assert_allclose(float(a[name]), float(b[name]), rtol=0, atol=1e-8, err_msg=name)
    for name, weight in last(tmp_path / "one")["weights"].items():
        assert weight.dtype == torch.float64
        torch.testing.assert_close(weight, last(tmp_path / "two")["weights"][name], rtol=0, atol=1e-8)


def test_a_loss_with_layers_of_its_own(tmp_path: Path) -> None:
    """Their gradients too are those of all processes."""
    recipe = replace(DOUBLE, model="test-critic", training=replace(DOUBLE.training, steps=5))
    fit(recipe, tmp_path / "one", progress=False)
    assert in_two(recipe, tmp_path / "two") == [0, 0]
    one, two = (last(tmp_path / name)["weights"] for name in ("one", "two"))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-8)
    assert not torch.equal(one["critic.weight"], build_model(recipe).get_parameter("critic.weight").double())


def test_a_run_changes_its_number_of_processes(tmp_path: Path) -> None:
    fit(DOUBLE, tmp_path / "one", progress=False)
    fit(replace(DOUBLE, training=replace(DOUBLE.training, max_time=1e-9)), tmp_path / "two", progress=False)
    assert last(tmp_path / "two")["step"] == 1
    assert in_two(DOUBLE, tmp_path / "two") == [0, 0]
    for name, weight in last(tmp_path / "one")["weights"].items():
        torch.testing.assert_close(weight, last(tmp_path / "two")["weights"][name], rtol=0, atol=1e-8)


def test_processes_stop_together(tmp_path: Path) -> None:
    """Terminated in the fourth step, they end after the fifth, where they look; its validation is left for later."""
    recipe = with_training(validate_every=5)
    assert in_two(recipe, tmp_path / "run", "forward", 4) == [128 + signal.SIGTERM] * 2
    assert last(tmp_path / "run")["step"] == 5
    assert rows(tmp_path / "run") == []
    with pytest.warns(UserWarning, match="from step 5: processes was 2 and is 1"):
        fit(recipe, tmp_path / "run", progress=False)
    assert [row["step"] for row in rows(tmp_path / "run") if row["validation_loss"]] == ["5", "10", "15", "20", "24"]


SLURM = {"SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "3"}, r"does not match the world size \(3\)"),
        (SLURM | {"SLURM_NTASKS": "3", "SLURM_NTASKS_PER_NODE": "3"}, r"ntasks-per-node=3"),
    ],
)
def test_a_launcher_with_another_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ZooError, match=rf"devices = 1, nodes = 1.* do not work here: .*{message}"):
        fit(RECIPE, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_task_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (SLURM | {"SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1"}).items():
        monkeypatch.setenv(name, value)
    fit(with_training(steps=2), tmp_path / "run", progress=False)
    assert last(tmp_path / "run")["step"] == 2


def test_every_process_tells_what_went_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert in_two(CLIFF, folder) == [0, 0]
    errors = [(folder / f"error-{rank}.txt").read_text() for rank in range(2)]
    assert errors[0] == errors[1]
    assert "step 5 gave values that are not finite, first div with gain in the backward pass" in errors[0]


@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
def test_ranks_share_each_batch(ranks: int, endless: bool) -> None:
    settings = {"clips": 10, "batch": 6, "steps": 9, "endless": endless}
    whole = list(StepSampler(5, **settings))
    shares = [list(StepSampler(5, **settings, rank=rank, ranks=ranks)) for rank in range(ranks)]
    assert [list(chain(*parts)) for parts in zip(*shares, strict=True)] == whole


def test_draws_do_not_depend_on_the_ranks() -> None:
    whole = draw_truth(1, 4, range(6), 6, [0.5] * 9)
    assert torch.equal(torch.cat([draw_truth(1, 4, [sample], 6, [0.5] * 9) for sample in range(6)]), whole)


def test_batch_must_divide(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"batch_size = 4 cannot be divided among 3 processes; choose a multiple of 3"):
        fit(with_training(devices=3), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_the_loss_is_not_rounded_to_16_bits(tmp_path: Path, precision: str) -> None:
    """In one process and in two: the first loss is that of the same weights on the same clips."""
    recipe = with_training(precision=precision, steps=1, log_every=1)
    fit(recipe, tmp_path / "one", progress=False)
    assert in_two(recipe, tmp_path / "two") == [0, 0]
    one, two = (float(rows(tmp_path / name)[0]["loss"]) for name in ("one", "two"))
    assert one == pytest.approx(two, rel=1e-6)
    assert torch.tensor(two).bfloat16().item() != two

"""Several processes do what one does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from zoo_runs import RECIPE, exit_code, free_port, last, rows, start, train_as_rank, with_training

from zoo.errors import ZooError
from zoo.recipe import Recipe
from zoo.training import fit
from zoo.training.sampler import StepSampler
from zoo.training.sampling import draw_truth

DOUBLE = replace(with_training(precision="64-true", steps=20, finite_every=1, validate_every=7), data=RECIPE.data)


def in_two(recipe: Recipe, folder: Path) -> list[int | None]:
    """Exit codes of two gloo processes that train together."""
    recipe = replace(recipe, training=replace(recipe.training, devices=2))
    port = free_port()
    processes = [start(train_as_rank, recipe, folder, rank, 2, port) for rank in range(2)]
    return [exit_code(process) for process in processes]


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    """Losses and validations, also over clips that do not divide by two, and the weights."""
    fit(DOUBLE, tmp_path / "one", progress=False)
    assert in_two(DOUBLE, tmp_path / "two") == [0, 0]
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


def test_a_run_changes_its_number_of_processes(tmp_path: Path) -> None:
    fit(DOUBLE, tmp_path / "one", progress=False)
    half = replace(DOUBLE, training=replace(DOUBLE.training, max_time=1e-9))
    fit(half, tmp_path / "two", progress=False)
    assert last(tmp_path / "two")["step"] == 1
    assert in_two(DOUBLE, tmp_path / "two") == [0, 0]
    for name, weight in last(tmp_path / "one")["weights"].items():
        torch.testing.assert_close(weight, last(tmp_path / "two")["weights"][name], rtol=0, atol=1e-8)


@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
def test_ranks_share_each_batch(ranks: int, endless: bool) -> None:
    settings = {"clips": 10, "batch": 6, "steps": 9, "endless": endless}
    whole = list(StepSampler(5, **settings))
    shares = [list(StepSampler(5, **settings, rank=rank, ranks=ranks)) for rank in range(ranks)]
    assert [sum(parts, []) for parts in zip(*shares, strict=True)] == whole


def test_draws_do_not_depend_on_the_ranks() -> None:
    whole = draw_truth(1, 4, range(6), 6, 9, 0.5)
    assert torch.equal(torch.cat([draw_truth(1, 4, [sample], 6, 9, 0.5) for sample in range(6)]), whole)


def test_batch_must_divide(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"batch = 4 does not divide among 3 processes; take a multiple of 3"):
        fit(with_training(devices=3), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()

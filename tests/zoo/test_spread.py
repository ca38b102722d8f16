"""Confidence intervals: they contain the true mean as often as they say, however few clips there are."""

import numpy as np
import pytest
import torch

from zoo.evaluation.metrics import Mse
from zoo.evaluation.spread import half_interval, half_intervals, may_be_chance, student

TRIALS = 20_000


@pytest.mark.parametrize("count", [2, 3, 5, 10, 64])
def test_intervals_contain_the_mean_in_95_of_100_cases(count: int) -> None:
    values = torch.from_numpy(np.random.default_rng(count).normal(5, 1, (count, TRIALS)))
    halves = half_intervals(values.sum(0), values.square().sum(0), count, Mse())
    inside = ((values.mean(0) - 5).abs() <= halves).double().mean()
    assert inside == pytest.approx(0.95, abs=0.006)  # four standard errors of the simulation
    few = values[:, :2000].T.numpy()
    halves_alone = [half_interval(each, Mse()) for each in few]
    np.testing.assert_allclose(halves_alone, halves[:2000], rtol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_equal_models_are_told_apart_in_5_of_100_cases(count: int) -> None:
    one, other = np.random.default_rng(count).normal(size=(2, 4000, count))
    apart = np.mean([not may_be_chance(*pair) for pair in zip(one, other, strict=True)])
    assert apart == pytest.approx(0.05, abs=0.014)  # four standard errors of the simulation


def test_the_quantile_is_students() -> None:
    stats = pytest.importorskip("scipy.stats")
    freedoms = [*range(1, 60), 63, 200, 999, 1000, 1001, 1002, 4999, 10**6]
    np.testing.assert_allclose([student(each) for each in freedoms], stats.t.ppf(0.975, freedoms), rtol=1e-9)

"""Random indices of trains, and their largest and smallest entries with bounds that always hold."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tensortrain import TensorTrain
from tests.support.bad_input import check, table
from tests.support.trains import DTYPES, F64, gauged, integer_train, integer_trains

TRAIN = integer_train((3, 4, 2), (1, 2, 3, 1))


# ---- sampling


def frequencies(train: TensorTrain, indices: torch.Tensor) -> torch.Tensor:
    counts = torch.zeros(train.shape, dtype=F64)
    counts.index_put_(tuple(indices.unbind(1)), torch.ones(len(indices), dtype=F64), accumulate=True)
    return counts / len(indices)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", ["square", "value"])
def test_frequencies_are_the_density(density: str, dtype: torch.dtype) -> None:
    if density == "value" and dtype.is_complex:
        return
    train = TRAIN.to(dtype) if density == "square" else (TRAIN**2).to(dtype)
    dense = train.reconstruct().to(torch.complex128)
    weights = dense.abs() ** 2 if density == "square" else dense.real
    expected = weights / weights.sum()
    n = 40_000
    samples = train.sample(n, density=density, seed=1)
    assert samples.indices.dtype == torch.int64
    observed = frequencies(train, samples.indices)
    assert float(((observed - expected).abs() / (expected * (1 - expected) / n + 1e-12).sqrt()).max()) < 4.5
    assert float(observed[expected == 0].sum()) == 0
    probabilities = expected[samples.indices.unbind(1)]
    torch.testing.assert_close(samples.log_probabilities.exp(), probabilities.to(samples.log_probabilities.dtype))
    again = train.sample(n, density=density, seed=1)
    assert torch.equal(samples.indices, again.indices)
    assert not torch.equal(samples.indices, train.sample(n, density=density, seed=2).indices)


@pytest.mark.parametrize("density", ["square", "value"])
@pytest.mark.parametrize("reach", [300, 520])
def test_densities_do_not_depend_on_the_sizes_of_channels(reach: int, density: str) -> None:
    for seed in range(4):
        train = integer_train((2, 3, 2, 2), (1, 2, 3, 2, 1), seed) ** 2
        expected, actual = (each.sample(30, density=density, seed=1) for each in (train, gauged(train, reach, seed)))
        assert torch.equal(actual.indices, expected.indices)
        torch.testing.assert_close(actual.log_probabilities, expected.log_probabilities)


@given(integer_trains(ends=False), st.integers(0, 99))
def test_probabilities_are_those_of_the_entries(train: TensorTrain, seed: int) -> None:
    dense = train.reconstruct()
    if not bool(dense.any()):
        check(lambda: train.sample(2), "zero")
        return
    indices, logs = train.sample(5, seed=seed)
    torch.testing.assert_close(logs.exp(), (dense**2 / (dense**2).sum())[indices.unbind(1)])
    squares = train**2
    indices, logs = squares.sample(5, density="value", seed=seed)
    torch.testing.assert_close(logs.exp(), (dense**2 / (dense**2).sum())[indices.unbind(1)])


@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_densities_of_any_scale(scale: float) -> None:
    train = TensorTrain([TRAIN.cores[0] * scale, *TRAIN.cores[1:]])
    assert torch.equal(train.sample(20).indices, TRAIN.sample(20).indices)
    squares = TRAIN**2
    scaled = TensorTrain([squares.cores[0] * scale, *squares.cores[1:]])
    assert torch.equal(scaled.sample(20, density="value").indices, squares.sample(20, density="value").indices)


def test_a_long_train_whose_norm_no_number_can_hold() -> None:
    train = TensorTrain.ones((10,) * 700, F64)
    for density in ("square", "value"):
        indices, logs = train.sample(50, density=density)
        assert float(logs[0]) == pytest.approx(-700 * math.log(10))
        assert abs(float(indices.double().mean()) - 4.5) < 0.1


# ---- extremes


@given(integer_trains(ends=False), st.integers(1, 40))
def test_the_bound_always_holds_and_the_entry_is_a_true_one(train: TensorTrain, width: int) -> None:
    dense = train.reconstruct()
    largest, smallest = train.largest(width), train.smallest(width)
    assert largest.value == float(dense[largest.position])
    assert smallest.value == float(dense[smallest.position])
    assert largest.value <= float(dense.max()) <= largest.bound
    assert smallest.bound <= float(dense.min()) <= smallest.value
    assert largest.gap == largest.bound - largest.value >= 0
    if width >= dense.numel():
        assert largest.gap == smallest.gap == 0
        assert (largest.value, smallest.value) == (float(dense.max()), float(dense.min()))


def test_the_search_finds_the_largest_entry_and_proves_it() -> None:
    for seed in range(5):
        train = TensorTrain.random((8,) * 5, 3, seed=seed, dtype=F64)
        largest = float(train.reconstruct().max())
        bounds = [train.largest(width).bound for width in (2, 10, 50, 500)]
        assert bounds == sorted(bounds, reverse=True)
        assert bounds[0] < float(train.norm())
        assert bounds[0] > bounds[-1]
        assert bounds[-1] == pytest.approx(largest)
        assert train.largest(500).gap == 0
        assert train.largest(10).value >= 0.9 * largest


@pytest.mark.parametrize(
    ("dtype", "scale"), [(F64, 1e-170), (F64, 1e170), (torch.float32, 1e-30), (torch.float32, 1.0)]
)
def test_extremes_of_any_scale(dtype: torch.dtype, scale: float) -> None:
    train = TensorTrain([TRAIN.cores[0] * scale, *TRAIN.cores[1:]]).to(dtype)
    largest = train.largest()
    assert largest.position == TRAIN.largest().position
    assert largest.value == pytest.approx(TRAIN.largest().value * scale)
    assert largest.gap == 0


def test_a_peak_in_a_long_train() -> None:
    peak = TensorTrain.full((2,) * 60, 0.0, F64)
    digits = [1, 0] * 30
    spike = TensorTrain([torch.tensor([[[1.0 - d], [d]]], dtype=F64) for d in digits])
    train = peak + spike * 5 + 1e-3
    extreme = train.largest()
    assert extreme.position == tuple(digits)
    assert extreme.value == pytest.approx(5.001)
    assert extreme.bound >= extreme.value


@table(
    (lambda: TRAIN.sample(0), ("n = 0",)),
    (lambda: TRAIN.sample(2.5), ("n = 2.5",)),
    (lambda: TRAIN.sample(3, density="cube"), ("density = 'cube'", "'square', 'value'")),
    (lambda: TRAIN.sample(3, seed=-1), ("seed = -1",)),
    (lambda: (TRAIN * 1j).sample(3, density="value"), ("the train is complex",)),
    (lambda: (0 * TRAIN).sample(3), ("zero",)),
    (lambda: (0 * TRAIN).sample(3, density="value"), ("sum to 0",)),
    (lambda: (-(TRAIN**2)).sample(3, density="value"), ("sum to -",)),
    (lambda: (TensorTrain.along(torch.tensor([3.0, -1.0]), (2, 2), 0)).sample(99, density="value"), ("negative",)),
    (lambda: TRAIN.to(torch.float16).sample(3), ("float16",)),
    (lambda: integer_train((2, 3), (2, 2, 1)).sample(3), ("boundary ranks of 1",)),
    (lambda: TRAIN.largest(0), ("width = 0",)),
    (lambda: (TRAIN * 1j).largest(), ("the train is complex",)),
    (lambda: integer_train((2, 3), (2, 2, 1)).smallest(), ("boundary ranks of 1",)),
)
def test_refused(call: Any, fragments: Any) -> None:
    check(call, *fragments)

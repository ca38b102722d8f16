"""What a chain refuses besides shapes: kernels beyond the memory, errors that are no numbers, other kinds, seeds."""

import math

import pytest
import torch
from torch import nn

import tensortrain as tt
from tensortrain import ConvTensorTrain, TensorTrainError, functional
from tensortrain.conv.fit.kernel import NormalizedKernel

MANY = 10**6
SIDES = torch.zeros(MANY, 1, 1), torch.zeros(1, MANY, 1)
GROUPED = torch.zeros(MANY, 1, 1), torch.zeros(MANY, 1, 1)


@pytest.mark.parametrize(
    "compute",
    [
        lambda: ConvTensorTrain(SIDES).reconstruct(),
        lambda: ConvTensorTrain(SIDES[::-1], transposed=True).reconstruct(),
        lambda: ConvTensorTrain(SIDES).kernels(),
        lambda: ConvTensorTrain(GROUPED, groups=[MANY, MANY]).kernels(),
        lambda: ConvTensorTrain(SIDES).evaluate_dense(torch.zeros(1, MANY, 1)),
        lambda: ConvTensorTrain(SIDES).plan(1),
        lambda: ConvTensorTrain(SIDES).plot(torch.zeros(2, 2, 1)),
        lambda: tt.nn.ConvTT1d(ConvTensorTrain(SIDES)).weight,
        lambda: tt.nn.ConvTT1d(ConvTensorTrain(SIDES)).merge(),
        lambda: functional.compose(*SIDES),
        lambda: functional.compose_all(SIDES, (1, 1)),
    ],
)
def test_a_dense_kernel_beyond_the_memory_is_refused(compute):
    with pytest.raises(
        TensorTrainError, match=r"the dense kernel has 1,000,000,000,000 entries, .* of memory; use eval"
    ):
        compute()


def test_a_large_kernel_of_many_groups_is_computed():
    assert ConvTensorTrain(GROUPED, groups=[MANY, MANY]).reconstruct().shape == (MANY, 1, 1)


@pytest.mark.parametrize(
    ("transposed", "size", "options"),
    [
        (False, 10**7, {}),
        (False, 10**30, {}),
        (False, 8, {"batch_size": 10**13}),
        (False, 10**7, {"stride": 10**7}),
        (True, 10**7, {}),
        (True, 8, {"stride": 10**7}),
        (False, 8, {"padding": "full", "dilation": 10**7}),
    ],
)
def test_a_plan_beyond_the_memory_is_refused(transposed, size, options):
    chain = ConvTensorTrain([torch.ones(2, 2, 3, 3), torch.ones(2, 2, 3, 3)], transposed=transposed)
    with pytest.raises(TensorTrainError, match=r"entries, .* of memory; pass a smaller size or batch_size"):
        chain.plan(size, **options)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1e-3, "0.1", True, [0.1]])
@pytest.mark.parametrize("name", ["error", "upper_bound", "lower_bound", "data_error", "data_lower_bound"])
def test_errors_are_finite_numbers(name, value):
    with pytest.raises(TensorTrainError, match=f"^{name} = .*; None or a finite number of at least 0 is needed"):
        ConvTensorTrain([torch.ones(1, 1, 3)], **{name: value})


def test_errors_of_any_type_of_number_survive_a_file(tmp_path):
    chain = ConvTensorTrain([torch.ones(1, 1, 3)], error=0, upper_bound=torch.tensor(0.5).numpy()[()], lower_bound=None)
    chain.save(tmp_path / "chain")
    loaded = ConvTensorTrain.load(tmp_path / "chain")
    assert (loaded.error, loaded.upper_bound, loaded.lower_bound) == (0.0, 0.5, None)


@pytest.mark.parametrize("value", ["no", "", 0, 1, None, torch.tensor(True)])
def test_the_kind_is_true_or_false(value):
    weight = torch.ones(4, 4, 3)
    for build in (
        lambda: ConvTensorTrain([weight], transposed=value),
        lambda: ConvTensorTrain.decompose(weight, "tucker2", ranks=2, transposed=value),
        lambda: NormalizedKernel.of(weight, 1, value),
    ):
        with pytest.raises(TensorTrainError, match=r"^transposed = .* is neither True nor False"):
            build()


@pytest.mark.parametrize("seed", [2**63, 2**64, 2**70])
def test_seeds_that_no_generator_takes_are_refused(seed):
    weight, network = torch.ones(8, 8, 3), nn.Sequential(nn.Conv1d(8, 8, 3))
    for fit in (
        lambda: ConvTensorTrain.decompose(weight, "tucker2", ranks=2, seed=seed),
        lambda: tt.nn.decompose(network, ranks=2, seed=seed),
        lambda: tt.compress(network, parameters=0.5, seed=seed),
    ):
        with pytest.raises(TensorTrainError, match=f"seed = {seed} is too large; at most {2**63 - 1} is possible"):
            fit()


@pytest.mark.parametrize("kernel_sizes", ["auto", "cp", "separable"])
def test_the_largest_seed_is_used(kernel_sizes):
    """Second starts use the next seeds."""
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    chain = ConvTensorTrain.decompose(weight, kernel_sizes, budget=0.5, seed=2**63 - 1, effort=0.05)
    assert chain.error < 1

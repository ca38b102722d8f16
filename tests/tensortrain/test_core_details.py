"""Details of the mathematical core that mutants of it have survived: counts, limits and scales, each by itself.

The campaign of mutants is `tests/campaigns/core_mutants.py`.
"""

import inspect
import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import tensortrain_check
from tensortrain import ConvTensorTrain, TensorTrain, TensorTrainError, TensorTrainMatrix
from tensortrain.conv import functional
from tensortrain.conv.certify.exact import exact_kernel
from tensortrain.conv.certify.intervals import error_interval, relative_interval
from tensortrain.conv.certify.lower_bounds import SPECTRUM, Cut, _basis
from tensortrain.tt.functional import _reconstruct_macs
from tests.support import oracles

F64 = torch.float64


# ---- intervals and lower bounds --------------------------------------------------------------------------------------


def test_an_interval_has_the_width_of_what_it_allows_for() -> None:
    distance, off = torch.tensor([3.0, 4.0], dtype=F64), torch.tensor([6.0, 8.0], dtype=F64)
    low, high = relative_interval(distance, off, 1e-6, (2.0, 4.0))
    assert low == pytest.approx((5 - 1e-5 * (1 + 2e-6)) / 4, rel=1e-13)
    assert high == pytest.approx((5 + 1e-5 * (1 + 2e-6)) / 2, rel=1e-13)
    one = torch.ones(1, dtype=F64)
    low, high = relative_interval(one, 0 * one, 0.0, (1.0, 1.0))
    assert 1 - 4e-15 < low < 1 - 2.5e-15
    assert 1 + 2.5e-15 < high < 1 + 4e-15


def test_an_interval_counts_the_operations_of_an_entry() -> None:
    """Of 2 channels and 3 taps, and the difference: six, where the difference is exactly zero."""
    cores = [torch.arange(12.0, dtype=F64).reshape(2, 2, 3) - 5, torch.arange(12.0, dtype=F64).reshape(2, 3, 2) - 4]
    weight = ConvTensorTrain(cores).reconstruct()
    sizes = ConvTensorTrain([core.abs() for core in cores]).reconstruct()
    share = 6 * 2.0**-53 / (1 - 6 * 2.0**-53)
    expected = share * float(sizes.norm() / weight.norm())
    assert error_interval(weight, 1, cores, [1, 1])[1] == pytest.approx(expected, rel=1e-6, abs=0)


@pytest.mark.parametrize("size", [(3,), (4, 3), (2, 4), (3, 1)])
def test_the_spectrum_holds_the_energy_of_the_kernel(size: tuple[int, ...]) -> None:
    kernel = oracles.floats(0, 3, 4, *size)
    cut = Cut(SPECTRUM, tuple(4 if k > 2 else k for k in size), 2)
    parts = [share * float(matrix.abs().square().sum()) for matrix, share in cut.matrices(kernel)]
    assert sum(parts) == pytest.approx(float(kernel.square().sum()))


@pytest.mark.parametrize("bond", [SPECTRUM, 1])
def test_multiplications_of_the_checker_are_counted(bond: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, counts = oracles.floats(1, 3, 5, 3, 1), []
    cut = Cut(bond, (4, 1) if bond == SPECTRUM else (3, 1), 2)
    dot = tensortrain_check.dot

    def counting(left: Sequence[Any], right: Sequence[Any]) -> Any:
        counts.append(len(left) * len(right) * len(right[0]))
        return dot(left, right)

    monkeypatch.setattr(tensortrain_check, "dot", counting)
    bases = [_basis(matrix) for matrix, _ in cut.matrices(kernel)]
    tensortrain_check.energy(exact_kernel(kernel, 1), [(3, 1), (1, 1)], (3, 2, 5), bond, cut.axes, bases)
    assert sum(counts) == cut.multiplications(kernel.shape)


# ---- chains ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["full", "circular"])
def test_a_plan_runs_what_it_is_asked_for(padding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    for name in ("conv_tt", "conv_sum"):
        run = getattr(functional, name)
        monkeypatch.setattr(functional, name, lambda *a, run=run, **k: (calls.append(k), run(*a, **k))[1])
    ConvTensorTrain([torch.ones(2, 2, 3), torch.ones(2, 2, 3)]).plan(8, padding=padding, dilation=2, stride=2)
    assert calls
    assert all(call["padding"] == padding for call in calls)
    assert {call[name] for call in calls for name in ("stride", "dilation")} <= {2, (2,)}


def test_defaults_of_decompose() -> None:
    parameters = inspect.signature(ConvTensorTrain.decompose).parameters
    assert {name: parameters[name].default for name in ("groups", "seed", "effort")} == {
        "groups": 1,
        "seed": 0,
        "effort": 1,
    }


def test_the_first_seed_is_0() -> None:
    weight = oracles.floats(2, 4, 4, 3, 3)
    arguments: dict[str, Any] = {"kernel_sizes": "depthwise", "ranks": 3, "effort": 0.05}
    first, again = (
        ConvTensorTrain.decompose(weight, **arguments),
        ConvTensorTrain.decompose(weight, seed=0, **arguments),
    )
    assert all(torch.equal(a, b) for a, b in zip(first.cores, again.cores, strict=True))
    other = ConvTensorTrain.decompose(weight, seed=1, **arguments)
    assert not all(torch.equal(a, b) for a, b in zip(first.cores, other.cores, strict=True))


@pytest.mark.parametrize("transposed", [False, True])
def test_errors_are_drawn_by_output_channel(transposed: bool) -> None:
    weight = oracles.floats(4, 5, 3, 3)
    chain = ConvTensorTrain.decompose(weight, (2, 2), ranks=2, transposed=transposed)
    assert len(chain.plot(weight).axes[2].patches) == chain.out_channels == (3 if transposed else 5)


# ---- trains ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [(1, 2, 3, 4, 1), (2, 5, 1, 3, 4), (3, 2, 2, 2, 2)])
def test_multiplications_of_two_halves_that_meet_at_a_bond(ranks: Sequence[int]) -> None:
    shape = (3, 2, 5, 4)
    for bond in range(1, 4):
        count = 0
        for l in range(1, bond):  # the left half grows by core l
            count += ranks[0] * math.prod(shape[: l + 1]) * ranks[l] * ranks[l + 1]
        for l in range(bond, 3):
            count += math.prod(shape[l:]) * ranks[4] * ranks[l] * ranks[l + 1]
        count += ranks[0] * math.prod(shape) * ranks[bond] * ranks[4]
        assert _reconstruct_macs(shape, ranks, bond) == count


@pytest.mark.parametrize("ranks", [(1, 4, 9, 1), (1, 9, 4, 1)])
def test_a_train_is_rebuilt_from_the_cheapest_bond(ranks: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> None:
    train = TensorTrain([torch.ones(a, 3, b) for a, b in itertools.pairwise(ranks)])
    shapes: list[tuple[int, ...]] = []
    product = Tensor.__matmul__
    monkeypatch.setattr(Tensor, "__matmul__", lambda a, b: (shapes.append((*a.shape, b.shape[-1])), product(a, b))[1])
    train.reconstruct()
    counts = [_reconstruct_macs(train.shape, ranks, bond) for bond in (1, 2)]
    assert sum(map(math.prod, shapes)) == min(counts) < max(counts)


def test_numbers_beside_a_train() -> None:
    train = TensorTrain.random((2, 3), 2, dtype=F64)
    dense = train.reconstruct()
    torch.testing.assert_close((1 - train).reconstruct(), 1 - dense)
    torch.testing.assert_close((train**1).reconstruct(), dense)
    torch.testing.assert_close((train**0).reconstruct(), torch.ones_like(dense))
    with pytest.raises(TensorTrainError, match="the divisor 0 is zero"):
        train / 0


def test_a_matrix_is_rounded_to_a_tolerance() -> None:
    matrix = TensorTrainMatrix.decompose(oracles.floats(3, 6, 6), (2, 3), (3, 2), ranks=6)
    rounded = matrix.round(rtol=0.5)
    assert rounded.ranks[1] < matrix.ranks[1]
    error = float((rounded.reconstruct() - matrix.reconstruct()).norm() / matrix.reconstruct().norm())
    assert 0.1 < error <= 0.5


def test_what_depends_on_a_gradient_keeps_it() -> None:
    core = torch.ones(1, 2, 1, requires_grad=True)
    with pytest.raises(TensorTrainError, match="calculated with a gradient keep it"):
        TensorTrain([core * 2]).requires_grad_(False)


def test_half_precision_is_not_orthogonalised() -> None:
    with pytest.raises(TensorTrainError, match=r"the train has dtype torch\.float16"):
        TensorTrain([torch.ones(1, 2, 1).half()] * 2).orthogonalize(0)


def test_inner_products_that_overflow_on_the_way_alone() -> None:
    large, small = torch.full((1, 1, 1), 1e30), torch.full((1, 1, 1), 1e-30)
    train = TensorTrain([large, small])
    assert float(train.inner(train)) == pytest.approx(1.0)
    assert float(TensorTrain([large]).inner(TensorTrain([large]))) == math.inf


def test_inner_products_of_which_a_part_loses_digits_on_the_way() -> None:
    """The square of 1e-160 is a number of three digits."""
    first, second = torch.zeros(1, 2, 2, dtype=F64), torch.zeros(2, 2, 1, dtype=F64)
    first[0, 0, 0], first[0, 1, 1], second[0, 0, 0], second[1, 1, 0] = 1.0, 1e-160, 1.0, 1e160
    train = TensorTrain([first, second])
    assert float(train.inner(train)) == pytest.approx(2.0, rel=1e-12)


def test_cores_that_are_not_finite_are_orthogonalised_as_they_are() -> None:
    train = TensorTrain.ones((2, 2)) * 1e30 * 1e30
    assert not bool(train.orthogonalize(0).cores[0].isfinite().any())


def test_a_budget_keeps_small_parts_too() -> None:
    """The tolerance that rounding errors set is one of squares."""
    tensor = torch.diag(torch.tensor([1.0, 1e-9], dtype=F64))
    assert TensorTrain.decompose(tensor, max_parameters=8).ranks == (1, 2, 1)
    train = TensorTrain.decompose(tensor, max_parameters=8)
    torch.testing.assert_close(train.reconstruct()[1, 1], tensor[1, 1], rtol=1e-6, atol=0)


def test_two_cores_of_which_the_first_does_not_read_what_is_large() -> None:
    first = torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=F64)[None]
    second = torch.tensor([[1.0, 3.0], [1e250, 1e250]], dtype=F64)[..., None]
    rounded = TensorTrain([first, second]).round(rtol=1e-9)
    torch.testing.assert_close(rounded.reconstruct(), torch.tensor([[1.0, 3.0], [2.0, 6.0]], dtype=F64))


def test_the_digits_of_an_index_are_binary_ones_unless_told() -> None:
    assert TensorTrain.quantize(torch.ones(8), ranks=1).shape == (2, 2, 2)


def growing(scale: float) -> list[Tensor]:
    """A train of rank 2 whose first core has a large direction that the second does not read."""
    first = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, scale]], dtype=F64)[None]
    second = torch.zeros(3, 2, 2, dtype=F64)
    second[0, 0, 0], second[1, 1, 1] = 1.0, 1.0
    last = torch.tensor([[1.0, 0.0], [0.0, 1e-3]], dtype=F64)[..., None]
    return [first, second, last]


def test_the_error_of_a_train_that_is_scaled_on_the_way() -> None:
    first, second, last = growing(0.0)
    first[0, 1, 1], second[1, 1, 1] = 1e10, 1e-10
    rounded = TensorTrain([first, second, last]).round(ranks=(2, 1))
    exact = torch.zeros(2, 2, 2, dtype=F64)
    exact[0, 0, 0], exact[1, 1, 1] = 1.0, 1e-3
    assert rounded.error == pytest.approx(float((rounded.reconstruct() - exact).norm() / exact.norm()), rel=1e-6)


def test_derivatives_with_a_direction_that_is_large_but_not_read() -> None:
    cores = [core.requires_grad_() for core in growing(2.0**600)]
    TensorTrain(cores).round(ranks=2).norm().backward()
    assert all(bool(core.grad.isfinite().all()) for core in cores if core.grad is not None)


def test_an_identity_stands_where_it_is_asked_for() -> None:
    with torch.device("meta"):
        matrix = TensorTrainMatrix.eye((2, 3), device="cpu")
    assert torch.equal(matrix.reconstruct(), torch.eye(6))

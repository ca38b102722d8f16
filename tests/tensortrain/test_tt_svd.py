"""TT-SVD: within every limit, near the best train of its ranks, at any scale and in any layout."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tensortrain import linalg
from tensortrain.errors import TensorTrainError
from tensortrain.tt import svd as tt_svd
from tensortrain.tt.interfaces import right_interfaces
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.trains import DTYPES, F64, LIMITS, SHAPES, distance, structured, tails, within


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [20, 60])
def test_singular_values_near_the_end_of_the_range(rows: int, dtype: torch.dtype) -> None:
    matrix = structured((rows, 50), 0.01, dtype, 0)
    matrix = matrix / torch.linalg.matrix_norm(matrix, 2) * (0.9 * torch.finfo(dtype).max)
    u, s, vh = linalg.randomized_svd(matrix, 5)
    assert float(s[0]) == pytest.approx(0.9 * torch.finfo(dtype).max, rel=1e-5)
    assert distance((u * (s / s[0])) @ vh, matrix / s[0]) < 1e-5
    with pytest.raises(TensorTrainError, match=f"the largest singular value does not fit {s.dtype}"):
        linalg.randomized_svd(torch.full((rows, 50), 0.1 * torch.finfo(dtype).max, dtype=dtype), 1)


@given(SHAPES, st.sampled_from([1.0, 0.4, 1e-2, 1e-4]), st.sampled_from(DTYPES), LIMITS, st.integers(0, 9))
def test_every_decomposition_is_within_its_limits(
    shape: tuple[int, ...], decay: float, dtype: torch.dtype, limits: dict[str, Any], seed: int
) -> None:
    tensor = structured(shape, decay, dtype, seed)
    limits = {**limits, "max_parameters": max(limits.get("max_parameters", 10**6), sum(shape))}
    limits = {**limits, "budget": max(limits.get("budget", 1e6), (sum(shape) + 0.5) / tensor.numel())}
    useful = [min(math.prod(shape[:l]), math.prod(shape[l:])) for l in range(1, len(shape))]
    if "ranks" in limits and useful:
        limits["ranks"] = min(limits["ranks"], max(useful))
    c_eps = 50 * torch.finfo(dtype).eps
    try:
        train = TensorTrain.decompose(tensor, **limits)
    except TensorTrainError:
        caps = {name: value for name, value in limits.items() if name != "rtol"}
        assert TensorTrain.decompose(tensor, **caps).error > limits["rtol"]
        return
    within(train, limits)
    assert train.dtype == dtype
    assert train.shape == shape
    actual = distance(train.reconstruct(), tensor)
    # the square of the error is a sum of eigenvalues, accurate to about ε ‖T‖²; below 1e-4 the error itself is measured
    assert actual == pytest.approx(train.error, abs=c_eps, rel=1e-7)
    assert actual <= limits.get("rtol", 1.0) + c_eps
    # optimal up to √(m - 1): what is lost at most adds up over the bonds
    norm2 = float(tensor.to(torch.complex128).norm() ** 2)
    lost = tails(tensor, train.ranks)
    assert actual**2 <= sum(lost) / norm2 * (1 + 1e-6) + c_eps**2 or "rtol" in limits
    assert actual**2 >= max(lost, default=0.0) / norm2 * (1 - 1e-6) - c_eps**2


@given(SHAPES, st.sampled_from(DTYPES), st.sampled_from([0.0, 1e-12, 1e-7, 1e-3, 0.1, 0.5, 0.99]), st.integers(0, 9))
def test_a_tolerance_alone_always_holds(shape: tuple[int, ...], dtype: torch.dtype, rtol: float, seed: int) -> None:
    for decay in (1.0, 0.3, 1e-3):
        tensor = structured(shape, decay, dtype, seed)
        train = TensorTrain.decompose(tensor, rtol=rtol)
        assert distance(train.reconstruct(), tensor) <= rtol + 50 * torch.finfo(dtype).eps


@given(SHAPES, st.integers(1, 4), st.integers(0, 9))
def test_exactly_low_rank_tensors_are_found(shape: tuple[int, ...], rank: int, seed: int) -> None:
    tensor = TensorTrain.random(shape, rank, seed, dtype=F64).reconstruct()
    for rtol in (0.0, 1e-12, 1e-6):
        train = TensorTrain.decompose(tensor, rtol=rtol)
        assert all(r <= rank for r in train.ranks)
        assert distance(train.reconstruct(), tensor) < 1e-13
        assert train.error < 1e-13
    fixed = TensorTrain.decompose(tensor, budget=50.0)
    assert all(r <= rank for r in fixed.ranks)
    assert fixed.error < 1e-13


def naive_ranks(tensor: Tensor, rtol: float) -> list[int]:
    """TT-SVD as usually written: every bond gets `rtol / √(m - 1)` and no more."""
    delta = rtol * float(tensor.norm()) / math.sqrt(tensor.dim() - 1)
    rest, rank, ranks = tensor, 1, []
    for size in tensor.shape[:-1]:
        _, s, vh = torch.linalg.svd(rest.reshape(rank * size, -1), full_matrices=False)
        rank = next(k for k in range(1, len(s) + 1) if float((s[k:] ** 2).sum()) <= delta**2)
        rest = s[:rank, None] * vh[:rank]
        ranks.append(rank)
    return ranks


def test_unspent_tolerance_is_carried_forward() -> None:
    generator = torch.Generator().manual_seed(0)
    slow = 0.9 ** torch.arange(20.0, dtype=F64)
    basis = [torch.linalg.qr(torch.randn(20, 20, dtype=F64, generator=generator))[0] for _ in range(2)]
    vectors = [torch.randn(n, dtype=F64, generator=generator) for n in (3, 4, 5)]
    tensor = torch.einsum("a,b,c,de->abcde", *vectors, basis[0] * slow @ basis[1])
    train = TensorTrain.decompose(tensor, rtol=0.3)
    naive = naive_ranks(tensor, 0.3)
    assert train.ranks[1:4] == (1, 1, 1)  # nothing is lost at these bonds, so all of it is left for the last
    assert train.ranks[4] < naive[3]
    assert train.error <= 0.3


def test_sweeps_spend_no_more_than_allowed_and_share_it_out() -> None:
    tensor = structured((6, 6, 6, 6), 0.7, F64, 0)
    allowed = (0.3 * float(tensor.norm())) ** 2
    swept = tt_svd.tt_svd(tensor, (99,) * 3, allowed)
    assert swept.discarded <= allowed
    ranks = [core.shape[2] for core in swept.cores[:-1]]
    assert all(rank <= naive for rank, naive in zip(ranks, naive_ranks(tensor, 0.3), strict=True))
    exact = TensorTrain.decompose(tensor, rtol=0.0).cores
    rounded = tt_svd.tt_round(right_interfaces(exact), (99,) * 3, allowed)
    assert rounded.discarded <= allowed
    ranks = [core.shape[2] for core in rounded.cores[:-1]]
    assert all(rank <= naive for rank, naive in zip(ranks, naive_ranks(tensor, 0.3), strict=True))


def test_rank_that_one_bond_cannot_use_goes_to_another() -> None:
    tensor = structured((2, 20, 20), 1.0, F64, 0)
    uniform = next(r for r in range(9, 0, -1) if 2 * r + 20 * r * r + 20 * r <= 310)
    train = TensorTrain.decompose(tensor, max_parameters=310)
    assert train.ranks == (1, 2, 5, 1)  # 2·2 + 2·20·5 + 5·20 = 304
    assert uniform == 3
    assert train.n_parameters <= 310 < train.n_parameters + 60


def feasible(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """All interior ranks that some tensor of this shape has."""
    useful = [min(math.prod(shape[:l]), math.prod(shape[l:])) for l in range(1, len(shape))]
    return [
        ranks
        for ranks in itertools.product(*(range(1, u + 1) for u in useful))
        if all(b <= a * size and a <= b * size for a, b, size in zip((1, *ranks), (*ranks, 1), shape, strict=True))
    ]


def test_a_parameter_cap_is_spent_about_as_well_as_it_can_be() -> None:
    ratios = []
    for seed in range(40):
        shape = [(4, 6, 5, 3), (2, 12, 3), (3, 2, 6, 6), (16, 2, 12), (2, 6, 2, 3)][seed % 5]
        spectra = tt_svd.dense_spectra(structured(shape, (1.0, 0.7, 0.4)[seed % 3], F64, seed))
        cap = sum(shape) + (seed * 13) % (math.prod(shape) // 2)

        def bound(ranks: Sequence[int], spectra: list[list[float]] = spectra) -> float:
            return math.sqrt(sum(s * s for values, r in zip(spectra, ranks, strict=True) for s in values[r:]))

        allocated = tt_svd.allocate(spectra, shape, (1, 1), (99,) * (len(shape) - 1), cap, 0.0)
        fitting = [r for r in feasible(shape) if tt_svd.count(shape, (1, *r, 1)) <= cap]
        assert allocated in fitting
        ratios.append(bound(allocated) / min(map(bound, fitting)))
    assert max(ratios) < 1.13
    assert sum(ratios) / len(ratios) < 1.004


def test_caps_and_tolerance_together_take_the_smaller_train() -> None:
    tensor = structured((6, 6, 6), 0.3, F64, 0)
    loose = TensorTrain.decompose(tensor, rtol=0.1)
    assert TensorTrain.decompose(tensor, rtol=0.1, budget=1.0, ranks=6).ranks == loose.ranks
    assert TensorTrain.decompose(tensor, rtol=1e-3).n_parameters > loose.n_parameters
    both = TensorTrain.decompose(tensor, max_parameters=60, budget=0.1)
    assert both.n_parameters <= 0.1 * 216


def test_a_capped_bond_leaves_its_tolerance_to_be_met_elsewhere() -> None:
    """Shared out evenly the tolerance fails under this cap, although the cap allows it."""
    tensor = structured((4, 8, 8, 4), 0.6, F64, 3)
    capped = (4, 6, 4)
    best = TensorTrain.decompose(tensor, ranks=capped)
    train = TensorTrain.decompose(tensor, ranks=capped, rtol=best.error * 1.0001)
    assert train.error <= best.error * 1.0001


def test_an_unreachable_tolerance_says_what_was_achieved() -> None:
    tensor = structured((4, 5, 6), 1.0, F64, 0)
    achieved = TensorTrain.decompose(tensor, ranks=2).error
    with pytest.raises(TensorTrainError, match=rf"rtol = 0.01 is not reached .* relative error of {achieved:.4g}"):
        TensorTrain.decompose(tensor, ranks=2, rtol=0.01)
    with pytest.raises(TensorTrainError, match=r"rtol = 0\.01 is not reached"):
        TensorTrain.decompose(tensor, budget=0.5, rtol=0.01)


@given(SHAPES, st.data())
def test_feasible_ranks_are_taken_as_given(shape: tuple[int, ...], data: Any) -> None:
    ranks: list[int] = []
    for l in range(1, len(shape)):
        ranks.append(data.draw(st.integers(1, min((ranks or [1])[-1] * shape[l - 1], math.prod(shape[l:])))))
    for l in range(len(shape) - 3, -1, -1):
        ranks[l] = min(ranks[l], shape[l + 1] * ranks[l + 1])
    for l in range(1, len(ranks)):
        ranks[l] = min(ranks[l], shape[l] * ranks[l - 1])
    train = TensorTrain.decompose(structured(shape, 0.8, F64, 0), ranks=ranks)
    assert train.ranks == (1, *ranks, 1)


@pytest.mark.parametrize(
    ("shape", "ranks", "named"),
    [
        ((4, 5, 6), (1, 4, 7, 1), r"ranks\[1\] = 7 exceeds 6"),
        ((4, 5, 6), (2, 4, 6, 1), r"ranks = \(2, 4, 6, 1\) begins and ends with \(2, 1\)"),
        ((4, 5, 6), (4, 7), r"ranks\[1\] = 7 exceeds 6"),
        ((4, 5, 6), (5, 2), r"ranks\[0\] = 5 exceeds 4"),
        ((4, 10, 10, 4), (2, 21, 4), r"ranks\[1\] = 21 exceeds 20"),
        ((4, 10, 10, 4), (4, 11, 1), r"ranks\[1\] = 11 exceeds 10"),
    ],
)
def test_infeasible_ranks_are_refused_with_the_largest_useful_one(shape: Any, ranks: Any, named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        TensorTrain.decompose(torch.ones(shape), ranks=ranks)


def test_one_rank_for_all_is_clipped_at_each_bond() -> None:
    assert TensorTrain.decompose(torch.randn(2, 6, 6, 3), ranks=5).ranks == (1, 2, 5, 3, 1)
    assert TensorTrain.decompose(torch.randn(4), ranks=5).ranks == (1, 1)


@pytest.mark.parametrize(
    ("dtype", "scale"), [(F64, 1e-250), (F64, 1e-30), (F64, 1e250), (torch.float32, 1e-25), (torch.complex64, 1e25)]
)
def test_the_scale_of_the_tensor_does_not_matter(dtype: torch.dtype, scale: float) -> None:
    tensor = structured((4, 5, 6), 0.5, dtype, 0)
    for rtol in (0.1, 1e-4):
        reference = TensorTrain.decompose(tensor, rtol=rtol)
        train = TensorTrain.decompose(tensor * scale, rtol=rtol)
        assert train.ranks == reference.ranks
        assert train.error == pytest.approx(reference.error, abs=1e-6)
        assert train.round(ranks=2).error == pytest.approx(reference.round(ranks=2).error, abs=1e-6)
        rounded = train.round(rtol=rtol)
        assert distance(rounded.reconstruct() / scale, train.reconstruct() / scale) <= rtol + 1e-5
        assert distance(train.reconstruct() / scale, tensor) <= rtol + 1e-5


@pytest.mark.parametrize("limits", [{"rtol": 0.1}, {"ranks": 3}, {"budget": 0.9}])
def test_zero_is_decomposed(limits: dict[str, Any]) -> None:
    train = TensorTrain.decompose(torch.zeros(3, 4, 3), **limits)
    assert train.error == 0.0
    assert torch.equal(train.reconstruct(), torch.zeros(3, 4, 3))
    assert train.round(rtol=0.1).error == 0.0


def test_equal_calls_give_equal_cores_and_leave_random_numbers_alone() -> None:
    tensor = structured((4, 5, 6), 0.5, torch.float32, 0)
    state = torch.get_rng_state()
    first, second = (TensorTrain.decompose(tensor, budget=0.5, seed=1) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.cores, second.cores, strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_any_memory_layout_is_decomposed() -> None:
    tensor = structured((4, 5, 6), 0.5, F64, 0).permute(2, 0, 1)[::2]
    assert distance(TensorTrain.decompose(tensor, rtol=0.1).reconstruct(), tensor) <= 0.1


def test_spectra_of_a_train_are_those_of_the_tensor() -> None:
    train = TensorTrain.random((4, 5, 3, 4), (3, 6, 2), dtype=torch.complex128)
    right = right_interfaces(train.cores)
    spectra = tt_svd.train_spectra(right)
    dense = tt_svd.dense_spectra(train.reconstruct())
    for a, b in zip(spectra, dense, strict=True):
        assert a == pytest.approx(b[: len(a)], abs=1e-12)
        assert max(b[len(a) :], default=0.0) < 1e-12
    assert linalg.frobenius_norm(right.factors[0]) == pytest.approx(float(train.reconstruct().norm()))

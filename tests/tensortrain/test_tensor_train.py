"""The standard tensor train: exact where integers allow it, within the stated bound where they do not."""

import copy
import itertools
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from tensortrain import linalg, storage
from tensortrain.errors import TensorTrainError
from tensortrain.tt import svd as tt_svd
from tensortrain.tt.tensor_train import TensorTrain

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)
F64 = torch.float64


def integers(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).to(dtype)


def integer_train(shape: Sequence[int], ranks: Sequence[int], seed: int = 0) -> TensorTrain:
    triples = zip(ranks[:-1], shape, ranks[1:], strict=True)
    return TensorTrain([integers(*triple, seed=seed + l) for l, triple in enumerate(triples)])


@st.composite
def integer_trains(draw: Any, ends: bool = True) -> TensorTrain:
    shape = draw(SHAPES)
    ranks = [draw(st.integers(1, 4)) for _ in range(len(shape) + 1)]
    if not ends:
        ranks[0] = ranks[-1] = 1
    return integer_train(shape, ranks, draw(st.integers(0, 99)))


def entries(train: TensorTrain) -> Tensor:
    """The dense tensor by the definition, eq. (1), entry by entry, boundary axes always kept."""
    dense = torch.zeros(train.ranks[0], *train.shape, train.ranks[-1], dtype=train.dtype)
    for index in itertools.product(*map(range, train.shape)):
        entry = torch.eye(train.ranks[0], dtype=train.dtype)
        for core, i in zip(train.cores, index, strict=True):
            entry = entry @ core[:, i]
        dense[(slice(None), *index)] = entry
    return dense


def full(train: TensorTrain) -> Tensor:
    """`reconstruct()` with its boundary axes."""
    return train.reconstruct().reshape(train.ranks[0], *train.shape, train.ranks[-1])


def distance(a: Tensor, b: Tensor) -> float:
    """Relative Frobenius distance, in double precision."""
    a, b = a.to(torch.complex128), b.to(torch.complex128)
    return float((a - b).norm() / b.norm()) if float(b.norm()) else float(a.norm())


def structured(shape: Sequence[int], decay: float, dtype: torch.dtype, seed: int) -> Tensor:
    """A random tensor whose multilinear singular values fall like `decay ** i` on every axis."""
    wide = torch.complex128 if dtype.is_complex else F64
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(*shape, dtype=wide, generator=generator)
    for axis, size in enumerate(shape):
        basis = torch.linalg.qr(torch.randn(size, size, dtype=wide, generator=generator))[0]
        factor = basis * decay ** torch.arange(size, dtype=F64)
        tensor = torch.tensordot(tensor, factor, ([axis], [1])).movedim(-1, axis)
    return tensor.to(dtype)


def tails(tensor: Tensor, ranks: Sequence[int]) -> list[float]:
    """For each bond what the best matrix of its rank leaves of the unfolding, squared."""
    wide = tensor.to(torch.complex128)
    unfoldings = [wide.reshape(math.prod(wide.shape[:l]), -1) for l in range(1, wide.dim())]
    return [
        float((torch.linalg.svdvals(matrix)[rank:] ** 2).sum())
        for matrix, rank in zip(unfoldings, ranks[1:-1], strict=True)
    ]


# ---- the format itself, exactly


@given(integer_trains())
def test_reconstruct_is_eq_1(train: TensorTrain) -> None:
    assert torch.equal(full(train), entries(train))
    dropped = train.ranks[0] == train.ranks[-1] == 1
    assert train.reconstruct().shape == (train.shape if dropped else (train.ranks[0], *train.shape, train.ranks[-1]))


@given(integer_trains(), st.none() | st.integers(1, 3), st.integers(0, 31))
def test_evaluate_is_eq_2(train: TensorTrain, batch: int | None, shared: int) -> None:
    inputs = [
        integers(*(() if batch is None or shared >> l & 1 else (batch,)), size, seed=50 + l)
        for l, size in enumerate(train.shape)
    ]
    batched = any(u.dim() == 2 for u in inputs)
    expected = torch.zeros((batch or 1) if batched else 1, train.ranks[0], train.ranks[-1], dtype=F64)
    dense = entries(train)
    for b, index in itertools.product(range(len(expected)), itertools.product(*map(range, train.shape))):
        weight = math.prod(float((u[b] if u.dim() == 2 else u)[i]) for u, i in zip(inputs, index, strict=True))
        expected[b] += weight * dense[(slice(None), *index)]
    expected = expected if batched else expected[0]
    if train.ranks[0] == train.ranks[-1] == 1:
        expected = expected[..., 0, 0]
    assert torch.equal(train.evaluate(inputs), expected)
    assert torch.equal(train.evaluate_dense(inputs), expected)


@given(integer_trains())
def test_parameters_are_the_entries_of_the_cores(train: TensorTrain) -> None:
    assert train.n_parameters == sum(len(core.flatten()) for core in train.cores)
    assert train.dense_parameters == entries(train).numel()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("ranks", [(1, 2, 3, 1), (2, 3, 2, 4), (1, 5, 2, 1)])
def test_macs_are_the_multiplications_that_run(ranks: tuple[int, ...], batch: int) -> None:
    train = integer_train((2, 4, 3), ranks)
    inputs = [integers(batch, size) for size in train.shape]

    def flops(run: Any) -> int:
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    assert flops(lambda: train.evaluate(inputs)) == 2 * batch * train.macs()
    dense = flops(lambda: train.evaluate_dense(inputs)) - flops(train.reconstruct)
    assert dense == 2 * batch * train.dense_macs()


@given(integer_trains())
def test_macs_enumerated(train: TensorTrain) -> None:
    ranks, shape = train.ranks, train.shape
    sequential = sum(
        1 for l in range(train.order) for _ in itertools.product(*map(range, (ranks[l], shape[l], ranks[l + 1])))
    )
    sequential += sum(
        1 for l in range(1, train.order) for _ in itertools.product(*map(range, (ranks[0], ranks[l], ranks[l + 1])))
    )
    dense = sum(
        1 for l in range(train.order) for _ in itertools.product(*map(range, (ranks[0], *shape[: l + 1], ranks[-1])))
    )
    assert (train.macs(), train.dense_macs()) == (sequential, dense)


@given(integer_trains(), st.integers(0, 99), st.data())
def test_arithmetic_is_that_of_the_dense_tensors(train: TensorTrain, seed: int, data: Any) -> None:
    interior = [data.draw(st.integers(1, 3)) for _ in train.ranks[1:-1]]
    other = integer_train(train.shape, (train.ranks[0], *interior, train.ranks[-1]), seed)
    a, b = full(train), full(other)
    assert torch.equal(full(train + other), a + b)
    assert torch.equal(full(train - other), a - b)
    assert torch.equal(full(-train), -a)
    assert torch.equal(full(train * other), a * b)
    assert torch.equal(full(3 * train), 3 * a)
    assert torch.equal(full(train * 2.0), 2 * a)
    assert torch.equal(train.inner(other), (a * b).sum())
    assert (train + other).ranks[1:-1] == tuple(x + y for x, y in zip(train.ranks[1:-1], interior, strict=True))
    assert (train * other).ranks[1:-1] == tuple(x * y for x, y in zip(train.ranks[1:-1], interior, strict=True))
    assert float(train.norm()) == pytest.approx(float(a.norm()))


def test_complex_arithmetic_conjugates_the_left_side() -> None:
    i = TensorTrain([torch.tensor([[[1j], [2.0]]], dtype=torch.complex128)])
    one = TensorTrain([torch.tensor([[[1.0], [1j]]], dtype=torch.complex128)])
    assert complex(i.inner(one)) == 1j  # conj(i) · 1 + 2 · i
    assert complex(i.inner(i)) == 5
    assert float(i.norm()) == pytest.approx(math.sqrt(5))
    turned = integer_train((2, 3), (1, 2, 1)) * 1j
    assert turned.dtype == torch.complex128
    assert torch.equal(turned.reconstruct(), integer_train((2, 3), (1, 2, 1)).reconstruct() * 1j)


def test_what_was_not_decomposed_has_no_error() -> None:
    train = TensorTrain.decompose(structured((3, 4), 0.5, F64, 0), ranks=2)
    assert train.error is not None
    assert all(t.error is None for t in (train + train, train * train, 2 * train, -train, train[1:]))
    assert train.orthogonalize(0).error == train.to(torch.float32).error == train.error


@given(integer_trains(), st.data())
def test_indexing_is_that_of_the_dense_tensor(train: TensorTrain, data: Any) -> None:
    index: list[Any] = []
    for size in train.shape:
        start = data.draw(st.integers(0, size - 1))
        stop = data.draw(st.integers(start + 1, size))
        whole = [slice(None), slice(start, stop), slice(-1, None), slice(None, None, 2)]
        index.append(data.draw(st.sampled_from([start, start - size, *whole])))
    expected = full(train)[(slice(None), *index)]
    found = train[tuple(index)]
    if isinstance(found, TensorTrain):
        assert torch.equal(full(found), expected)
        assert found.ranks[0] == train.ranks[0]
        assert found.ranks[-1] == train.ranks[-1]
    else:
        assert torch.equal(found, expected.reshape(()) if expected.numel() == 1 else expected)


def test_indexing_with_ellipses_and_negative_steps() -> None:
    train = integer_train((3, 4, 5), (1, 2, 3, 1))
    dense = train.reconstruct()
    assert torch.equal(train[...].reconstruct(), dense)
    assert torch.equal(train[1].reconstruct(), dense[1])
    assert torch.equal(train[..., 2].reconstruct(), dense[..., 2])
    assert torch.equal(train[0, ..., 2].reconstruct(), dense[0, ..., 2])
    assert torch.equal(train[:, ::-2].reconstruct(), dense[:, [3, 1]])
    assert torch.equal(train[2, -1, 4], dense[2, -1, 4])
    with pytest.raises(TypeError, match="not iterable"):
        iter(train)


# ---- decomposition


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "ranks": st.integers(1, 3),
        "rtol": st.sampled_from([0.0, 1e-9, 1e-4, 0.03, 0.3, 0.9]),
        "budget": st.sampled_from([0.3, 0.8, 2.0]),
        "max_parameters": st.integers(20, 200),
    },
).filter(bool)


def within(train: TensorTrain, limits: dict[str, Any]) -> None:
    assert all(rank <= limits.get("ranks", rank) for rank in train.ranks[1:-1])
    assert train.n_parameters <= limits.get("max_parameters", math.inf)
    assert train.n_parameters <= limits.get("budget", math.inf) * train.dense_parameters


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
    found = distance(train.reconstruct(), tensor)
    assert found == pytest.approx(train.error, abs=c_eps)
    assert found <= limits.get("rtol", 1.0) + c_eps
    # optimal up to √(m - 1): what is lost at most adds up over the bonds
    norm2 = float(tensor.to(torch.complex128).norm() ** 2)
    lost = tails(tensor, train.ranks)
    assert found**2 <= sum(lost) / norm2 * (1 + 1e-6) + c_eps**2 or "rtol" in limits
    assert found**2 >= max(lost, default=0.0) / norm2 * (1 - 1e-6) - c_eps**2


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
    assert all(found <= naive for found, naive in zip(ranks, naive_ranks(tensor, 0.3), strict=True))
    exact = TensorTrain.decompose(tensor, rtol=0.0).cores
    rounded = tt_svd.tt_round(exact, tt_svd.right_factors(exact), (99,) * 3, allowed)
    assert rounded.discarded <= allowed
    ranks = [core.shape[2] for core in rounded.cores[:-1]]
    assert all(found <= naive for found, naive in zip(ranks, naive_ranks(tensor, 0.3), strict=True))


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

        found = tt_svd.allocate(spectra, shape, (1, 1), (99,) * (len(shape) - 1), cap, 0.0)
        fitting = [r for r in feasible(shape) if tt_svd.count(shape, (1, *r, 1)) <= cap]
        assert found in fitting
        ratios.append(bound(found) / min(map(bound, fitting)))
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
        ((4, 5, 6), 21, "ranks = 21 exceeds 6, the largest useful rank of any bond"),
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


# ---- gradients


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(
    ("shape", "limits"),
    [
        ((3, 4, 5), {"ranks": (2, 3)}),
        ((4, 3, 3, 2), {"ranks": (2, 3, 1)}),
        ((5, 6), {"ranks": 3}),
        ((3, 3, 3), {"rtol": 0.4}),
        ((3, 4, 4), {"budget": 0.5}),
        ((6,), {"ranks": 1}),
    ],
)
def test_gradient_of_a_decomposition_with_gaps(shape: Any, limits: dict[str, Any], dtype: torch.dtype) -> None:
    tensor = structured(shape, 0.6, dtype, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: TensorTrain.decompose(t, **limits).reconstruct(), tensor)
    inputs = [structured((2, size), 1.0, dtype, 7 + size) for size in shape]
    assert torch.autograd.gradcheck(lambda t: TensorTrain.decompose(t, **limits).evaluate(inputs), tensor)


def test_gradient_with_coinciding_singular_values() -> None:
    tensor = torch.zeros(4, 4, 4, dtype=F64)
    for i, value in enumerate([2.0, 2.0, 2.0, 0.5]):
        tensor[i, i, i] = value
    assert torch.autograd.gradcheck(lambda t: TensorTrain.decompose(t, ranks=3).reconstruct(), tensor.requires_grad_())


def test_gradient_at_an_exactly_low_rank_tensor() -> None:
    tensor = TensorTrain.random((3, 4, 3), 2, dtype=F64).reconstruct().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: TensorTrain.decompose(t, ranks=2).reconstruct(), tensor)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limits", [{"ranks": 3}, {"rtol": 1e-3}, {"budget": 0.99}])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_gradient_is_finite_at_exactly_low_rank(rank: int, limits: dict[str, Any], dtype: torch.dtype) -> None:
    exact = TensorTrain.random((4, 3, 4), max(rank, 1), dtype=dtype) * (1 if rank else 0)
    tensor = exact.reconstruct().requires_grad_()
    train = TensorTrain.decompose(tensor, **limits)
    (train.reconstruct().abs().sum() + train.round(ranks=2).reconstruct().abs().sum()).backward()
    assert bool(torch.isfinite(tensor.grad).all())
    assert float(tensor.grad.abs().max()) < 1e3


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients_through_the_operations_on_trains(dtype: torch.dtype) -> None:
    train = TensorTrain.random((3, 4, 2), (2, 2), 3, dtype=dtype)
    inputs = [structured((2, size), 1.0, dtype, size) for size in train.shape]

    def outputs(*cores: Tensor) -> tuple[Tensor, ...]:
        t = TensorTrain(cores)
        return (
            t.reconstruct(),
            t.evaluate(inputs),
            t.evaluate_dense(inputs),
            t.norm(),
            (t * t + 2 * t).inner(t),
            t[1, :, 0].reconstruct(),
            t.orthogonalize(1).reconstruct(),
            t.round(ranks=1).reconstruct(),
            t.round(rtol=0.0).reconstruct(),
        )

    assert torch.autograd.gradcheck(outputs, tuple(core.requires_grad_() for core in train.cores))


def test_error_costs_no_gradient_and_is_a_number() -> None:
    tensor = structured((3, 4, 5), 0.5, F64, 0).requires_grad_()
    train = TensorTrain.decompose(tensor, ranks=2)
    assert type(train.error) is float
    assert all(core.grad_fn is not None for core in train.cores if core.requires_grad)
    assert any(core.requires_grad for core in train.cores)


# ---- rounding, orthogonalisation, norm


@given(integer_trains(), LIMITS, st.sampled_from(DTYPES))
def test_rounding_is_within_its_limits(train: TensorTrain, limits: dict[str, Any], dtype: torch.dtype) -> None:
    train = train.to(dtype)
    shape, ranks = train.shape, train.ranks
    smallest = tt_svd.count(shape, (ranks[0], *[1] * (len(shape) - 1), ranks[-1]))
    limits = {**limits, "max_parameters": max(limits.get("max_parameters", 10**6), smallest)}
    limits = {**limits, "budget": max(limits.get("budget", 1e6), (smallest + 0.5) / train.dense_parameters)}
    limits.pop("ranks", None)
    c_eps = 100 * torch.finfo(dtype).eps
    reference = full(train)
    try:
        rounded = train.round(**limits)
    except TensorTrainError:
        caps = {name: value for name, value in limits.items() if name != "rtol"}
        assert train.round(**caps).error > limits["rtol"]
        return
    within(rounded, limits)
    assert all(a <= b for a, b in zip(rounded.ranks, train.ranks, strict=True))
    assert (rounded.ranks[0], rounded.ranks[-1]) == (ranks[0], ranks[-1])
    if float(reference.abs().max()) > 0:
        found = distance(full(rounded), reference)
        assert found == pytest.approx(rounded.error, abs=c_eps)
        assert found <= limits.get("rtol", 1.0) + c_eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_a_sum_finds_its_ranks(dtype: torch.dtype) -> None:
    train = TensorTrain.random((4, 5, 6, 3), (3, 4, 2), dtype=dtype)
    factors = tt_svd.right_factors((train + train).cores)[1:]
    assert all(f.shape[1] <= rank for f, rank in zip(factors, train.ranks[1:-1], strict=True))
    doubled = (train + train).round(rtol=1e-5)
    assert doubled.ranks == train.ranks
    assert distance(doubled.reconstruct(), 2 * train.reconstruct()) < 1e-5
    assert (train - train * 1).round(rtol=0.5).error is not None


def test_rounding_is_as_good_as_decomposing() -> None:
    tensor = structured((4, 5, 6, 3), 0.5, F64, 0)
    exact = TensorTrain.decompose(tensor, rtol=0.0)
    for limits in ({"ranks": (2, 4, 2)}, {"rtol": 0.05}, {"max_parameters": 80}):
        rounded, direct = exact.round(**limits), TensorTrain.decompose(tensor, **limits)
        assert distance(rounded.reconstruct(), tensor) == pytest.approx(rounded.error, rel=1e-6)
        assert rounded.error <= 1.2 * direct.error
        assert rounded.n_parameters <= 1.2 * direct.n_parameters


@given(integer_trains(), st.data())
def test_orthogonalized_cores(train: TensorTrain, data: Any) -> None:
    center = data.draw(st.integers(0, train.order - 1))
    moved = train.orthogonalize(center)
    torch.testing.assert_close(full(moved), full(train))
    for core in moved.cores[:center]:
        flat = core.flatten(0, 1)
        torch.testing.assert_close(flat.mT @ flat, torch.eye(flat.shape[1], dtype=F64))
    for core in moved.cores[center + 1 :]:
        flat = core.flatten(1)
        torch.testing.assert_close(flat @ flat.mT, torch.eye(len(flat), dtype=F64))
    assert float(moved.cores[center].norm()) == pytest.approx(float(full(train).norm()))


def test_norm_is_accurate_after_cancellation() -> None:
    train = TensorTrain.random((5, 6, 7), 3, dtype=F64)
    change = TensorTrain.random((5, 6, 7), 1, seed=1, dtype=F64) * 1e-11
    assert float((train + change - train).norm()) == pytest.approx(float(change.norm()), rel=1e-3)


# ---- making, moving, storing


def test_random_trains() -> None:
    state = torch.get_rng_state()
    train = TensorTrain.random((30, 30, 30), (4, 5), seed=2)
    assert torch.equal(state, torch.get_rng_state())
    assert train.ranks == (1, 4, 5, 1)
    assert train.error is None
    assert float(train.reconstruct().var()) == pytest.approx(1.0, rel=0.6)
    again = TensorTrain.random((30, 30, 30), (4, 5), seed=2)
    assert all(torch.equal(a, b) for a, b in zip(train.cores, again.cores, strict=True))
    assert not torch.equal(train.cores[0], TensorTrain.random((30, 30, 30), (4, 5), seed=3).cores[0])
    assert TensorTrain.random((2, 3), 2, dtype=torch.complex64).dtype == torch.complex64
    zeros = TensorTrain.zeros((2, 3), 2, dtype=F64)
    assert torch.equal(zeros.reconstruct(), torch.zeros(2, 3, dtype=F64))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_devices_and_dtypes(device: str, dtype: torch.dtype) -> None:
    tensor = structured((4, 5, 6), 0.5, dtype, 0).to(device)
    for limits in ({"rtol": 0.1}, {"ranks": 2}, {"budget": 0.5}):
        train = TensorTrain.decompose(tensor, **limits)
        assert (train.device.type, train.dtype) == (device, dtype)
        inputs = [torch.ones(3, size, dtype=dtype, device=device) for size in train.shape]
        torch.testing.assert_close(train.evaluate(inputs), train.evaluate_dense(inputs))
        moved = train.round(ranks=2).to("cpu", torch.complex128)
        assert moved.dtype == torch.complex128
        assert moved.error == train.round(ranks=2).error
    made = TensorTrain.random((2, 3), 2, dtype=dtype, device=device)
    assert torch.equal(made.to("cpu").cores[0], TensorTrain.random((2, 3), 2, dtype=dtype).cores[0])


def test_tensorly_round_trip_leaves_its_backend_alone() -> None:
    import tensorly

    backend = tensorly.get_backend()
    train = TensorTrain.random((3, 4, 5), 2, dtype=F64)
    theirs = train.to_tensorly()
    assert tuple(theirs.rank) == train.ranks
    with tensorly.backend_context("pytorch", local_threadsafe=True):
        torch.testing.assert_close(theirs.to_tensor(), train.reconstruct())
    back = TensorTrain.from_tensorly(theirs)
    assert all(torch.equal(a, b) for a, b in zip(back.cores, train.cores, strict=True))
    assert tensorly.get_backend() == backend
    arrays = [core.numpy() for core in train.cores]
    copied = TensorTrain.from_tensorly(arrays)
    arrays[0][:] = 0
    assert float(copied.cores[0].abs().sum()) > 0
    with pytest.raises(TensorTrainError, match="boundary ranks of 1"):
        integer_train((2, 3), (2, 2, 1)).to_tensorly()


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16])
def test_files_round_trip(dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "train.safetensors"
    train = TensorTrain.decompose(structured((4, 5, 6), 0.5, F64, 0), ranks=2).to(dtype)
    train.save(path)
    loaded = TensorTrain.load(path)
    assert loaded.dtype == dtype
    assert loaded.error == train.error
    assert all(torch.equal(a, b) for a, b in zip(train.cores, loaded.cores, strict=True))
    lazy = TensorTrain([core.conj() for core in train.cores])
    lazy.save(path)
    assert TensorTrain.load(path).error is None
    assert torch.equal(TensorTrain.load(path).cores[1], train.cores[1].conj())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.safetensors"
    integer_train((20, 30), (1, 9, 1)).save(path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:4], b"", b"no safetensors"):
        path.write_bytes(damaged)
        with pytest.raises(TensorTrainError, match="cannot read"):
            TensorTrain.load(path)
    with pytest.raises(TensorTrainError, match="cannot read"):
        TensorTrain.load(tmp_path / "missing")
    storage.write(path, {"cores.0": torch.ones(1, 2, 1)}, {"kind": "chain"})
    with pytest.raises(TensorTrainError, match="kind 'train'"):
        TensorTrain.load(path)
    storage.write(path, {"else": torch.ones(1, 2, 1)}, {"kind": "train", "complex": False, "error": None})
    with pytest.raises(TensorTrainError, match=r"no 'cores\.0'"):
        TensorTrain.load(path)


def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.safetensors"
    integer_train((2, 3), (1, 2, 1)).save(path)
    before = path.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        integer_train((4, 5), (1, 2, 1)).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_trains_are_pytrees() -> None:
    train = TensorTrain.decompose(structured((3, 4, 5), 0.5, F64, 0), ranks=2)
    leaves, structure = pytree.tree_flatten(train)
    assert len(leaves) == 3
    assert pytree.tree_unflatten(leaves, structure).error is None
    doubled = pytree.tree_map(lambda core: 2 * core, train)
    torch.testing.assert_close(doubled.reconstruct(), 8 * train.reconstruct())
    gradient = torch.func.grad(lambda t: t.norm())(train)
    assert isinstance(gradient, TensorTrain)
    assert gradient.shape == train.shape
    inputs = [torch.ones(2, size, dtype=F64) for size in train.shape]
    each = torch.func.vmap(lambda *u: train.evaluate(u))(*inputs)
    torch.testing.assert_close(each, train.evaluate(inputs))


class Evaluate(torch.nn.Module):
    def forward(self, train: TensorTrain, inputs: list[Tensor]) -> Tensor:
        return train.evaluate(inputs)


def test_trains_can_be_exported() -> None:
    train = TensorTrain.random((3, 4), 2)
    inputs = [torch.ones(2, 3), torch.ones(2, 4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(Evaluate(), (train, inputs)).module()
    torch.testing.assert_close(exported(train, inputs), train.evaluate(inputs))


def test_trains_are_immutable_and_made_of_plain_numbers() -> None:
    train = TensorTrain.decompose(structured((3, 4, 5), 0.5, F64, 0), budget=0.7)
    with pytest.raises(AttributeError):
        train.cores = ()  # type: ignore[misc]
    assert isinstance(train.cores, tuple)
    numbers = [*train.ranks, *train.shape, train.order, train.n_parameters, train.dense_parameters]
    assert all(type(n) is int for n in [*numbers, train.macs(), train.dense_macs()])
    assert copy.deepcopy(train).ranks == train.ranks
    text = repr(train)
    assert "shape 3×4×5" in text
    assert str(train.ranks) in text
    assert f"{train.n_parameters} of 60" in text
    assert f"error       {train.error:.4g}" in text
    assert "error" not in repr(TensorTrain(train.cores))


# ---- bad input


ONES = torch.ones(3, 4, 5)


@pytest.mark.parametrize(
    ("tensor", "limits", "named"),
    [
        (ONES, {}, "give ranks, rtol, max_parameters or budget"),
        ("ones", {"ranks": 1}, "tensor is a str"),
        (torch.tensor(1.0), {"ranks": 1}, "tensor has 0 axes"),
        (torch.ones(3, 0), {"ranks": 1}, "tensor is empty"),
        (ONES.int(), {"ranks": 1}, "dtype torch.int32"),
        (ONES.half(), {"ranks": 1}, "dtype torch.float16; single or double"),
        (ONES * math.nan, {"ranks": 1}, "60 NaN or infinite"),
        (ONES / 0, {"ranks": 1}, "60 NaN or infinite"),
        (ONES, {"ranks": 0}, "ranks = 0"),
        (ONES, {"ranks": -1}, "ranks = -1"),
        (ONES, {"ranks": 1.5}, "ranks = 1.5"),
        (ONES, {"ranks": True}, "ranks = True"),
        (ONES, {"ranks": (2,)}, "1 entries; one int or 2"),
        (ONES, {"ranks": (2, 0)}, r"ranks\[1\] = 0"),
        (ONES, {"ranks": (2, 2.0)}, r"ranks\[1\] = 2.0"),
        (ONES, {"rtol": -0.1}, "rtol = -0.1 is outside"),
        (ONES, {"rtol": 1}, "rtol = 1 is outside"),
        (ONES, {"rtol": math.nan}, "rtol = nan is outside"),
        (ONES, {"max_parameters": 11}, "max_parameters = 11 allows 11 parameters; .* at least 12"),
        (ONES, {"max_parameters": 12.0}, "max_parameters = 12.0"),
        (ONES, {"budget": 0.19}, "budget = 0.19 allows 11 parameters"),
        (ONES, {"budget": 0}, "budget = 0"),
        (ONES, {"budget": math.inf}, "budget = inf"),
        (ONES, {"ranks": 1, "seed": -1}, "seed = -1"),
    ],
)
def test_decompose_refuses(tensor: Any, limits: dict[str, Any], named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        TensorTrain.decompose(tensor, **limits)


@pytest.mark.parametrize(
    ("cores", "named"),
    [
        ([], "cores is empty"),
        (torch.ones(2, 1, 3, 1), "cores is a Tensor"),
        ([torch.ones(1, 2)], r"cores\[0\] has 2 axes"),
        ([torch.ones(1, 2, 1, 1)], r"cores\[0\] has shape \(1, 2, 1, 1\)"),
        ([torch.ones(1, 2, 3), torch.ones(2, 2, 1)], r"cores\[1\] begins with rank 2, cores\[0\] ends with 3"),
        ([torch.ones(1, 2, 1), torch.ones(1, 2, 1).double()], r"cores\[1\] is torch.float64"),
        ([torch.ones(1, 2, 1, dtype=torch.int64)], "dtype torch.int64"),
        ([torch.ones(1, 2, 1) * math.inf], "2 NaN or infinite"),
        ([torch.ones(1, 0, 1)], "empty"),
        ([None], r"cores\[0\] is a NoneType"),
    ],
)
def test_cores_that_are_no_train_are_refused(cores: Any, named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        TensorTrain(cores)


TRAIN = TensorTrain.random((3, 4), 2)


def test_autocast_takes_inputs_of_its_dtype() -> None:
    u, v = torch.ones(2, 3), torch.ones(2, 4)
    for evaluate in (TRAIN.evaluate, TRAIN.evaluate_dense):
        with torch.autocast("cpu", torch.bfloat16):
            low = evaluate([u.bfloat16(), v])
        torch.testing.assert_close(low.float(), evaluate([u, v]), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: TRAIN.evaluate([torch.ones(3)]), "1 entries for 2 cores"),
        (lambda: TRAIN.evaluate(torch.ones(2, 3)), "one tensor for 2 cores"),
        (lambda: TRAIN.evaluate([torch.ones(3), torch.ones(5)]), r"inputs\[1\] is \(5,\); \(batch, 4\)"),
        (lambda: TRAIN.evaluate([torch.ones(3), None]), r"inputs\[1\] is NoneType"),
        (lambda: TRAIN.evaluate([torch.ones(2, 3), torch.ones(3, 4)]), r"batch sizes \[2, 3\]"),
        (lambda: TRAIN.evaluate([torch.ones(1, 2, 3), torch.ones(4)]), r"inputs\[0\] is \(1, 2, 3\)"),
        (lambda: TRAIN.evaluate([torch.ones(3).double(), torch.ones(4)]), r"inputs\[0\] is torch.float64"),
        (lambda: TRAIN.evaluate_dense([torch.ones(3)]), "1 entries for 2 cores"),
        (lambda: TRAIN.orthogonalize(2), "center = 2 is no core of 2"),
        (lambda: TRAIN.orthogonalize(0.5), "center = 0.5"),
        (lambda: TensorTrain.decompose(torch.ones(2, 3, device="meta"), ranks=1), "tensor is on the meta device"),
        (lambda: TRAIN.to(torch.int64), "int64"),
        (lambda: TensorTrain([1e9 * core for core in TRAIN.cores]).to(torch.float16), "infinite"),
        (lambda: TRAIN.to(torch.float16).norm(), "float16"),
        (lambda: TRAIN.to(torch.float16).round(rtol=0.1), "float16"),
        (lambda: TRAIN + TensorTrain.random((3, 5), 2), r"differ in shape: \(3, 4\) and \(3, 5\)"),
        (lambda: TRAIN * TRAIN.to(torch.float64), "differ in dtype"),
        (lambda: TRAIN.inner(TensorTrain([torch.ones(2, 3, 1), torch.ones(1, 4, 1)])), "differ in R_0"),
        (lambda: TRAIN.inner(3), "other is a int"),
        (lambda: TRAIN * math.nan, "nan is not finite"),
        (lambda: TRAIN[3], r"index\[0\] = 3 is outside"),
        (lambda: TRAIN[0, -5], r"index\[1\] = -5"),
        (lambda: TRAIN[0, 0, 0], "does not fit 2 axes"),
        (lambda: TRAIN[..., ...], "does not fit 2 axes"),
        (lambda: TRAIN[2:2], "selects nothing"),
        (lambda: TRAIN[None], "is a NoneType"),
        (lambda: TRAIN[True], "is a bool"),
        (lambda: TRAIN[[0, 1]], "is a list"),
        (lambda: TRAIN.round(), "give ranks"),
        (lambda: TRAIN.round(ranks=4), "ranks = 4 exceeds 3"),
        (lambda: TRAIN.round(max_parameters=6), "at least 7"),
        (lambda: TensorTrain.random((), 2), "shape is empty"),
        (lambda: TensorTrain.random(4, 2), "shape = 4 is no sequence"),
        (lambda: TensorTrain.random((3, 0), 2), r"shape\[1\] = 0"),
        (lambda: TensorTrain.random((3, 4), 0), "ranks = 0"),
        (lambda: TensorTrain.random((3, 4), (2, 2)), "2 entries"),
        (lambda: TensorTrain.random((3, 4), 2, seed=1.5), "seed = 1.5"),
        (lambda: TensorTrain.zeros((3, 4), dtype=torch.int32), "dtype = torch.int32"),
        (lambda: TensorTrain.from_tensorly([torch.ones(3, 4)]), r"cores\[0\] has 2 axes"),
    ],
)
def test_operations_refuse(call: Any, named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        call()


def test_foreign_operands_are_type_errors() -> None:
    for operation in (lambda: TRAIN + 1, lambda: TRAIN - 1, lambda: TRAIN * "a", lambda: TRAIN * torch.ones(2)):
        with pytest.raises(TypeError):
            operation()


def test_spectra_of_a_train_are_those_of_the_tensor() -> None:
    train = TensorTrain.random((4, 5, 3, 4), (3, 6, 2), dtype=torch.complex128)
    found = tt_svd.train_spectra(train.cores, tt_svd.right_factors(train.cores))
    dense = tt_svd.dense_spectra(train.reconstruct())
    for a, b in zip(found, dense, strict=True):
        assert a == pytest.approx(b[: len(a)], abs=1e-12)
        assert max(b[len(a) :], default=0.0) < 1e-12
    assert linalg.frobenius_norm(tt_svd.right_factors(train.cores)[0]) == pytest.approx(
        float(train.reconstruct().norm())
    )

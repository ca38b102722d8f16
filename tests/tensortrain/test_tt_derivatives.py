"""Second and forward-mode derivatives, and vmap, through decompositions, rounding, orthogonalisation and norm."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

from tensortrain import TensorTrain, TensorTrainError, TensorTrainMatrix
from tensortrain.tt.eigen import lowest_eigenpair
from tensortrain.tt.sums import round_sum
from tensortrain.tt.systems import solve
from tests.campaigns import derivatives as campaign
from tests.support.deep import deep, leave_to_deep_tests
from tests.support.trains import structured

F64, C128 = torch.float64, torch.complex128
X = torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0), dtype=F64)


def cubes(x: Tensor) -> Tensor:
    return (TensorTrain.decompose(x, ranks=2).reconstruct() ** 3).sum()


def check(function: Callable[..., Any], inputs: Sequence[Tensor]) -> bool:
    """Compare derivatives with differences along random directions; deep tests compare every entry if all is real."""
    leaves = tuple(x.detach().clone().requires_grad_() for x in inputs)
    along = not deep() or any(x.is_complex() for x in inputs)
    return gradcheck(function, leaves, check_forward_ad=True, fast_mode=along) and gradgradcheck(
        function, leaves, check_fwd_over_rev=True, fast_mode=along
    )


def diagonal(values: Sequence[float], dtype: torch.dtype = F64) -> Tensor:
    tensor = torch.zeros(*[len(values)] * 3, dtype=dtype)
    for i, value in enumerate(values):
        tensor[i, i, i] = value
    return tensor


@pytest.mark.parametrize("dtype", [F64, C128])
@pytest.mark.parametrize("limits", [{"ranks": 2}, {"ranks": (1, 2)}, {"rtol": 0.4}, {"budget": 0.6}])
def test_derivatives_of_a_decomposition(limits: dict[str, Any], dtype: torch.dtype) -> None:
    tensor = structured((3, 4, 3), 0.6, dtype, 5)
    assert check(lambda t: TensorTrain.decompose(t, **limits).reconstruct(), [tensor])


@pytest.mark.parametrize("dtype", [F64, C128])
@pytest.mark.parametrize(
    "tensor",
    [diagonal([2.0, 2.0, 0.5]), TensorTrain.random((3, 3, 3), 2, dtype=F64).reconstruct()],
    ids=["equal kept singular values", "exactly of low rank"],
)
def test_only_the_gap_across_the_cut_matters(tensor: Tensor, dtype: torch.dtype) -> None:
    assert check(lambda t: TensorTrain.decompose(t, ranks=2).reconstruct(), [tensor.to(dtype)])


@pytest.mark.parametrize("dtype", [F64, C128])
def test_derivatives_of_operations_on_trains(dtype: torch.dtype) -> None:
    if dtype == C128:
        leave_to_deep_tests("derivatives are tried for real numbers; those for complex ones")

    def outputs(*cores: Tensor) -> tuple[Tensor, ...]:
        train = TensorTrain(cores)
        return (
            train.round(ranks=1).reconstruct(),
            train.round(ranks=(2, 1))[1, 0, 1],
            train.round(rtol=0.0).reconstruct(),
            train.orthogonalize(1).reconstruct(),
            train.norm(),
            train.norm(squared=True),
        )

    assert check(outputs, TensorTrain.random((3, 2, 2), (3, 2), 3, dtype=dtype).cores)


@pytest.mark.parametrize("difference", [0.0, 1e-9, 1.0])
def test_the_squared_norm_is_smooth_at_zero(difference: float) -> None:
    ones = torch.ones(1, 2, 1, dtype=F64)
    zero = difference * torch.tensor([[[1.0], [2.0]]], dtype=F64)

    def distance(core: Tensor) -> Tensor:
        return (TensorTrain([core]) - TensorTrain([ones])).norm(squared=True)

    def size(core: Tensor) -> Tensor:
        return TensorTrain([core, ones]).norm(squared=True)

    for derivative in (hessian, lambda f: jacfwd(jacfwd(f)), lambda f: jacrev(jacrev(f))):
        for function, x, expected in ((distance, ones + zero, 2.0), (size, zero, 4.0)):
            torch.testing.assert_close(derivative(function)(x).reshape(2, 2), expected * torch.eye(2, dtype=F64))


@pytest.mark.parametrize("dtype", [F64, C128])
def test_derivatives_of_a_sum_whose_rank_drops(dtype: torch.dtype) -> None:
    """At b = 2a the interfaces of a + b are singular, so their triangular factors have no second derivative."""
    if dtype == C128:
        leave_to_deep_tests("derivatives are tried for real numbers; those for complex ones")
    a = TensorTrain.random((3, 2, 3), 2, dtype=dtype)

    def outputs(*cores: Tensor) -> tuple[Tensor, ...]:
        total = TensorTrain(cores[:3]) + TensorTrain(cores[3:])
        return total.round(ranks=2).reconstruct(), total.round(ranks=1).reconstruct(), total.norm()

    assert check(outputs, [*a.cores, *(2 * a).cores])


def test_derivatives_of_matrices_and_boundary_ranks() -> None:
    matrix = structured((6, 4), 0.7, F64, 1)
    assert check(lambda m: TensorTrainMatrix.decompose(m, (2, 3), (2, 2), ranks=2).reconstruct(), [matrix])
    cores = TensorTrain.random((2, 3, 2, 2), 2, 1, dtype=F64).cores[1:3]
    assert check(lambda *c: TensorTrain(c).round(ranks=1).reconstruct(), cores)
    assert check(lambda *c: TensorTrain(c).norm(), cores)


def test_hessians_of_every_make_agree() -> None:
    expected = torch.autograd.functional.hessian(cubes, X)
    for computed in (
        hessian(cubes)(X),
        jacrev(jacrev(cubes))(X),
        jacfwd(jacfwd(cubes))(X),
        jacrev(jacfwd(cubes))(X),
        torch.autograd.functional.hessian(cubes, X, vectorize=True),
        torch.autograd.functional.hessian(cubes, X, vectorize=True, outer_jacobian_strategy="forward-mode"),
    ):
        torch.testing.assert_close(computed, expected)
    step = 1e-4 * X.flip(0)
    numeric = (grad(cubes)(X + step) - grad(cubes)(X - step)) / 2
    torch.testing.assert_close((expected.flatten(3) @ step.flatten()), numeric, rtol=1e-5, atol=1e-8)


def test_a_gradient_penalty_through_the_norm() -> None:
    cores = [core.requires_grad_() for core in TensorTrain.random((3, 4, 3), 2, 1, dtype=F64).cores]

    def penalty(train: Callable[[], Tensor]) -> list[Tensor]:
        first = torch.autograd.grad(train(), cores, create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in first), cores))

    ours = penalty(lambda: TensorTrain(cores).norm())
    dense = penalty(lambda: torch.linalg.vector_norm(TensorTrain(cores).reconstruct()))
    for a, b in zip(ours, dense, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.complex64, C128])
def test_forward_mode_agrees_with_reverse_mode(dtype: torch.dtype) -> None:
    x, v = (structured((3, 4, 3), 0.6, dtype, seed) for seed in (1, 2))

    def real(t: Tensor) -> Tensor:
        train = TensorTrain.decompose(t, ranks=2)
        return train.reconstruct().abs().square().sum() + train.round(ranks=1).norm()

    forward = jvp(real, (x,), (v,))[1]
    torch.testing.assert_close(forward, (grad(real)(x).conj() * v).sum().real, rtol=1e-3, atol=1e-4)
    with forward_ad.dual_level():  # forward-mode inputs do not require grad
        dual = forward_ad.unpack_dual(real(forward_ad.make_dual(x, v)))
    torch.testing.assert_close(dual.tangent, forward)
    with torch.no_grad():
        torch.testing.assert_close(jvp(real, (x,), (v,))[1], forward)


@pytest.mark.parametrize(
    ("tensor", "bond"),
    [
        (diagonal([2.0, 1.0, 1.0]), "bond 1 (ranks[0], between axes I_1 and I_2)"),
        (torch.einsum("ijk,l->lijk", diagonal([2.0, 1.0, 1.0]), torch.ones(2, dtype=F64)), "bond 3 (ranks[2]"),
        (torch.einsum("i,j,k->ijk", *[torch.arange(1.0, 4, dtype=F64)] * 3), "bond 1"),  # kept and discarded are zero
    ],
)
def test_a_tie_across_the_cut_is_named(tensor: Tensor, bond: str) -> None:
    def f(x: Tensor) -> Tensor:
        return TensorTrain.decompose(x, ranks=2).reconstruct().square().sum()

    assert bool(grad(f)(tensor).isfinite().all())
    second = (lambda x: torch.autograd.functional.hessian(f, x), hessian(f), lambda x: jvp(f, (x,), (x,)), jacfwd(f))
    for derivative in second:
        with pytest.raises(TensorTrainError) as caught:
            derivative(tensor)
        assert bond in str(caught.value)


def test_ties_in_rounding_and_lost_rank_in_orthogonalisation_are_named() -> None:
    tie = TensorTrain.decompose(diagonal([2.0, 1.0, 1.0]), ranks=3)
    with pytest.raises(TensorTrainError, match=r"bond 2 \(ranks\[1\]"):
        jvp(lambda last: TensorTrain([*tie.cores[:2], last]).round(ranks=(3, 2)).reconstruct(), *[(tie.cores[2],)] * 2)
    deficient = TensorTrain([torch.ones(1, 4, 2), torch.randn(2, 3, 2), torch.randn(2, 3, 1)])
    for call in (
        lambda first: deficient_with(first).orthogonalize(1),
        lambda first: deficient_with(first).orthogonalize(2),
    ):
        with pytest.raises(TensorTrainError, match=r"bond 1 .* a kept singular value is zero"):
            jvp(lambda first: call(first).reconstruct(), *[(deficient.cores[0],)] * 2)  # noqa: B023


def deficient_with(first: Tensor) -> TensorTrain:
    generator = torch.Generator().manual_seed(0)
    return TensorTrain([first, torch.randn(2, 3, 2, generator=generator), torch.randn(2, 3, 1, generator=generator)])


BATCH = torch.randn(4, 3, 4, 3, generator=torch.Generator().manual_seed(1), dtype=F64)


@pytest.mark.parametrize("transform", [lambda f: f, grad, hessian, jacfwd, lambda f: jacfwd(grad(f))])
@pytest.mark.parametrize(
    "function",
    [
        cubes,
        lambda x: (TensorTrain.decompose(x, ranks=(2, 1)).round(ranks=1).reconstruct() ** 3).sum(),
        lambda x: (TensorTrain([x[:1], x[:3].movedim(1, 1), x[..., :1]]).orthogonalize(1).reconstruct() ** 3).sum(),
        lambda x: TensorTrain([x[:1], x[:3], x[..., :1]]).norm(),
        lambda x: TensorTrain([x[:1], x[:3] * 2.0**-600, x[..., :1]]).norm(squared=True) / 2.0**-900,
        lambda x: (TensorTrain([x[:1], x[:3], x[..., :1]]).round(ranks=2).reconstruct() ** 2).sum(),
    ],
    ids=["decompose", "round", "orthogonalize", "norm", "squared norm", "round a train"],
)
def test_vmap_is_a_loop(function: Callable[[Tensor], Tensor], transform: Callable[..., Any]) -> None:
    transformed = transform(function)
    expected = torch.stack([transformed(x) for x in BATCH])
    torch.testing.assert_close(vmap(transformed)(BATCH), expected, rtol=1e-7, atol=1e-7)


def test_vmap_within_vmap_other_axes_and_trains() -> None:
    expected = torch.stack([cubes(x) for x in BATCH])
    nested = vmap(vmap(cubes, in_dims=2), in_dims=1)(torch.stack([BATCH, 2 * BATCH]).permute(2, 1, 3, 0, 4))
    torch.testing.assert_close(nested, torch.stack([expected, 8 * expected], 1))
    trains = [TensorTrain.random((3, 4, 3), 2, seed, dtype=F64) for seed in range(3)]
    stacked = [torch.stack(cores) for cores in zip(*(train.cores for train in trains), strict=True)]
    norms = vmap(lambda *cores: TensorTrain(cores).norm())(*stacked)
    torch.testing.assert_close(norms, torch.stack([train.norm() for train in trains]))
    error = []
    vmap(lambda x: error.append(TensorTrain.decompose(x, ranks=1).error) or x)(BATCH)
    assert error == [None]


@pytest.mark.parametrize("limits", [{"rtol": 0.1}, {"budget": 0.5}, {"max_parameters": 20}, {"ranks": 2, "rtol": 0.1}])
def test_what_chooses_ranks_from_numbers_is_refused_under_vmap(limits: dict[str, Any]) -> None:
    for function in (
        lambda x: TensorTrain.decompose(x, **limits).reconstruct(),
        lambda x: TensorTrain([x[:1], x[:3], x[..., :1]]).round(**limits).reconstruct(),
    ):
        with pytest.raises(TensorTrainError, match=r"vmap .*give ranks"):
            vmap(function)(BATCH)
    assert hessian(lambda x: TensorTrain.decompose(x, rtol=0.5).norm())(X).shape == (*X.shape, *X.shape)


EYE = TensorTrainMatrix.eye((3, 3), dtype=F64)
ONES = TensorTrain.ones((3, 3), F64)
INDICES = torch.tensor([[0, 1], [2, 0], [1, 1]])


@pytest.mark.parametrize(
    "call",
    [
        lambda train: solve(EYE, train, 1e-8),
        lambda train: solve(EYE * train.cores[0][0, 0, 0], ONES, 1e-8),
        lambda train: lowest_eigenpair(EYE * train.cores[0][0, 0, 0], 1e-8),
        lambda train: round_sum([train, train], ranks=1),
        lambda train: round_sum([train, train], rtol=0.1),
        lambda train: EYE.matmul(train, ranks=1),
        lambda train: train.sample(2),
        lambda train: train.largest(),
        lambda train: train.smallest(),
        lambda train: train.map(torch.exp),
        lambda train: 1 / train,
        lambda train: TensorTrain.fit(INDICES, train.cores[0][0, :, 0], 1),
        lambda train: TensorTrain.fit((train.cores[0][0] * INDICES).long(), ONES.cores[0][0, :, 0], 1),
        lambda train: TensorTrain.from_function(lambda i: i.sum(1) * train.cores[0].sum(), (3, 3), rtol=0.1),
        lambda train: train.plot(),
        lambda train: train.numpy(),
    ],
)
def test_what_reads_single_numbers_is_refused_under_vmap(call: Callable[[TensorTrain], Any]) -> None:
    with pytest.raises(TensorTrainError, match=r"does not work under torch\.vmap"):
        vmap(lambda core: call(TensorTrain([core, core])))(torch.ones(2, 1, 3, 1, dtype=F64))


def test_vmap_refuses_bad_numbers_and_samples_of_very_different_size() -> None:
    with pytest.raises(TensorTrainError, match="36 NaN or infinite"):
        vmap(cubes)(torch.where(torch.arange(4)[:, None, None, None] == 1, math.nan, BATCH))
    scales = torch.tensor([1e250, 1.0, 1e-250, 1.0], dtype=F64)[:, None, None, None]
    with pytest.raises(TensorTrainError, match="differ too much in size"):
        vmap(lambda x: TensorTrain.decompose(x, ranks=2).reconstruct())(BATCH * scales)
    large = vmap(lambda x: TensorTrain.decompose(x, ranks=2).reconstruct())(BATCH * 1e250)
    small = torch.stack([TensorTrain.decompose(x, ranks=2).reconstruct() for x in BATCH])
    torch.testing.assert_close(large / 1e250, small)


def test_the_campaign_in_short_form() -> None:
    rows = campaign.run(seed=1, seconds=20, rounds=1)
    assert len({row.quantity for row in rows}) > 0
    assert all(row.agreed == row.tried > 0 for row in rows), campaign.table(rows)

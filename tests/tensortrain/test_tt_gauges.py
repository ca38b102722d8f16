"""Trains whose bonds are scaled by any powers of two: the same tensor, and so the same results.

Such scales come with sums: where the norm of one summand stands in its first core, and that of the other in its last or
in all of them, what lies to the right of a bond differs by any factor.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.tt import svd as tt_svd
from tensortrain.tt import tangent
from tensortrain.tt.interfaces import drifts, right_interfaces, tt_norm
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.sums import round_sum
from tensortrain.tt.systems import solve
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.trains import DTYPES, F64, distance, exact_square, full, gauged, integer_train

SHAPES = st.lists(st.integers(1, 4), min_size=2, max_size=5).map(tuple)
# how far the scales go; 2**(2 · reach) and its square must be in the range, as the entries of cores and of products
REACH = {torch.float32: 30, torch.complex64: 30, torch.float64: 250, torch.complex128: 250}


def unit(train: TensorTrain) -> TensorTrain:
    return train / train.norm()


def spread_over_all(seed: int, order: int = 24, rank: int = 2) -> TensorTrain:
    """A train of norm 1 whose interfaces grow by a factor at each bond."""
    return unit(TensorTrain.random((4,) * order, rank, seed, F64))


def summed(dtype: torch.dtype) -> TensorTrain:
    """Two summands of different sizes."""
    wide = torch.complex128 if dtype.is_complex else F64
    first, other = (unit(TensorTrain.random((3, 4, 2, 3, 2), 2, seed, wide)) for seed in (0, 1))
    return (first.orthogonalize(0) + 1e-3 * other).to(dtype)


@settings(max_examples=30)
@given(
    SHAPES,
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.integers(0, 45),
    st.sampled_from(DTYPES),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.integers(0, 99),
)
def test_rounding_loses_no_small_summand_whatever_the_scales_of_the_bonds(
    shape: tuple[int, ...], ends: tuple[int, int], k: int, dtype: torch.dtype, share: float, seed: int
) -> None:
    """The sum of two integer tensors, the second times `2**-k`: exact in double precision for each of them."""
    large, small = (integer_train(shape, [ends[0], *[2] * (len(shape) - 1), ends[1]], seed + n) for n in (0, 50))
    total = gauged((large + small * 2.0**-k).to(dtype), int(share * REACH[dtype]), seed)
    norm = float(full(large).norm()) + 2.0**-k * float(full(small).norm())
    eps = 100 * torch.finfo(dtype).eps
    for rounded in (total.round(rtol=0.0), round_sum([total], rtol=0.0), total.orthogonalize(len(shape) - 1)):
        rest = full(rounded).to(torch.complex128) - full(large)
        assert float((rest - 2.0**-k * full(small)).norm()) <= eps * norm
    assert float(total.norm()) == pytest.approx(float(full(large + small * 2.0**-k).norm()), abs=eps * norm)


@pytest.mark.parametrize("reach", [0, 250])
def test_several_scales_at_once_are_kept_in_many_modes(reach: int) -> None:
    """Norms in the first core, in the last and in all of them; what is left out is measured in rational arithmetic."""
    parts = [spread_over_all(n) for n in range(3)]
    scaled = [parts[0].orthogonalize(0), 1e-5 * parts[1], 1e-10 * parts[2].orthogonalize(23)]
    total = gauged(scaled[2] + scaled[0] + scaled[1], reach, 0)
    for rounded in (
        total.round(rtol=1e-13),
        (scaled[0] + scaled[1] + scaled[2]).round(ranks=6),
        round_sum([scaled[1], gauged(scaled[0], reach, 1), scaled[2]], rtol=1e-13),
        TensorTrainMatrix.eye((4,) * 24, dtype=F64).matmul(total, rtol=1e-13),
    ):
        assert math.sqrt(exact_square(rounded - scaled[0] - scaled[1] - scaled[2])) < 2e-13
        assert max(rounded.ranks) == 6


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_do_not_depend_on_the_scales_of_the_bonds(dtype: torch.dtype) -> None:
    plain, reach = summed(dtype), REACH[dtype]
    train, eps = gauged(plain, reach, 3), 1e3 * torch.finfo(dtype).eps
    dense = plain.reconstruct()
    assert distance(train.inner(train), plain.inner(plain)) < eps
    for limits in ({"ranks": 2}, {"max_parameters": 40}, {"rtol": 0.1}):
        assert train.round(**limits).error == pytest.approx(plain.round(**limits).error, abs=2 * eps)
        assert train.round(**limits).ranks == plain.round(**limits).ranks
    assert distance((train * plain).round(rtol=0.0).reconstruct(), dense * dense) < eps
    doubled = TensorTrain.cat([plain, train], 1).round(rtol=0.0).reconstruct()
    assert distance(doubled, torch.cat([dense, dense], 1)) < eps
    assert distance(train.map(lambda entries: 2 * entries).reconstruct(), 2 * dense) < max(eps, 1e-9)
    draws, same = train.sample(20), plain.sample(20)
    assert torch.equal(draws.indices, same.indices)
    torch.testing.assert_close(draws.log_probabilities, same.log_probabilities, rtol=eps, atol=eps)
    right = right_interfaces(train.cores)
    spectra = zip(tt_svd.train_spectra(right), tt_svd.dense_spectra(dense), strict=True)
    for mine, theirs in spectra:
        length = min(len(mine), len(theirs))
        assert [math.ldexp(s, right.exponent) for s in mine[:length]] == pytest.approx(theirs[:length], abs=eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_and_systems_do_not_depend_on_the_scales_of_the_bonds(dtype: torch.dtype) -> None:
    plain, reach = summed(dtype), REACH[dtype]
    eps = 1e3 * torch.finfo(dtype).eps
    matrix = TensorTrainMatrix.random(plain.shape, plain.shape, 2, 5, dtype) * 1e-2
    matrix = matrix + TensorTrainMatrix.eye(plain.shape, dtype=dtype)
    scaled, train = gauged(matrix, reach, 4), gauged(plain, reach, 5)
    square, product = matrix.reconstruct(), matrix.reconstruct() @ plain.reconstruct().flatten()
    assert distance(scaled.matmul(scaled, rtol=0.0).reconstruct(), square @ square) < eps
    for image in (scaled.matmul(train, rtol=0.0), (scaled @ plain).round(rtol=0.0), (matrix @ train).round(rtol=0.0)):
        assert distance(image.reconstruct().flatten(), product) < eps
    solution = solve(scaled, gauged(matrix @ plain, reach, 6), 1e-5)
    assert solution.residual < 1e-5
    assert distance(solution.train.reconstruct(), plain.reconstruct()) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients_of_rounding_do_not_depend_on_the_scales_of_the_bonds(dtype: torch.dtype) -> None:
    """A core times its gradient does not; the loss depends on what was cut off."""
    plain = summed(dtype)
    weight = torch.linspace(0, 1, 144, dtype=F64).reshape(plain.shape)

    def loss(*cores: Tensor) -> Tensor:
        value: Tensor = (TensorTrain._of(cores).round(ranks=2).reconstruct() * weight).sum().abs()
        return value

    def products(train: TensorTrain) -> list[Tensor]:
        cores = [core.requires_grad_() for core in train.clone().cores]
        slopes = torch.autograd.grad(loss(*cores), cores)
        return [core.detach() * slope.conj() for core, slope in zip(cores, slopes, strict=True)]

    train = gauged(plain, 250, 3)
    for mine, theirs in zip(products(train), products(plain), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9)
    tangents = [tuple(core / 7 for core in one.cores) for one in (train, plain)]
    (_, mine), (_, theirs) = (
        torch.func.jvp(loss, one.cores, change) for one, change in zip((train, plain), tangents, strict=True)
    )
    torch.testing.assert_close(mine, theirs)


def test_samples_of_a_batch_may_have_scales_of_their_own() -> None:
    plain = summed(F64)
    batch = [torch.stack(pair) for pair in zip(gauged(plain, 40, 3).cores, gauged(plain, 40, 4).cores, strict=True)]
    lifted = [core * 2.0**600 if l in (0, 3) else core * 2.0**-600 for l, core in enumerate(batch[:-1])] + batch[-1:]

    def rounded(*cores: Tensor) -> Tensor:
        return TensorTrain._of(cores).round(ranks=4).reconstruct()

    for cores in (batch, lifted):
        for dense in torch.vmap(rounded)(*cores):
            assert distance(dense, plain.reconstruct()) < 1e-12
    far = [torch.stack(pair) for pair in zip(gauged(plain, 490, 3).cores, gauged(plain, 490, 4).cores, strict=True)]
    with pytest.raises(TensorTrainError, match="samples differ too much in size"):
        torch.vmap(rounded)(*far)


def test_inner_products_keep_summands_that_leave_the_range_on_the_way() -> None:
    """In 80 modes the square of what the first core of the second summand holds is below the range."""
    first, other = (TensorTrain.random((4,) * 80, 1, seed) for seed in (0, 1))
    first = TensorTrain([core / core.norm() for core in first.cores])
    scale = 2.0**80 / other.double().norm()
    other = TensorTrain([other.cores[0] * 2.0**-80, *other.cores[1:-1], other.cores[-1] * scale.float()])
    for a, b in ((first + other, first + other), (other + first, first), (first + other, other)):
        wide = float(a.double().inner(b.double()))
        assert float(a.inner(b)) == pytest.approx(wide, rel=1e-4)
        assert wide > 0.9


@pytest.mark.parametrize(
    ("dtype", "power"), [(F64, 300), (F64, 600), (F64, 1000), (torch.float32, 80), (torch.float32, 120)]
)
@pytest.mark.parametrize("turn", [1, -1])
def test_inner_products_keep_channels_whose_squares_vanish(dtype: torch.dtype, power: int, turn: int) -> None:
    """Two terms alike, one of which is small in one core and large in the next, and a channel that nothing leads to."""
    scales = torch.tensor([[1.0, 2.0**-power, 0.0], [1.0, 2.0**power, 1.0]], dtype=dtype)
    scales = scales if turn > 0 else scales.flip(0)
    train = TensorTrain([torch.diag(scales[0]).unsqueeze(0), torch.diag(scales[1]).unsqueeze(2)])
    assert float(train.inner(train)) == 2.0
    both = train + train
    assert float(both.inner(train)) == float(train.inner(both)) == 4.0


def test_inner_products_keep_channels_that_vanish_without_a_zero_in_any_core() -> None:
    """Each channel is orthogonal to the other, so that nothing but its own square leads to it."""
    small, ones = 2.0**-600, torch.ones(1, 1, 2, dtype=F64)
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=F64)
    middle = torch.diag_embed((signs * torch.tensor([[1.0], [small]], dtype=F64)).mT).transpose(0, 1)
    train = TensorTrain([ones, middle, (signs * torch.tensor([[1.0], [1 / small]], dtype=F64)).unsqueeze(2)])
    assert torch.equal(train.reconstruct(), 2 * torch.eye(2, dtype=F64).unsqueeze(0))
    assert float(train.inner(train)) == 8.0


@pytest.mark.parametrize("large", [1e30, 1e200])
def test_large_directions_that_cancel_in_what_is_read_hide_nothing(large: float) -> None:
    first = torch.tensor([[[1.0, 1.0], [2.0, 2.0]]], dtype=F64)
    second = torch.tensor([[[large], [1.0]], [[-large], [1.0]]], dtype=F64)
    for cores in ([first, second], [first, second, torch.ones(1, 3, 1, dtype=F64)]):
        train = TensorTrain(cores)
        dense = train.reconstruct()
        assert distance(train.round(rtol=1e-12).reconstruct(), dense) < 1e-14
        assert distance(train.norm(), dense.norm()) < 1e-14
        assert distance(train.inner(train), dense.square().sum()) < 1e-14


def test_norms_of_boundary_axes_far_apart_in_scale() -> None:
    for sizes in ([1.0, 2.0**-1000], [2.0**-1000, 1.0]):
        assert float(tt_norm([torch.tensor(sizes, dtype=F64).reshape(2, 1, 1)])) == 1.0


def test_drifts_adds_up_what_the_cores_do() -> None:
    small = [torch.full((1, 2, 1), 2.0**-150, dtype=F64)] * 5
    assert drifts(small, [0] * 5)
    assert not drifts(small, [-150] * 5)


@pytest.mark.parametrize("signs", [(1, 1, -1), (-1, -1, 1)])
def test_entries_are_searched_and_mapped_though_products_of_cores_leave_the_range(signs: tuple[int, ...]) -> None:
    plain = TensorTrain.random((3, 4, 2), 2, dtype=F64)
    train = TensorTrain([core * 10.0 ** (s * 200) for core, s in zip(plain.cores, signs, strict=True)])
    scale = 10.0 ** (200 * sum(signs))
    dense = plain.reconstruct()
    assert train.largest().value == pytest.approx(float(dense.max()) * scale)
    assert train.smallest().value == pytest.approx(float(dense.min()) * scale)
    assert distance(train.map(lambda entries: 2 * entries / scale).reconstruct(), 2 * dense) < 1e-9


def test_products_that_overflow_are_named() -> None:
    train = gauged(summed(F64), 500, 3)
    for calculate in (lambda t: t.round(ranks=2), lambda t: t.norm(), lambda t: round_sum([t], ranks=2)):
        with pytest.raises(TensorTrainError, match="NaN or infinite"):
            calculate(train * train)


def test_channels_that_no_core_reads_do_not_hide_the_others() -> None:
    """The tangent vectors of a train of 200 modes hold zeros, the size of whose interfaces means nothing."""
    train = TensorTrain.random((1,) * 200, 3)
    train = train / train.norm()
    assert float((tangent.project(train, train) - train).norm()) < 1e-4


@pytest.mark.parametrize("digits", [0, 2, 4, 5, 6])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ill_conditioned_gauges_cost_no_more_digits_than_the_cores_have_lost(digits: int, seed: int) -> None:
    """A gauge of condition 10^digits at each bond; from 5 on, rounding once returned another tensor without a word."""
    generator = torch.Generator().manual_seed(seed)
    plain = TensorTrain.random((3,) * 8, 4, dtype=torch.float64, seed=seed)
    cores = list(plain.cores)
    for bond in range(7):
        left, right = (
            torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))[0] for _ in range(2)
        )
        gauge = left @ torch.diag(10.0 ** (-digits / 3 * torch.arange(4, dtype=torch.float64))) @ right
        cores[bond] = torch.tensordot(cores[bond], gauge, 1)
        cores[bond + 1] = torch.tensordot(torch.linalg.inv(gauge), cores[bond + 1], 1)
    train = TensorTrain(cores)
    dense = train.reconstruct()

    def distance(other: TensorTrain) -> float:
        return float((other.reconstruct() - dense).norm() / dense.norm())

    lost = distance(plain)
    for result in (train.round(rtol=1e-10), train.round(ranks=4), train.orthogonalize(4), round_sum([train], ranks=4)):
        assert distance(result) < 30 * lost + 1e-12

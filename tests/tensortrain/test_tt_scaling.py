"""Trains and kernels whose norm leaves the range of the dtype, at the end or on the way; ranks that need no care."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tensortrain import ConvTensorTrain, TensorTrain, TensorTrainError, TensorTrainMatrix, round_sum
from tests.support.trains import structured

F64 = torch.float64
SCALES = {
    "large first, small later": lambda big: [big] * 4 + [1 / big] * 4,
    "small first, large later": lambda big: [1 / big] * 4 + [big] * 4,
    "in turns": lambda big: [big, 1 / big] * 4,
    "one large, one small": lambda big: [1, big, 1, 1, 1, 1, 1 / big, 1],
}
DTYPES = [(torch.float32, 1e30, 1e-5), (torch.complex64, 1e30, 1e-5), (F64, 1e200, 1e-13)]


def distance(a: Tensor, b: Tensor) -> float:
    return float((a.to(torch.complex128) - b).norm() / b.norm())


@pytest.mark.parametrize("order", SCALES)
@pytest.mark.parametrize(("dtype", "big", "tolerance"), DTYPES)
def test_unbalanced_trains_are_computed_like_balanced_ones(
    dtype: torch.dtype, big: float, tolerance: float, order: str
) -> None:
    scales = SCALES[order](big)
    base = TensorTrain.random((3,) * 8, 3, dtype=torch.complex128 if dtype.is_complex else F64)
    train = TensorTrain([(core * scale).to(dtype) for core, scale in zip(base.cores, scales, strict=True)])
    dense = base.reconstruct()
    assert float(train.norm()) == pytest.approx(float(base.norm()), rel=tolerance)
    assert complex(train.inner(train)) == pytest.approx(complex(base.inner(base)), rel=10 * tolerance)
    assert distance(train.round(rtol=tolerance).reconstruct(), dense) < 3 * tolerance
    for limits in ({"ranks": 2}, {"budget": 0.02}, {"rtol": 0.5}):
        rounded, reference = train.round(**limits), base.round(**limits)
        assert rounded.ranks == reference.ranks
        assert rounded.error == pytest.approx(reference.error, rel=1e-4)
        assert distance(rounded.reconstruct(), reference.reconstruct()) < 1e-3
    assert distance(train.orthogonalize(3).reconstruct(), dense) < 10 * tolerance


@pytest.mark.parametrize(("dtype", "big", "tolerance"), DTYPES)
def test_gradients_of_unbalanced_trains(dtype: torch.dtype, big: float, tolerance: float) -> None:
    scales = [big, big, 1 / big, 1 / big]
    base = TensorTrain.random((3,) * 4, 2, dtype=torch.complex128 if dtype.is_complex else F64)

    def gradients(cores: list[Tensor]) -> list[Tensor]:
        leaves = [core.clone().requires_grad_() for core in cores]
        train = TensorTrain(leaves)
        return list(torch.autograd.grad(train.norm() + train.round(ranks=1).norm(), leaves))

    scaled = gradients([(core * scale).to(dtype) for core, scale in zip(base.cores, scales, strict=True)])
    for gradient, reference, scale in zip(scaled, gradients(list(base.cores)), scales, strict=True):
        assert distance(gradient.to(reference.dtype) * scale, reference) < 100 * tolerance


NUMBERS = {  # of a core x of size s; each is of size s**2, its gradient of size s
    "norm": lambda x, s, last: TensorTrain([x, last * s]).norm(),
    "squared norm": lambda x, s, last: TensorTrain([x, last]).norm(squared=True),
    "inner product": lambda x, s, last: (
        TensorTrain([x, last]).inner(TensorTrain([last.transpose(0, 2) * s, last + 1])).real
    ),
    "inner product with itself": lambda x, s, last: TensorTrain([x, last]).inner(TensorTrain([x, last + 1])).real,
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, F64])
@given(power=st.integers(-36, 36))
def test_a_gradient_fits_where_the_number_does_not(name: str, dtype: torch.dtype, power: int) -> None:
    scale = 10.0 ** (8 * power if dtype == F64 else power)
    first, last = TensorTrain.random((2, 2), 2, seed=1, dtype=dtype).cores
    last = last[..., :1].contiguous()

    def gradients(x: Tensor, s: float) -> tuple[Tensor, Tensor]:
        """Return the gradient and a derivative of it, both as for s = 1."""
        x = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(NUMBERS[name](x, s, last), x, create_graph=True)
        along = (gradient * first.flip(1)).real.sum()
        second = torch.autograd.grad(along, x)[0] if along.requires_grad else torch.zeros_like(x)
        return gradient.detach() / s, second

    for actual, expected in zip(gradients(first * scale, scale), gradients(first, 1.0), strict=True):
        torch.testing.assert_close(
            actual, expected, rtol=100 * torch.finfo(dtype).eps, atol=100 * torch.finfo(dtype).eps
        )


@pytest.mark.parametrize(("dtype", "order"), [(torch.float32, 100), (F64, 400), (F64, 700)])
def test_long_trains_with_ordinary_entries(dtype: torch.dtype, order: int) -> None:
    ones = TensorTrain([torch.ones(1, 10, 1, dtype=dtype)] * order)
    norm = float(ones.norm())
    fits = order / 2 < math.log10(torch.finfo(dtype).max)
    assert norm == (pytest.approx(10 ** (order / 2)) if fits else math.inf)
    doubled = (ones + ones).round(rtol=1e-3)
    assert doubled.ranks == (1,) * (order + 1)
    assert doubled.error < 1e-6
    assert float(doubled[(0,) * order]) == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize(("dtype", "order", "digits"), [(torch.float32, 60, 1e-3), (F64, 700, 1e-3)])
def test_a_long_random_train_is_rounded(dtype: torch.dtype, order: int, digits: float) -> None:
    train = TensorTrain.random((10,) * order, 3, dtype=dtype)
    rounded = (train + train).round(rtol=1e-4)
    assert rounded.ranks == train.ranks
    index = (1,) * order
    assert float(rounded[index]) == pytest.approx(2 * float(train[index]), rel=digits)


@pytest.mark.parametrize(
    ("dtype", "growth"), [(torch.float32, 1e4), (torch.float32, 1e10), (F64, 1e10), (F64, 1e60), (F64, 1e-60)]
)
@pytest.mark.parametrize("turned", [False, True])
def test_growth_in_directions_that_the_tensor_does_not_have(dtype: torch.dtype, growth: float, turned: bool) -> None:
    middle, last = torch.zeros(2, 3, 2, dtype=dtype), torch.zeros(2, 3, 1, dtype=dtype)
    middle[0, :, 0], middle[1, :, 1], last[0] = 1, growth, 1
    cores = [torch.ones(1, 3, 2, dtype=dtype), *[middle] * 8, last]  # a train of ones, and what `last` ignores
    train = TensorTrain([core.transpose(0, 2) for core in reversed(cores)] if turned else cores)
    for same in (train.round(ranks=1), train.round(rtol=1e-3), *map(train.orthogonalize, (1, 4, 8)), train):
        assert float(same.norm()) == pytest.approx(243, rel=1e-4)
        assert float(same.inner(train)) == pytest.approx(243**2, rel=1e-4)
    for same in (train.round(ranks=1), *map(train.orthogonalize, (1, 4, 8))):
        assert float(same[(0,) * 10]) == pytest.approx(1, rel=1e-4)
    if growth == 1e60 and not turned:
        with pytest.raises(TensorTrainError, match="the derivatives would overflow"):
            TensorTrain([*train.cores[:-1], last.requires_grad_()]).round(ranks=1)
        with pytest.raises(
            TensorTrainError, match="the derivatives would overflow"
        ):  # though the last bond is ordinary
            TensorTrain([*train.cores[:-1], last.requires_grad_(), torch.ones(1, 2, 1, dtype=dtype)]).round(ranks=1)


@pytest.mark.parametrize("end", [[], [torch.ones(1, 1, 1, dtype=F64)]])  # and with a bond that needs no scale
def test_growth_in_a_mixture_of_channels_that_is_not_read(end: list[Tensor]) -> None:
    """The first core reads the sum of both channels, and their difference grows: exact in powers of two."""
    mix = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=F64)
    middle = (mix @ torch.diag(torch.tensor([1.0, 1024.0], dtype=F64)) @ mix / 2).unsqueeze(1)
    first, last = torch.ones(1, 1, 2, dtype=F64), torch.tensor([[[2.0]], [[0.0]]], dtype=F64)
    for length in (20, 60):  # within the range of the dtype, and beyond
        cores = [*[middle] * length, last, *end]
        assert float(TensorTrain([first, *cores]).norm()) == pytest.approx(2, rel=1e-12)
    with pytest.raises(TensorTrainError, match="earlier cores do not read, so the derivatives would overflow"):
        TensorTrain([first.requires_grad_(), *cores]).norm()


@pytest.mark.parametrize("factor", [1e100, 1e-100])
def test_a_norm_that_no_core_can_hold_is_a_named_error(factor: float) -> None:
    train = TensorTrain([core * factor for core in TensorTrain.random((3,) * 8, 2, dtype=F64).cores])
    with pytest.raises(TensorTrainError, match=r"norm of the train, about 2\*\*.* does not fit torch.float64"):
        train.orthogonalize(1)
    assert float(TensorTrain.zeros((3, 3, 3), 2, dtype=F64).orthogonalize(1).norm()) == 0.0


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(torch.float32, 3e38), (torch.float32, 1e-38), (F64, 1.7e308), (F64, 1e-307), (torch.complex64, 2e38)],
)
def test_tensors_near_the_ends_of_the_range(dtype: torch.dtype, scale: float) -> None:
    tensor = structured((6, 5, 6), 0.7, torch.complex128 if dtype.is_complex else F64, 0)
    tensor = tensor / tensor.abs().max()
    for limits in ({"rtol": 1e-2}, {"ranks": 6}, {"budget": 0.5}):
        train, reference = (TensorTrain.decompose(x, **limits) for x in ((tensor * scale).to(dtype), tensor))
        assert train.ranks == reference.ranks
        assert train.error == pytest.approx(reference.error, rel=1e-3, abs=1e-6)
        assert all(bool(core.isfinite().all()) for core in train.cores)


# ---- convolution kernels


def kernel() -> Tensor:
    return torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0), dtype=F64)


@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e160, 1e-200])
@pytest.mark.parametrize("limits", [{"ranks": 4}, {"rtol": 0.3}, {"ranks": 15}])
def test_kernels_of_any_scale_are_decomposed(scale: float, limits: dict[str, Any]) -> None:
    reference = ConvTensorTrain.decompose(kernel(), [(3, 1), (1, 3)], **limits)
    chain = ConvTensorTrain.decompose(kernel() * scale, [(3, 1), (1, 3)], **limits)
    assert chain.ranks == reference.ranks
    assert chain.error == pytest.approx(reference.error, rel=1e-9)
    torch.testing.assert_close(chain.reconstruct() / scale, reference.reconstruct(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("dtype", "peak"), [(torch.float32, 3.39e38), (torch.float16, 65000), (F64, 1.6e307)])
def test_a_chain_near_overflow_holds_its_error_or_is_refused(dtype: torch.dtype, peak: float) -> None:
    weight = (kernel() / kernel().abs().max() * peak).to(dtype)
    chain = ConvTensorTrain.decompose(weight, [(3, 1), (1, 3)], ranks=4)
    ratio = float(
        (chain.reconstruct().double() / peak - weight.double() / peak).norm() / (weight.double() / peak).norm()
    )
    assert chain.error == pytest.approx(ratio, rel=1e-4)
    if dtype != F64:
        with pytest.raises(TensorTrainError, match="kernel of the cores would overflow; scale it first"):
            ConvTensorTrain.decompose(weight, [(3, 1), (1, 3)], rtol=0.3)


# ---- ranks


def test_one_rank_above_every_useful_one_is_clipped() -> None:
    tensor = structured((4, 5, 6), 0.5, F64, 0)
    assert TensorTrain.decompose(tensor, ranks=99).ranks == (1, 4, 6, 1)
    assert TensorTrain.decompose(tensor, ranks=99).round(ranks=50).ranks == (1, 4, 6, 1)
    assert TensorTrain.decompose(tensor, ranks=99, rtol=0.5).ranks == TensorTrain.decompose(tensor, rtol=0.5).ranks
    assert TensorTrainMatrix.decompose(torch.ones(6, 4), (2, 3), (2, 2), ranks=99).ranks == (1, 4, 1)
    assert ConvTensorTrain.decompose(kernel(), [(3, 1), (1, 3)], ranks=999).ranks == (6, 15, 5)


def test_boundary_ranks_may_be_given() -> None:
    tensor = structured((4, 5, 6), 0.5, F64, 0)
    short, long = (TensorTrain.decompose(tensor, ranks=ranks) for ranks in ((2, 3), [1, 2, 3, 1]))
    assert all(torch.equal(a, b) for a, b in zip(short.cores, long.cores, strict=True))
    assert long.round(ranks=[1, 2, 2, 1]).ranks == (1, 2, 2, 1)
    assert TensorTrain.random((4, 5, 6), [1, 2, 2, 1]).ranks == (1, 2, 2, 1)
    assert TensorTrain.zeros((4, 5), (1, 2, 1)).ranks == (1, 2, 1)
    assert TensorTrain.random((4, 5, 6), 3)[1:, :, 2].round(ranks=[1, 2, 1]).ranks == (1, 2, 1)
    assert TensorTrainMatrix.random((2, 3), (2, 2), [1, 3, 1]).round(ranks=(1, 2, 1)).ranks == (1, 2, 1)
    ends = TensorTrain(TensorTrain.random((3, 3, 3, 3, 3), 2).cores[1:4])
    assert ends.round(ranks=[2, 2, 2, 2]).ranks == (2, 2, 2, 2)


@pytest.mark.parametrize(("dtype", "size"), [(torch.complex64, 3e38), (torch.complex128, 1.5e308)])
def test_complex_entries_whose_absolute_values_overflow(dtype: torch.dtype, size: float) -> None:
    """The parts of such numbers are finite, so the numbers are legal."""
    number = complex(size, size)
    tensor = torch.full((3, 4), number, dtype=dtype)
    train = TensorTrain.decompose(tensor, ranks=1)
    assert train.error <= 1e-6
    assert torch.allclose(train.reconstruct(), tensor, rtol=1e-5)
    points = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    assert torch.allclose(TensorTrain.fit(points, tensor.flatten(), 1).reconstruct(), tensor, rtol=1e-5)

    small = 1e-20
    spread = TensorTrain([tensor[:1, :2, None], torch.full((1, 2, 1), small, dtype=dtype)])
    assert spread.norm() == pytest.approx(abs(number * small) * 2, rel=1e-5)
    assert TensorTrain([tensor[:1, :2, None]]).norm() == math.inf  # not NaN
    assert torch.equal(TensorTrain.full((2,), number, dtype=dtype).reconstruct(), tensor[0, :2])
    entry = number * small
    ones = TensorTrain.ones((2, 2), dtype)
    assert complex(spread.inner(ones)) == pytest.approx(4 * entry.conjugate(), rel=1e-5)
    for other in (
        spread.orthogonalize(1),
        round_sum([spread, spread], rtol=1e-4) / 2,
        TensorTrainMatrix.eye((2, 2), dtype).matmul(spread, ranks=1),
    ):
        assert torch.allclose(other.reconstruct(), torch.full((2, 2), entry, dtype=dtype), rtol=1e-5)

"""Truncations, their gradients, and the randomised SVD."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tensortrain import linalg
from tensortrain.derivatives import qr
from tensortrain.errors import TensorTrainError

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def with_spectrum(values: list[float], rows: int, columns: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """A random matrix with these singular values, then zeros."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    left, right = (
        torch.linalg.qr(torch.randn(n, len(values), dtype=wide, generator=generator))[0] for n in (rows, columns)
    )
    return (left * torch.tensor(values, dtype=wide) @ right.mH).to(dtype)


def projected(matrix: Tensor, **limits: float) -> Tensor:
    basis, _ = linalg.truncate(matrix, **limits)
    return basis @ (basis.mH @ matrix)


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    decay=st.sampled_from([1.0, 0.5, 1e-2, 1e-4]),
    max_rank=st.none() | st.integers(1, 9),
    rtol=st.none() | st.sampled_from([0.5, 1e-3, 1e-6, 1e-9]),
    dtype=st.sampled_from(DTYPES),
)
def test_truncation_is_the_shortest_allowed(
    rows: int, columns: int, decay: float, max_rank: int | None, rtol: float | None, dtype: torch.dtype
) -> None:
    matrix = with_spectrum([decay**i for i in range(min(rows, columns))], rows, columns, dtype)
    wide = matrix.to(torch.complex128)
    norm, eps = float(wide.norm()), torch.finfo(dtype).eps
    allowed = None if rtol is None else (rtol * norm) ** 2
    basis, discarded = linalg.truncate(matrix, max_rank, allowed)
    rank = basis.shape[1]
    tails = [math.sqrt(float((torch.linalg.svdvals(wide)[k:] ** 2).sum())) for k in range(min(rows, columns) + 1)]
    cap = min(rows, columns, max_rank or rows)

    torch.testing.assert_close(basis.mH @ basis, torch.eye(rank, dtype=dtype))
    error = float((wide - basis.to(wide.dtype) @ (basis.to(wide.dtype).mH @ wide)).norm())
    assert error == pytest.approx(math.sqrt(discarded), abs=20 * eps * norm)
    if rtol is None:
        assert rank == (cap if rows > columns or cap < rows else rows)
        assert error <= tails[min(rank, cap)] + 20 * eps * norm
    else:
        assert rank <= cap
        assert rank == cap or error <= (rtol + 20 * eps) * norm
        assert rank == 1 or tails[rank - 1] > (rtol - 20 * eps) * norm * 0.99


def test_small_singular_values_are_kept_to_full_precision() -> None:
    matrix = with_spectrum([1.0, 1e-5, 1e-11, 1e-13], 6, 40, torch.float64)
    basis, discarded = linalg.truncate(matrix, 3)
    assert math.sqrt(discarded) == pytest.approx(1e-13, rel=0.05)
    assert float((matrix - basis @ (basis.mH @ matrix)).norm()) == pytest.approx(1e-13, rel=0.05)
    assert linalg.truncate(matrix, None, 1.1e-22)[0].shape[1] == 2
    assert linalg.truncate(matrix, None, 1e-25)[0].shape[1] == 3


@pytest.mark.parametrize("unit", [1.0, 1e-9])  # the second is below what a Gram matrix resolves
def test_the_tolerance_is_neither_exceeded_nor_wasted(unit: float) -> None:
    matrix = with_spectrum([5.0, 3 * unit, 2 * unit, unit], 5, 9, torch.float64)
    tails = [float(torch.linalg.svdvals(matrix)[k:].norm() ** 2) for k in range(5)]
    for rank in (1, 2, 3):
        assert linalg.truncate(matrix, None, 1.001 * tails[rank])[0].shape[1] == rank
        assert linalg.truncate(matrix, None, 0.999 * tails[rank])[0].shape[1] == rank + 1


@given(st.integers(0, 999), st.sampled_from([0.3, 1e-2, 1e-3, 1e-4, 1e-5]))
def test_the_tolerance_holds_to_rounding_error(seed: int, unit: float) -> None:
    matrix = with_spectrum([5.0, 3 * unit, 2 * unit, unit], 5, 9, torch.float64, seed)
    norm = float(matrix.norm())
    for rank in (1, 2, 3):
        tail = float(torch.linalg.svdvals(matrix)[rank:].norm())
        basis, _ = linalg.truncate(matrix, None, (tail - 4e-15 * norm) ** 2)
        assert float((matrix - basis @ (basis.mH @ matrix)).norm()) <= tail
        assert basis.shape[1] > rank


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("rows", "columns"), [(5, 8), (8, 5)])
@pytest.mark.parametrize(
    ("spectrum", "rank"),
    [
        ([5.0, 4.0, 3.0, 2.0, 1.0], 3),
        ([2.0, 2.0, 2.0, 0.5, 0.5], 3),  # kept values coincide, discarded ones too
        ([3.0, 3.0, 1.0, 0.0, 0.0], 3),  # exactly low rank
        ([3.0, 1.0, 1e-9, 1e-10, 1e-11], 2),  # below what a Gram matrix resolves
    ],
)
def test_gradient_of_a_truncation_with_a_gap(
    spectrum: list[float], rank: int, rows: int, columns: int, dtype: torch.dtype
) -> None:
    matrix = with_spectrum(spectrum, rows, columns, dtype).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: projected(m, max_rank=rank), matrix, check_forward_ad=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "columns"), [(5, 8), (8, 5)])
@pytest.mark.parametrize("spectrum", [[3.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0], [0.0], [1.0, 1e-20]])
def test_gradient_is_finite_without_a_gap(spectrum: list[float], rows: int, columns: int, dtype: torch.dtype) -> None:
    for rank in (1, 3, 4):
        matrix = with_spectrum(spectrum, rows, columns, dtype).requires_grad_()
        projected(matrix, max_rank=rank).abs().sum().backward()
        assert bool(torch.isfinite(matrix.grad).all())
        assert float(matrix.grad.abs().max()) < 1e3


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("rows", "columns"), [(7, 4), (4, 7)])
def test_gradients_of_qr(rows: int, columns: int, dtype: torch.dtype) -> None:
    matrix = with_spectrum([4.0, 3.0, 2.0, 1.0], rows, columns, dtype).requires_grad_()

    def invariants(m: Tensor) -> tuple[Tensor, ...]:
        q, r = qr(m)
        return q @ q.mH, q @ r, r.mH @ r

    assert torch.autograd.gradcheck(invariants, matrix, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(invariants, matrix, check_fwd_over_rev=True)
    deficient = with_spectrum([1.0], rows, columns, dtype).requires_grad_()
    sum(part.abs().sum() for part in invariants(deficient)).backward()
    assert bool(torch.isfinite(deficient.grad).all())


@pytest.mark.parametrize(("rows", "columns"), [(400_000, 3), (131_075, 5), (40, 40), (3, 50)])
def test_triangular_factor_by_blocks(rows: int, columns: int) -> None:
    matrix = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    factor = linalg.triangular_factor(matrix)
    assert factor.shape == (min(rows, columns), columns)
    torch.testing.assert_close(factor.mH @ factor, matrix.mH @ matrix)
    torch.testing.assert_close(linalg.singular_values(matrix), torch.linalg.svdvals(matrix))


@pytest.mark.parametrize("scale", [0.0, 1e-300, 1.0, 1e300])
def test_frobenius_norm_of_any_size(scale: float) -> None:
    assert linalg.frobenius_norm(scale * torch.ones(3, 3, dtype=torch.float64)) == pytest.approx(3 * scale)
    assert isinstance(linalg.frobenius_norm(torch.ones(2)), float)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.complex128])
def test_frobenius_norm_of_infinite_entries(dtype: torch.dtype) -> None:
    assert linalg.frobenius_norm(torch.tensor([1.0, -math.inf], dtype=dtype)) == math.inf
    for order in ([math.inf, math.nan], [math.nan, 1.0]):
        assert math.isnan(linalg.frobenius_norm(torch.tensor(order, dtype=dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "columns"), [(150, 90), (90, 150)])
def test_randomized_svd_finds_the_leading_triples(rows: int, columns: int, dtype: torch.dtype) -> None:
    import tensorly

    backend = tensorly.get_backend()
    spectrum = [0.8**i for i in range(60)]
    matrix = with_spectrum(spectrum, rows, columns, dtype)
    u, s, vh = linalg.randomized_svd(matrix, 8, seed=3)
    assert u.shape == (rows, 8)
    assert vh.shape == (8, columns)
    assert u.dtype == vh.dtype == dtype
    torch.testing.assert_close(s.double(), torch.tensor(spectrum[:8], dtype=torch.float64), rtol=1e-3, atol=1e-5)
    best = math.sqrt(sum(x * x for x in spectrum[8:]))
    assert float((matrix - (u * s) @ vh).norm()) <= 1.001 * best + 1e-5
    torch.testing.assert_close(u.mH @ u, torch.eye(8, dtype=dtype))
    again = linalg.randomized_svd(matrix, 8, seed=3 + 2**32)  # as far as NumPy's seeds reach
    assert all(torch.equal(a, b) for a, b in zip((u, s, vh), again, strict=True))
    assert not torch.equal(u, linalg.randomized_svd(matrix, 8, seed=4)[0])
    assert tensorly.get_backend() == backend


def test_randomized_svd_leaves_global_random_numbers_alone() -> None:
    matrix = torch.randn(100, 100, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    linalg.randomized_svd(matrix, 2)
    assert torch.equal(state, torch.get_rng_state())


def test_randomized_svd_of_a_small_matrix_is_exact() -> None:
    matrix = with_spectrum([3.0, 2.0, 1.0], 12, 10, torch.float64)
    u, s, vh = linalg.randomized_svd(matrix, 3)
    torch.testing.assert_close((u * s) @ vh, matrix)


@pytest.mark.parametrize(
    ("matrix", "rank", "named"),
    [
        (torch.ones(4, 3), 4, "rank = 4 exceeds 3"),
        (torch.ones(4, 3), 0, "rank = 0"),
        (torch.ones(4, 3), 1.5, "rank = 1.5"),
        (torch.ones(4), 1, "matrix has 1 axes"),
        (torch.ones(30, 40, 50), 1, r"matrix has shape \(30, 40, 50\).*\(rows, columns\)"),
        (torch.ones(3, 4, 5), 1, r"matrix has shape \(3, 4, 5\)"),
        (torch.ones(4, 3).bfloat16(), 1, "torch.bfloat16.* single or double"),
        (torch.full((4, 3), math.nan), 1, "12 NaN or infinite"),
    ],
)
def test_randomized_svd_refuses(matrix: Tensor, rank: int, named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        linalg.randomized_svd(matrix, rank)


@pytest.mark.parametrize("name", ["oversampling", "power_iterations"])
def test_randomized_svd_refuses_bad_amounts_of_work(name: str) -> None:
    for value in (-3, 1.5, None):
        with pytest.raises(TensorTrainError, match=f"{name} = {value}"):
            linalg.randomized_svd(torch.ones(40, 30), 1, **{name: value})
    assert linalg.randomized_svd(torch.ones(40, 30), 1, **{name: 0})[1].shape == (1,)

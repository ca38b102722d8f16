"""Linear systems and lowest eigenvalues of TT-matrices: against dense ones, in 64 dimensions, symmetric and not."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tensortrain.errors import TensorTrainError
from tensortrain.tt.eigen import lowest_eigenpair
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.systems import solve
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.operators import F64, ising, kronecker_sum, second_difference
from tests.support.trains import DTYPES


def ones(order: int, size: int, dtype: torch.dtype = F64) -> TensorTrain:
    return TensorTrain([torch.ones(1, size, 1, dtype=dtype)] * order)


SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def dominant(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> TensorTrainMatrix:
    """The identity and a random matrix of half its norm: regular, and neither symmetric nor definite by chance."""
    random = TensorTrainMatrix.random(shape, shape, 2, seed, dtype)
    size = float(torch.linalg.matrix_norm(random.reconstruct(), 2))
    return TensorTrainMatrix.eye(shape, dtype) + random * (0.5 / size)


@settings(max_examples=20)
@given(SHAPES, st.sampled_from(DTYPES), st.integers(0, 99))
def test_solutions_are_those_of_the_dense_system(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> None:
    matrix, load = dominant(shape, dtype, seed), TensorTrain.random(shape, 2, seed + 1, dtype)
    rtol = 1e-10 if dtype in (F64, torch.complex128) else 1e-5
    solution = solve(matrix, load, rtol, seed=seed)
    assert solution.residual <= rtol
    assert (solution.train.dtype, solution.train.shape) == (dtype, shape)
    dense = torch.linalg.solve(matrix.reconstruct(), load.reconstruct().flatten())
    assert float((solution.train.reconstruct().flatten() - dense).norm() / dense.norm()) <= 4 * rtol
    measured = float((matrix @ solution.train - load).norm() / load.norm())
    assert measured == pytest.approx(solution.residual, abs=100 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("order", [2, 5, 64])
@pytest.mark.parametrize("drift", [0.0, 1.0], ids=["symmetric", "with drift"])
def test_poisson(order: int, drift: float) -> None:
    size = 16 if order < 64 or not drift else 8
    matrix = kronecker_sum(second_difference(size, drift), order)
    solution = solve(matrix, ones(order, size), 1e-8)
    assert solution.residual <= 1e-8
    rest = matrix @ solution.train - ones(order, size)
    assert float(rest.norm() / ones(order, size).norm()) == pytest.approx(solution.residual, rel=0.1)
    assert max(solution.train.ranks) < 25


def test_large_projected_systems_are_solved_by_iteration() -> None:
    shape = (30, 30)
    matrix = dominant(shape, torch.complex128, 0)
    load = TensorTrain.random(shape, 20, 1, torch.complex128)
    solution = solve(matrix, load, 1e-9)
    assert solution.residual <= 1e-9
    assert max(solution.train.ranks) > 15


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_systems_of_any_scale(scale: float) -> None:
    matrix, load = kronecker_sum(second_difference(4), 3), ones(3, 4)
    usual = solve(matrix, load, 1e-10).train.reconstruct()
    scaled = solve(matrix * scale, load, 1e-10)
    torch.testing.assert_close(scaled.train.reconstruct() * scale, usual)
    torch.testing.assert_close(solve(matrix, load * scale, 1e-10).train.reconstruct() / scale, usual)
    zero = solve(matrix, load * 0, 1e-10)
    assert (float(zero.train.norm()), zero.residual) == (0.0, 0.0)


def test_a_system_without_a_solution_is_a_warning() -> None:
    singular = TensorTrainMatrix([torch.diag(torch.tensor([1.0, 0.0], dtype=F64))[None, ..., None]] * 3)
    with pytest.warns(UserWarning, match="solve has reached a residual of .* in 3 sweeps, more than rtol = 1e-08"):
        solution = solve(singular, ones(3, 2), 1e-8, max_sweeps=3)
    assert 0.5 < solution.residual < math.inf


@settings(max_examples=20)
@given(SHAPES, st.sampled_from(DTYPES), st.integers(0, 99))
def test_lowest_eigenvalues_are_those_of_the_dense_matrix(
    shape: tuple[int, ...], dtype: torch.dtype, seed: int
) -> None:
    random = TensorTrainMatrix.random(shape, shape, 2, seed, dtype)
    matrix = random + random.H
    pair = lowest_eigenpair(matrix, 1e-10 if dtype in (F64, torch.complex128) else 1e-5, seed=seed)
    values = torch.linalg.eigvalsh(matrix.reconstruct())
    tolerance = 1e4 * torch.finfo(dtype).eps ** 0.75 * float(values.abs().max())
    assert float(pair.value) == pytest.approx(float(values[0]), abs=tolerance)
    assert float(pair.train.norm()) == pytest.approx(1, abs=1e-5)
    assert (pair.train.dtype, pair.value.dtype) == (dtype, F64)
    rest = matrix @ pair.train - pair.train * pair.value.to(dtype)
    assert float(rest.norm()) == pytest.approx(pair.residual, abs=tolerance)


@pytest.mark.parametrize("order", [2, 64])
def test_the_lowest_eigenvalue_of_the_laplacian(order: int) -> None:
    pair = lowest_eigenpair(kronecker_sum(second_difference(16), order), 1e-10)
    assert float(pair.value) == pytest.approx(order * (2 - 2 * math.cos(math.pi / 17)), rel=1e-12)
    assert pair.train.round(rtol=1e-6).ranks == (1,) * (order + 1)


@pytest.mark.parametrize(("sites", "field"), [(8, 0.5), (30, 1.0)])
def test_the_ground_state_of_the_ising_chain(sites: int, field: float) -> None:
    pair = lowest_eigenpair(ising(sites, field), 1e-6)
    if sites == 8:
        exact = float(torch.linalg.eigvalsh(ising(sites, field).reconstruct())[0])
    else:
        exact = 1 - 1 / math.sin(math.pi / (2 * (2 * sites + 1)))  # at the critical field (Pfeuty 1970)
    assert float(pair.value) == pytest.approx(exact, abs=pair.residual)
    assert float(pair.value) >= exact - 1e-10
    again = lowest_eigenpair(ising(sites, field) * 1e100, 1e-6)
    assert float(again.value) == pytest.approx(exact * 1e100)


MATRIX, LOAD = kronecker_sum(second_difference(3), 2), ones(2, 3)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: solve(torch.eye(9), LOAD, 1e-6), "matrix is a Tensor"),
        (lambda: solve(MATRIX, torch.ones(9), 1e-6), "load is a Tensor"),
        (lambda: solve(TensorTrainMatrix.random((3, 3), (3, 4), 2), LOAD, 1e-6), r"\(3, 4\) differ; a square matrix"),
        (lambda: solve(MATRIX, ones(3, 3), 1e-6), r"has axes \(3, 3, 3\)"),
        (lambda: solve(MATRIX, ones(2, 3, torch.float32), 1e-6), "float32"),
        (lambda: solve(MATRIX.to(torch.float16), ones(2, 3, torch.float16), 1e-6), "float16"),
        (lambda: solve(MATRIX, LOAD, 1), "rtol = 1 is outside"),
        (lambda: solve(MATRIX, LOAD, None), "nothing limits|rtol"),
        (lambda: solve(MATRIX, LOAD, 1e-6, max_sweeps=0), "max_sweeps = 0"),
        (lambda: solve(MATRIX, LOAD, 1e-6, seed=-1), "seed = -1"),
        (lambda: lowest_eigenpair(torch.eye(9), 1e-6), "matrix is a Tensor"),
        (lambda: lowest_eigenpair(kronecker_sum(second_difference(3, 1.0), 2), 1e-6), "matrix is not Hermitian"),
        (lambda: lowest_eigenpair(TensorTrainMatrix.random((3,), (4,), 1), 1e-6), "a square matrix"),
        (lambda: lowest_eigenpair(MATRIX, -1), "rtol = -1"),
        (lambda: lowest_eigenpair(MATRIX, 1e-6, max_sweeps=1.5), "max_sweeps = 1.5"),
        (lambda: lowest_eigenpair(MATRIX, 1e-6, seed="a"), "seed = 'a'"),
    ],
)
def test_bad_input_is_refused(call: Any, named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        call()

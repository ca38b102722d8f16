"""Arithmetic of TT-matrices: exact on integers, products rounded on the way as good as those rounded afterwards."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.trains import DTYPES, F64, distance, gauged, integer_train, integers


def integer_matrix(rows: tuple[int, ...], columns: tuple[int, ...], rank: int, seed: int) -> TensorTrainMatrix:
    ranks = itertools.pairwise([1, *[rank] * (len(rows) - 1), 1])
    sizes = zip(rows, columns, ranks, strict=True)
    return TensorTrainMatrix([integers(a, o, i, b, seed=seed + l) for l, (o, i, (a, b)) in enumerate(sizes)])


AXES = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=3)


@given(AXES, st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_arithmetic_is_that_of_the_dense_matrices(
    axes: list[tuple[int, int, int]], rank: int, other_rank: int, seed: int
) -> None:
    rows, inner, columns = (tuple(sizes) for sizes in zip(*axes, strict=True))
    a, c = integer_matrix(rows, inner, rank, seed), integer_matrix(rows, inner, other_rank, seed + 50)
    b = integer_matrix(inner, columns, other_rank, seed + 10)
    vector = integer_train(inner, [1, *[other_rank] * (len(inner) - 1), 1], seed + 20)
    dense, other = a.reconstruct(), c.reconstruct()
    assert torch.equal((a @ b).reconstruct(), dense @ b.reconstruct())
    assert torch.equal((a @ vector).reconstruct().flatten(), dense @ vector.reconstruct().flatten())
    assert (a @ vector).shape == rows
    pairs = [
        (a + c, dense + other),
        (a - c, dense - other),
        (-a, -dense),
        (a * 3, dense * 3),
        (2.0 * a, dense * 2),
        (a * c, dense * other),
        (a.T, dense.T),
        (a.H, dense.mH),
        (a.kron(b), torch.kron(dense, b.reconstruct())),
    ]
    for number, (matrix, expected) in enumerate(pairs):
        assert torch.equal(matrix.reconstruct(), expected), number
    square = a @ a.T
    assert torch.equal(square.diagonal().reconstruct().flatten(), (dense @ dense.T).diagonal())
    assert float(square.trace()) == float((dense @ dense.T).trace())
    assert torch.equal(TensorTrainMatrix.eye(rows, F64).reconstruct(), torch.eye(len(dense), dtype=F64))
    assert torch.equal((TensorTrainMatrix.eye(rows, F64) @ a).reconstruct(), dense)


@settings(max_examples=20)
@given(AXES, st.sampled_from(DTYPES), st.integers(0, 99))
def test_products_rounded_on_the_way_are_as_good_as_those_rounded_afterwards(
    axes: list[tuple[int, int, int]], dtype: torch.dtype, seed: int
) -> None:
    rows, inner, columns = (tuple(size + 1 for size in sizes) for sizes in zip(*axes, strict=True))
    a = TensorTrainMatrix.random(rows, inner, 3, seed, dtype)
    eps = torch.finfo(dtype).eps
    operands: list[Any] = [TensorTrainMatrix.random(inner, columns, 2, seed + 1, dtype)]
    operands.append(TensorTrain.random(inner, 2, seed + 2, dtype))
    for operand in operands:
        exact = (a @ operand).reconstruct()
        whole = a.matmul(operand, rtol=0.0, seed=seed)
        assert distance(whole.reconstruct(), exact) < 1e3 * eps
        assert whole.error < 1e3 * eps
        rough = a.matmul(operand, ranks=2, seed=seed)
        afterwards = (a @ operand).round(ranks=2)
        off = distance(rough.reconstruct(), exact)
        assert off <= 1.2 * distance(afterwards.reconstruct(), exact) + 1e3 * eps
        assert off == pytest.approx(rough.error, rel=0.5, abs=1e3 * eps)
        tolerant = a.matmul(operand, rtol=0.1, seed=seed)
        assert distance(tolerant.reconstruct(), exact) <= 0.1 + 1e3 * eps
        assert (rough.dtype, type(rough)) == (dtype, type(operand))


@pytest.mark.parametrize(
    ("dtype", "reach"), [(F64, 100), (F64, 200), (F64, 400), (torch.float32, 25), (torch.float32, 50)]
)
def test_products_of_channels_of_any_size_keep_every_summand(dtype: torch.dtype, reach: int) -> None:
    for seed in range(8):
        matrix = integer_matrix((2, 2, 2), (2, 2, 2), 3, seed).to(dtype)
        vector = integer_train((2, 2, 2), (1, 3, 3, 1), seed).to(dtype)
        for operand in (matrix, vector):
            product = gauged(matrix, reach, seed).matmul(gauged(operand, reach, seed), rtol=0.0)
            assert distance(product.reconstruct(), (matrix @ operand).reconstruct()) < 1e4 * torch.finfo(dtype).eps


def test_numpy_does_not_split_a_matrix() -> None:
    eye = TensorTrainMatrix.eye((2, 3))
    assert torch.equal((np.float64(2) * eye).reconstruct(), 2 * torch.eye(6))
    with pytest.raises(TypeError):
        np.ones(3) * eye


def test_a_product_rounded_on_the_way_never_forms_the_large_one() -> None:
    a = TensorTrainMatrix.random((4,) * 6, (4,) * 6, 40, 0, F64)
    b = TensorTrain.random((4,) * 6, 40, 1, F64)
    largest = 0
    original = torch.tensordot

    def watched(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal largest
        result = original(*args, **kwargs)
        largest = max(largest, result.numel())
        return result

    torch.tensordot = watched  # type: ignore[assignment]
    try:
        a.matmul(b, ranks=5)
    finally:
        torch.tensordot = original
    assert 0 < largest < 4 * 1600 * 1600 / 10  # one core of a @ b


def test_gradients_flow_through_products() -> None:
    cores = [core.requires_grad_() for core in TensorTrainMatrix.random((2, 3), (3, 2), 2, 0, F64).cores]
    vector = TensorTrain.random((3, 2), 2, 1, F64)

    def exact(*cores: Tensor) -> Tensor:
        return (TensorTrainMatrix(cores) @ vector).reconstruct()

    def rounded(*cores: Tensor) -> Tensor:
        return TensorTrainMatrix(cores).matmul(vector, ranks=1).reconstruct()

    assert torch.autograd.gradcheck(exact, cores)
    assert torch.autograd.gradcheck(rounded, cores)


@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_products_of_any_scale(scale: float) -> None:
    a = TensorTrainMatrix.random((3,) * 4, (3,) * 4, 2, 0, F64)
    b = TensorTrainMatrix([a.cores[0] * scale, *a.cores[1:-1], a.cores[-1] / scale])
    expected = (a @ a).reconstruct()
    torch.testing.assert_close(b.matmul(b, rtol=1e-12).reconstruct(), expected)
    torch.testing.assert_close((a * scale).matmul(a, rtol=1e-12).reconstruct() / scale, expected)


A = TensorTrainMatrix.random((2, 3), (3, 2), 2)
B = TensorTrainMatrix.random((3, 2), (2, 2), 2)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: A @ A, r"has axes \(2, 3\) and boundary ranks 1 and 1; \(3, 2\) and 1 are needed"),
        (lambda: A @ TensorTrain.random((3, 3), 2), r"has axes \(3, 3\)"),
        (lambda: A @ TensorTrain([torch.ones(2, 3, 1), torch.ones(1, 2, 1)]), "boundary ranks 2 and 1"),
        (lambda: A @ B.to(F64), "torch.float64"),
        (lambda: A.matmul(torch.ones(6), ranks=2), "the right operand is a Tensor"),
        (lambda: A.matmul(B), "nothing limits the decomposition"),
        (lambda: A.matmul(B, ranks=0), "ranks = 0"),
        (lambda: A.matmul(B, rtol=1.0), "rtol = 1.0 is outside"),
        (lambda: A.matmul(B, ranks=2, seed=-1), "seed = -1"),
        (lambda: A.matmul(B, ranks=1, rtol=1e-3), "rtol = .* is not reached"),
        (lambda: A.to(torch.float16).matmul(B.to(torch.float16), ranks=2), "float16"),
        (lambda: A + B, r"differ in out_shape: \(2, 3\) and \(3, 2\)"),
        (lambda: A - A.to(F64), "torch.float64"),
        (lambda: A * B, "differ in out_shape"),
        (lambda: A * math.nan, "nan is not finite"),
        (lambda: A.kron(torch.eye(2)), "other is a Tensor"),
        (lambda: A.kron(B.to(F64)), "torch.float64"),
        (lambda: A.trace(), r"out_shape = \(2, 3\) and in_shape = \(3, 2\) differ"),
        (lambda: A.diagonal(), "differ; only a square matrix"),
        (lambda: TensorTrainMatrix.eye(()), "shape is empty"),
        (lambda: TensorTrainMatrix.eye((2, 0)), r"shape\[1\] = 0"),
        (lambda: TensorTrainMatrix.eye((2,), torch.int64), "dtype = torch.int64"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], Any], named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        call()


def test_foreign_operands_are_type_errors() -> None:
    for operation in (lambda: A + 1, lambda: A - torch.ones(6, 6), lambda: A * "a", lambda: A @ "a"):
        with pytest.raises(TypeError):
            operation()

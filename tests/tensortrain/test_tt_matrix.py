"""TT-matrices: exact on integers, and the same mechanism as the tensor train below."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from tensortrain.errors import TensorTrainError
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.tensor_train import TensorTrain

F64 = torch.float64


def integers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).to(F64)


@st.composite
def integer_matrices(draw: Any) -> TensorTrainMatrix:
    order = draw(st.integers(1, 4))
    ranks = [1, *(draw(st.integers(1, 3)) for _ in range(order - 1)), 1]
    cores = [
        integers(
            ranks[l], draw(st.integers(1, 3)), draw(st.integers(1, 3)), ranks[l + 1], seed=draw(st.integers(0, 99))
        )
        for l in range(order)
    ]
    return TensorTrainMatrix(cores)


def entries(matrix: TensorTrainMatrix) -> Tensor:
    """The dense matrix by its definition, the last axis fastest."""
    rows = list(itertools.product(*map(range, matrix.out_shape)))
    columns = list(itertools.product(*map(range, matrix.in_shape)))
    dense = torch.zeros(len(rows), len(columns), dtype=F64)
    for (a, row), (b, column) in itertools.product(enumerate(rows), enumerate(columns)):
        product = torch.ones(1, 1, dtype=F64)
        for core, o, i in zip(matrix.cores, row, column, strict=True):
            product = product @ core[:, o, i]
        dense[a, b] = product.item()
    return dense


@given(integer_matrices(), st.integers(1, 3))
def test_product_and_reconstruction_are_those_of_the_definition(matrix: TensorTrainMatrix, batch: int) -> None:
    dense = entries(matrix)
    assert matrix.shape == dense.shape
    assert matrix.dense_parameters == matrix.dense_macs() == dense.numel()
    assert matrix.n_parameters == sum(core.numel() for core in matrix.cores)
    assert torch.equal(matrix.reconstruct(), dense)
    vector, columns = integers(matrix.shape[1], seed=7), integers(matrix.shape[1], batch, seed=8)
    assert torch.equal(matrix @ vector, dense @ vector)
    assert torch.equal(matrix @ columns, dense @ columns)
    assert torch.equal(matrix @ columns.mT.contiguous().mT, dense @ columns)


@pytest.mark.parametrize("batch", [2, 5])
def test_macs_are_the_multiplications_that_run(batch: int) -> None:
    matrix = TensorTrainMatrix([integers(1, 2, 3, 4), integers(4, 5, 2, 3), integers(3, 2, 4, 1)])
    with FlopCounterMode(display=False) as counter:
        matrix @ integers(matrix.shape[1], batch)
    assert counter.get_total_flops() == 2 * batch * matrix.macs()
    steps = [(2, 1, 4, 3 * 2 * 4), (2 * 5, 4, 3, 2 * 4), (2 * 5 * 2, 3, 1, 4)]
    assert matrix.macs() == sum(math.prod(step) for step in steps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
@pytest.mark.parametrize("limits", [{"ranks": 3}, {"rtol": 0.2}, {"budget": 0.5}, {"max_parameters": 100}])
def test_decomposition_is_that_of_the_merged_tensor(limits: dict[str, Any], dtype: torch.dtype) -> None:
    matrix = torch.randn(12, 30, dtype=dtype, generator=torch.Generator().manual_seed(0))
    train = TensorTrainMatrix.decompose(matrix, (2, 3, 2), (3, 5, 2), **limits)
    merged = matrix.reshape(2, 3, 2, 3, 5, 2).permute(0, 3, 1, 4, 2, 5).reshape(6, 15, 4)
    reference = TensorTrain.decompose(merged, **limits)
    assert (train.out_shape, train.in_shape, train.ranks) == ((2, 3, 2), (3, 5, 2), reference.ranks)
    assert (train.error, train.dtype) == (reference.error, dtype)
    actual = float((train.reconstruct() - matrix).norm() / matrix.norm())
    assert actual == pytest.approx(train.error, abs=1e-5)
    rounded = train.round(ranks=1)
    assert rounded.ranks == (1, 1, 1, 1)
    change = float((rounded.reconstruct() - train.reconstruct()).norm() / train.reconstruct().norm())
    assert rounded.error == pytest.approx(change, abs=1e-5)


def test_kronecker_products_have_rank_1() -> None:
    a, b = integers(3, 2), integers(4, 5, seed=1)
    train = TensorTrainMatrix.decompose(torch.kron(a, b), (3, 4), (2, 5), rtol=0.0)
    assert train.ranks == (1, 1, 1)
    assert train.error < 1e-14


def test_the_gradient_of_a_product_reaches_the_matrix() -> None:
    matrix = torch.randn(6, 8, dtype=F64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    vector = torch.ones(8, dtype=F64)
    assert torch.autograd.gradcheck(lambda m: TensorTrainMatrix.decompose(m, (2, 3), (4, 2), ranks=2) @ vector, matrix)


def test_random_matrices_are_reproducible_and_survive_a_round_trip_through_files(tmp_path: Path) -> None:
    matrix = TensorTrainMatrix.random((2, 5), (3, 2), 4, seed=1, dtype=torch.complex128)
    again = TensorTrainMatrix.random((2, 5), (3, 2), 4, seed=1, dtype=torch.complex128)
    assert torch.equal(matrix.reconstruct(), again.reconstruct())
    path = tmp_path / "matrix.safetensors"
    matrix.save(path)
    loaded = TensorTrainMatrix.load(path)
    assert torch.equal(loaded.reconstruct(), matrix.reconstruct())
    assert loaded.error is None
    with pytest.raises(TensorTrainError, match="kind 'train'"):
        TensorTrain.load(path)


def test_matrices_are_immutable_pytrees() -> None:
    matrix = TensorTrainMatrix.random((2, 5), (3, 2), 4, seed=1, dtype=torch.complex128)
    assert matrix.to(torch.complex64).dtype == torch.complex64
    mapped = pytree.tree_map(lambda core: -core, matrix)
    assert isinstance(mapped, TensorTrainMatrix)
    assert torch.equal(mapped.reconstruct(), matrix.reconstruct())  # two cores
    with pytest.raises(AttributeError):
        matrix.cores = ()  # type: ignore[misc]


def test_the_text_shows_shape_size_and_error() -> None:
    text = repr(TensorTrainMatrix.decompose(torch.ones(4, 4), (2, 2), (2, 2), ranks=1))
    assert "2·2 rows and 2·2 columns" in text
    assert "8 of 16" in text
    assert "error" in text


ONES = torch.ones(6, 4)
MATRIX = TensorTrainMatrix.random((2, 3), (2, 2), 2)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: TensorTrainMatrix.decompose(ONES, (2, 2), (2, 2), ranks=1), r"out_shape = \(2, 2\) .* need \(4, 4\)"),
        (lambda: TensorTrainMatrix.decompose(ONES, (6,), (2, 2), ranks=1), "must have the same length"),
        (lambda: TensorTrainMatrix.decompose(ONES, (), (), ranks=1), "out_shape is empty"),
        (lambda: TensorTrainMatrix.decompose(ONES, (2, 3.0), (2, 2), ranks=1), r"out_shape\[1\] = 3.0"),
        (lambda: TensorTrainMatrix.decompose(ONES, 6, 4, ranks=1), "out_shape = 6 is not a sequence"),
        (lambda: TensorTrainMatrix.decompose(ONES, (2, 3), (2, 2)), "give ranks"),
        (lambda: TensorTrainMatrix.decompose(ONES, (2, 3), (2, 2), ranks=[5]), r"ranks\[0\] = 5 exceeds 4"),
        (lambda: TensorTrainMatrix.decompose(ONES * math.nan, (2, 3), (2, 2), ranks=1), "matrix holds 24 NaN"),
        (lambda: TensorTrainMatrix.decompose(torch.ones(24), (2, 3), (2, 2), ranks=1), "matrix has 1 axes"),
        (lambda: TensorTrainMatrix([torch.ones(1, 2, 1)]), r"cores\[0\] has shape \(1, 2, 1\)"),
        (lambda: TensorTrainMatrix([torch.ones(2, 2, 2, 1)]), "the first and the last must be 1"),
        (lambda: TensorTrainMatrix([torch.ones(1, 2, 2, 3), torch.ones(2, 2, 2, 1)]), "neighbours must share"),
        (lambda: TensorTrainMatrix([]), "cores is empty"),
        (lambda: TensorTrainMatrix(torch.ones(2, 1, 3, 3, 1)), "cores is a Tensor"),
        (lambda: TensorTrainMatrix.decompose(ONES.to("meta"), (2, 3), (2, 2), ranks=1), "matrix is on the meta device"),
        (lambda: MATRIX.to(torch.int64), "int64"),
        (lambda: MATRIX @ torch.ones(5), r"shape \(5,\); \(4,\) or \(4, batch\)"),
        (lambda: MATRIX @ torch.ones(4, 1, 1), r"shape \(4, 1, 1\)"),
        (lambda: MATRIX @ torch.ones(4, dtype=F64), "torch.float64"),
    ],
)
def test_bad_input_is_refused(call: Any, named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        call()


def test_foreign_operands_are_type_errors() -> None:
    with pytest.raises(TypeError):
        MATRIX @ 3  # type: ignore[operator]

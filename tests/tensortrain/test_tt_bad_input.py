"""Bad input to tensor trains: the message names the argument, its value and what is legal."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from tensortrain import functional as F
from tensortrain.errors import TensorTrainError
from tensortrain.tt import tangent
from tensortrain.tt.functions import interpolate
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.sums import round_sum
from tensortrain.tt.systems import solve
from tensortrain.tt.tensor_train import TensorTrain

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
META = TRAIN.to("meta")
MATRIX = TensorTrainMatrix.random((3, 4), (3, 4), 2)
SCALAR = torch.tensor(2)
HUGE = 10**30


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
        (lambda: TRAIN.orthogonalize(2), "center = 2 is not one of 2 cores"),
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
        (lambda: TRAIN[2:2], "selects no entry"),
        (
            lambda: TRAIN[::0],
            r"index\[0\] = slice\(None, None, 0\) is not a valid slice; integers and a step other than 0",
        ),
        (lambda: TRAIN[..., 0.5:2], r"index\[1\] = slice\(0.5, 2, None\) is not a valid slice"),
        (lambda: TRAIN[::1.0], "is not a valid slice"),
        (lambda: TRAIN["a":], "is not a valid slice"),
        (lambda: TRAIN[1.5], r"index\[0\] is a float"),
        (lambda: TRAIN[np.float64(1)], r"index\[0\] is a float64"),
        (lambda: TRAIN[2**70], r"index\[0\] = 1180591620717411303424 is outside"),
        (lambda: TRAIN[True], "is a bool"),
        (lambda: TRAIN[[0, 1]], "is a list"),
        (lambda: TRAIN.round(), "give ranks"),
        (lambda: TRAIN.round(ranks=[4]), r"ranks\[0\] = 4 exceeds 3"),
        (lambda: TRAIN.round(ranks=[1, 2, 2]), r"begins and ends with \(1, 2\)"),
        (lambda: TensorTrain.random((3, 4), (2, 2, 2)), r"begins and ends with \(2, 2\)"),
        (lambda: TRAIN.round(max_parameters=6), "at least 7"),
        (lambda: TensorTrain.random((), 2), "shape is empty"),
        (lambda: TensorTrain.random(4, 2), "shape = 4 is not a sequence"),
        (lambda: TensorTrain.random((3, 0), 2), r"shape\[1\] = 0"),
        (lambda: TensorTrain.random((3, 4), 0), "ranks = 0"),
        (lambda: TensorTrain.random((3, 4), (2, 2)), "2 entries"),
        (lambda: TensorTrain.random((3, 4), 2, seed=1.5), "seed = 1.5"),
        (lambda: TensorTrain.zeros((3, 4), dtype=torch.int32), "dtype = torch.int32"),
        (lambda: TensorTrain.from_tensorly([torch.ones(3, 4)]), r"cores\[0\] has 2 axes"),
        (lambda: TensorTrain.from_tensorly([None]), "factors must be tensors or arrays of numbers"),
        (lambda: TensorTrain.from_tensorly(3), "factors must be tensors or arrays of numbers"),
        (lambda: META.norm(), "meta device and has no entries"),
        (lambda: META.round(rtol=0.1), "meta device"),
        (lambda: META.orthogonalize(0), "meta device"),
        (lambda: META.sample(2), "meta device"),
        (lambda: META.largest(), "meta device"),
        (lambda: META.map(torch.exp), "meta device"),
        (lambda: round_sum([META, META], rtol=0.1), "meta device"),
        (lambda: tangent.project(META, META), "meta device"),
        (lambda: MATRIX.to("meta").matmul(META, ranks=2), "meta device"),
        (lambda: solve(MATRIX.to("meta"), META, 0.1), "meta device"),
        (lambda: TRAIN.evaluate(None), "inputs has the type NoneType for 2 cores"),
        (lambda: tangent.gradient(None, TRAIN), "function is a NoneType"),
        (lambda: TRAIN.requires_grad_(None), "requires_grad = None is neither"),
        (lambda: TRAIN.to("nowhere"), "cannot convert the train: "),
        (lambda: TRAIN.to([]), "cannot convert the train: "),
        (lambda: TRAIN.cuda("nowhere"), "cannot move to the GPU nowhere"),
        (lambda: TensorTrain.random((2, 2), 1, device="nowhere"), "device = 'nowhere' cannot be used"),
        (lambda: TensorTrain.zeros((2, 2), device=1.5), "device = 1.5 cannot be used"),
        (lambda: TensorTrain.linspace(0, 1, (2, 2), device="nowhere"), "device = 'nowhere'"),
        (lambda: TensorTrainMatrix.eye((2, 2), device="nowhere"), "device = 'nowhere'"),
        (lambda: interpolate(lambda i: i.sum(1) * 1.0, (2, 2), rtol=0.1, device=[]), r"device = \[\]"),
        (lambda: TRAIN.round(ranks=SCALAR), r"ranks = tensor\(2\) is not an integer"),
        (lambda: TRAIN.sum(SCALAR), r"dim = tensor\(2\)"),
        (lambda: TRAIN.permute(SCALAR), "tensor"),
        (lambda: TRAIN.reshape(torch.ones(2)), "shape"),
        (lambda: TensorTrain.ones(SCALAR), "is not a sequence of axis lengths"),
        (lambda: TensorTrain.from_foreign(SCALAR), "train is a Tensor, which has neither cores"),
        (lambda: TRAIN.sample(1, seed=HUGE), "seed = 10.* is too large"),
        (lambda: TRAIN.sample(HUGE), "n = 10.* is too large"),
        (lambda: TensorTrain.random((2, HUGE), 1), r"shape\[1\] = 10.* is too large"),
        (lambda: TRAIN**HUGE, r"would give ranks of up to 2\*\*10"),
        (lambda: TRAIN * 10**400, "inf is not finite"),
        (lambda: TensorTrain.fit(torch.zeros(2, 2).long(), torch.ones(2), 1, rtol=None), "rtol = None is outside"),
        (lambda: TensorTrain.ones((1,) * 70).numpy(), "70 axes are more than a NumPy array can have"),
    ],
)
def test_operations_refuse(call: Any, named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        call()


def test_foreign_operands_are_type_errors() -> None:
    for operation in (lambda: TRAIN + "a", lambda: TRAIN - None, lambda: TRAIN * "a", lambda: TRAIN * torch.ones(2)):
        with pytest.raises(TypeError):
            operation()


def test_integers_beyond_64_bits_are_numbers() -> None:
    ones = TensorTrain.ones((2, 2), dtype=torch.float64)
    for result in (
        HUGE * ones,
        ones * HUGE,
        ones - 1 + HUGE,
        TensorTrain.full((2, 2), HUGE, torch.float64),
        1 / (ones / HUGE),
    ):
        torch.testing.assert_close(result.reconstruct(), torch.full((2, 2), 1e30, dtype=torch.float64))
    assert float((ones**HUGE).sum()) == 4


def test_numpy_integers_are_indices() -> None:
    assert torch.equal(TRAIN[np.int64(1), np.int32(-1)], TRAIN[1, 3])
    assert TRAIN[np.int64(1) : np.int64(3), :: np.int8(2)].shape == (2, 2)


TRAIN_FUNCTIONS = (
    F.tt_reconstruct,
    lambda cores: F.tt_evaluate(cores, [torch.ones(2)] * 2),
    lambda cores: F.tt_evaluate_dense(cores, [torch.ones(2)] * 2),
)


@pytest.mark.parametrize("function", TRAIN_FUNCTIONS)
@pytest.mark.parametrize(
    ("cores", "named"),
    [
        ([], "cores is empty"),
        (torch.ones(1, 2, 1), "cores is a Tensor; a list"),
        (3, "cores is a int; a list"),
        ([torch.ones(1, 2, 3), torch.ones(2, 2, 1)], r"cores\[1\] begins with rank 2, cores\[0\] ends with 3"),
        ([torch.ones(2, 2), torch.ones(2, 2, 1)], r"cores\[0\] is \(2, 2\)"),
        ([torch.ones(1, 2, 1), 2.0], r"cores\[1\] is float"),
        ([torch.ones(1, 0, 1), torch.ones(1, 2, 1)], r"cores\[0\] is \(1, 0, 1\)"),
        ([torch.ones(1, 2, 1), torch.ones(1, 2, 1).double()], r"cores\[1\] is torch.float64"),
    ],
)
def test_functions_refuse_cores_that_are_no_train(function: Any, cores: Any, named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        function(cores)


@pytest.mark.parametrize(
    ("cores", "columns", "named"),
    [
        ([], torch.ones(2, 1), "cores is empty"),
        ([torch.ones(1, 2, 1)], torch.ones(2, 1), r"cores\[0\] is \(1, 2, 1\)"),
        ([torch.ones(2, 2, 2, 1)], torch.ones(2, 1), r"boundary ranks \(2, 1\)"),
        ([torch.ones(1, 2, 2, 3), torch.ones(2, 2, 2, 1)], torch.ones(4, 1), "begins with rank 2"),
        ([torch.ones(1, 2, 2, 1)], torch.ones(3, 1), r"columns is \(3, 1\); a matrix \(2, columns\)"),
        ([torch.ones(1, 2, 2, 1)], torch.ones(2), r"columns is \(2,\)"),
        ([torch.ones(1, 2, 2, 1)], 3, "columns is int"),
        ([torch.ones(1, 2, 2, 1)], torch.ones(2, 1).double(), "columns is torch.float64"),
    ],
)
def test_a_product_with_columns_refuses(cores: Any, columns: Any, named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        F.tt_matvec(cores, columns)


def test_functions_refuse_a_dense_tensor_larger_than_memory() -> None:
    cores = [torch.ones(1, 10, 1)] * 20
    for call in (lambda: F.tt_reconstruct(cores), lambda: F.tt_evaluate_dense(cores, [torch.ones(10)] * 20)):
        with pytest.raises(TensorTrainError, match=r"the dense tensor has 100,000,000,000,000,000,000 entries"):
            call()


def test_a_dense_tensor_larger_than_memory_is_refused_by_its_size() -> None:
    train = TensorTrain.ones((10,) * 20)
    with pytest.raises(TensorTrainError, match=r"100,000,000,000,000,000,000 entries, 4e\+11 GB of .* memory; use"):
        train.reconstruct()
    with pytest.raises(TensorTrainError, match="entries"):
        TensorTrainMatrix.eye((10,) * 12).reconstruct()
    with pytest.raises(TensorTrainError, match="entries"):
        train.evaluate_dense([torch.ones(10)] * 20)
    with pytest.raises(TensorTrainError, match="19 entries for 20 cores"):
        train.evaluate_dense([torch.ones(10)] * 19)
    assert "compression 5e+17×" in str(train)


@pytest.mark.parametrize(
    ("whole", "power"),
    [
        (TensorTrain.ones((4,) * 600), "≈1.72e+361"),
        (TensorTrainMatrix.eye((2,) * 600), "≈1.72e+361"),
        (TensorTrain.ones((1000,) * 1440), "≈1e+4320"),  # more digits than Python prints
    ],
)
def test_trains_with_more_entries_than_a_float_can_count(whole: Any, power: str) -> None:
    assert f"{whole.n_parameters:,} of {power} (0.0%, compression ≈" in repr(whole)
    with pytest.raises(TensorTrainError, match=f"dense tensor has {re.escape(power)} entries, ≈.* GB of"):
        whole.reconstruct()
    if isinstance(whole, TensorTrain):
        with pytest.raises(TensorTrainError, match=re.escape(power)):
            whole.numpy()
        with pytest.raises(TensorTrainError, match=r"shape\[0\] = ≈.* is too large"):
            whole.reshape(-1)


def test_a_budget_of_more_parameters_than_a_float_can_count() -> None:
    ones = TensorTrain.ones((4,) * 600)
    assert max((ones + ones).round(budget=0.5).ranks) == 1


@pytest.mark.parametrize("argument", ["rtol", "budget", "max_parameters"])
def test_numbers_beyond_every_float_are_refused(argument: str) -> None:
    with pytest.raises(TensorTrainError, match=f"{argument} = ≈-1e\\+5000 is"):
        TRAIN.round(**{argument: -(10**5000)})
    if argument != "max_parameters":
        with pytest.raises(TensorTrainError, match=f"{argument} = ≈1e\\+5000 is"):
            TRAIN.round(**{argument: 10**5000})


def test_powers_beyond_every_float() -> None:
    assert torch.equal((TensorTrain.ones((2, 3)) ** 10**400).reconstruct(), torch.ones(2, 3))
    with pytest.raises(TensorTrainError, match=r"exponent ≈1e\+400 would give ranks of up to 2\*\*"):
        TensorTrain.random((2, 3), 2) ** 10**400

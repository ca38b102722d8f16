"""Bad input to evaluations, counts and plans of convolutional trains."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tensortrain import ConvTensorTrain
from tensortrain.conv.functional import compose, compose_all, conv_sum, conv_tt
from tests.support.bad_input import Call, check, ones, table

CHAIN = ConvTensorTrain([ones(4, 2, 3, 3), ones(2, 3, 3, 3)])


U1, U2 = ones(2, 2, 8, 8), ones(2, 3, 8, 8)
CORES = list(CHAIN.cores)

INPUTS: list[tuple[object, Sequence[str]]] = [
    (None, ("inputs", "None")),
    ([], ("0 inputs", "2 cores")),
    ([U2], ("1 inputs", "2 cores")),
    ([U1, U2, U2], ("3 inputs", "2 cores")),
    ([None, None], ("inputs", "None", "at least one")),
    ([1.0, U2], ("inputs[0]", "float")),
    ([U1, np.ones((2, 3, 8, 8))], ("inputs[1]", "ndarray")),
    ([U1[..., 1:], U2], ("inputs[1]", "(2, 3, 8, 8)", "8, 7", "share batch and size")),
    ([U1[:1], U2], ("inputs[1]", "(2, 3, 8, 8)", "batch 1", "share batch and size")),
    (U2[0], ("inputs[1]", "(3, 8, 8)")),
    (U2[None], ("inputs[1]", "(1, 2, 3, 8, 8)")),
    (torch.tensor(1.0), ("inputs[1]", "()")),
    (U2[..., :0], ("inputs[1]", "(2, 3, 8, 0)")),
    (U2.long(), ("inputs[1]", "torch.int64")),
    (U2.float(), ("inputs[1] is torch.float32", "the cores torch.float64", ".to()")),
    (U2.to("meta"), ("inputs[1] is torch.float64 on meta", "on cpu", ".to()")),
]


EVALUATIONS: dict[str, Callable[..., object]] = {
    "evaluate": CHAIN.evaluate,
    "evaluate_dense": CHAIN.evaluate_dense,
    "conv_tt": lambda inputs, *a, **b: conv_tt(
        CHAIN.cores, [None, inputs] if isinstance(inputs, Tensor) else inputs, None, *a, **b
    ),
    "conv_sum": lambda inputs, *a, **b: conv_sum(
        CHAIN.kernels(), [None, inputs] if isinstance(inputs, Tensor) else inputs, *a, **b
    ),
}


EACH_EVALUATION = pytest.mark.parametrize("name", EVALUATIONS)


@EACH_EVALUATION
@pytest.mark.parametrize(("inputs", "fragments"), INPUTS, ids=[" ".join(f) for _, f in INPUTS])
def test_bad_inputs_are_refused(name: str, inputs: object, fragments: Sequence[str]) -> None:
    check(lambda: EVALUATIONS[name](inputs), *fragments)


@EACH_EVALUATION
@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (
            {"padding": "reflect"},
            ("padding = 'reflect'", "'same'", "'same_per_step'", "'valid'", "'full'", "'circular'"),
        ),
        ({"padding": "Same"}, ("padding = 'Same'",)),
        ({"padding": 1}, ("padding = 1",)),
        ({"padding": None}, ("padding = None",)),
        ({"stride": 0}, ("stride = 0", "at least 1")),
        ({"stride": (1, -1)}, ("stride[1] = -1", "at least 1")),
        ({"stride": 1.5}, ("stride = 1.5", "not an integer")),
        ({"stride": (1, 1, 1)}, ("stride = (1, 1, 1)", "2 entries")),
        ({"dilation": 0}, ("dilation = 0", "at least 1")),
        ({"dilation": (2,)}, ("dilation = (2,)", "2 entries")),
        ({"dilation": True}, ("dilation = True", "not an integer")),
    ],
    ids=str,
)
def test_bad_options_are_refused(name: str, options: dict[str, object], fragments: Sequence[str]) -> None:
    check(lambda: EVALUATIONS[name](U2, **options), *fragments)


@EACH_EVALUATION
def test_an_image_smaller_than_the_kernel_has_no_valid_output(name: str) -> None:
    small = ones(1, 3, 8, 4)
    check(lambda: EVALUATIONS[name](small, padding="valid"), "(8, 4)", "smaller than the kernel", 'padding="same"')
    check(lambda: EVALUATIONS[name](U2, padding="valid", dilation=2), "(8, 8)", "smaller than the kernel")
    EVALUATIONS[name](U2, padding="valid")


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 9), st.integers(1, 3), st.data())
def test_valid_outputs_of_both_forms_exist_for_the_same_images(
    lengths: list[int], size: int, dilation: int, data: st.DataObject
) -> None:
    chain = ConvTensorTrain([ones(1, 1, length) for length in lengths])
    present = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)).filter(any))
    inputs = [ones(1, 1, size) if there else None for there in present]
    if size > dilation * (chain.kernel_size[0] - 1):
        dense = chain.evaluate_dense(inputs, "valid", dilation=dilation)
        assert torch.equal(dense, chain.evaluate(inputs, "valid", dilation=dilation))
    else:
        for evaluate in (chain.evaluate, chain.evaluate_dense):
            check(lambda: evaluate(inputs, "valid", dilation=dilation), "smaller than the kernel")  # noqa: B023


def test_same_per_step_has_no_dense_form() -> None:
    check(lambda: CHAIN.evaluate_dense(U2, "same_per_step"), 'padding = "same_per_step"', 'padding="same"')


def test_bad_inputs_of_a_transposed_chain_are_refused() -> None:
    chain = ConvTensorTrain([ones(2, 4, 3), ones(3, 2, 3)], transposed=True)
    for evaluate in (chain.evaluate, chain.evaluate_dense):
        check(lambda: evaluate(ones(1, 2, 8), "full", stride=2), "inputs[1]", "2 channels", "R_2 = 3")  # noqa: B023
        check(lambda: evaluate([ones(1, 3, 8), None], "full"), "inputs[0]", "3 channels", "R_1 = 2")  # noqa: B023
        check(lambda: evaluate(ones(1, 3, 8), "full", stride=0), "stride = 0", "at least 1")  # noqa: B023
        check(lambda: evaluate(torch.tensor(1.0), "full", stride=2), "inputs[1]", "()")  # noqa: B023


# ranks are known to the container alone: elsewhere other channels are another number of groups
CHANNELS: list[tuple[object, Sequence[str]]] = [
    ([None, U2[:, :2]], ("inputs[1]", "2 channels", "R_2 = 3")),
    (U2[:, :2], ("inputs[1]", "2 channels", "R_2 = 3")),
    ([None, torch.cat([U2, U2], 1)], ("inputs[1]", "6 channels", "R_2 = 3")),
    ([None, U2[:, :0]], ("inputs[1]", "0 channels", "R_2 = 3")),
    ([U1[:, :1], U2], ("inputs[0]", "1 channels", "R_1 = 2")),
    ([torch.cat([U1, U1], 1), U2], ("inputs[0]", "4 channels", "R_1 = 2")),
    ([U1[:, :1], None], ("inputs[0]", "1 channels", "R_1 = 2")),
]


@pytest.mark.parametrize("name", ["evaluate", "evaluate_dense"])
@pytest.mark.parametrize(("inputs", "fragments"), CHANNELS, ids=[" ".join(f) for _, f in CHANNELS])
def test_inputs_of_other_channels_are_refused(name: str, inputs: object, fragments: Sequence[str]) -> None:
    check(lambda: EVALUATIONS[name](inputs), *fragments)


@table(
    (lambda: conv_tt([], []), ("cores is empty",)),
    (lambda: conv_tt([1.0], [U2]), ("cores[0]", "float")),
    (lambda: conv_tt([ones(4, 3)], [U2]), ("cores[0]", "(4, 3)")),
    (lambda: conv_tt([ones(1, 1, 1, 1, 1, 1)], [U2]), ("cores[0]", "(1, 1, 1, 1, 1, 1)")),
    (lambda: conv_tt(CORES, [U1[:, :1], U2]), ("inputs[0]", "1 channels", "R_1 = 2")),
    (lambda: conv_tt(CORES, [None, U2[:, :2]]), ("cores[1]", "its input has 2 channels")),
    (lambda: conv_sum([CORES[0]], [U1[:, :1]]), ("(4, 2, 3, 3)", "its input has 1 channels")),
    (lambda: conv_tt([CORES[0], ones(2, 3, 3)], [None, U2]), ("cores[1]", "(2, 3, 3)", "2 spatial axes")),
    (lambda: conv_tt([ones(4, 0, 3, 3)], [U2]), ("cores[0]", "(4, 0, 3, 3)")),
    (lambda: conv_tt([ones(4, 3, 0, 3)], [U2]), ("cores[0]", "(4, 3, 0, 3)")),
    (lambda: conv_tt([ones(4, 2, 3, 3)], [U2]), ("(4, 2, 3, 3)", "2 input channels per group", "3")),
    (lambda: conv_tt([ones(4, 1, 3, 3)], [U2]), ("(4, 1, 3, 3)", "divide both 3 and 4")),
    (lambda: conv_tt([ones(4, 2, 3, 3), ones(3, 3, 3, 3)], [None, U2]), ("cores[0]", "(4, 2, 3, 3)", "3")),
    (lambda: conv_tt(CORES, [None, U2], [None]), ("1 biases", "2 cores")),
    (lambda: conv_tt(CORES, [None, U2], [None, None, None]), ("3 biases", "2 cores")),
    (lambda: conv_tt(CORES, [None, U2], [None, 1.0]), ("biases[1]", "float")),
    (lambda: conv_tt(CORES, [None, U2], [ones(3), None]), ("biases[0]", "(3,)", "(4,)")),
    (lambda: conv_tt(CORES, [U1, None], [None, ones(1)]), ("biases[1]", "(1,)", "(2,)")),
    (lambda: conv_tt(CORES, [U1, None], [None, ones(2, 1)]), ("biases[1]", "(2, 1)", "(2,)")),
    (lambda: conv_tt(CORES, [None, U2], [ones(4).float(), None]), ("biases[0] is torch.float32", "torch.float64")),
    (lambda: conv_tt([ones(4, 3, 3, 3).to("meta")], [U2.float().to("meta")]), ("inputs[0] is torch.float32 on meta",)),
    (lambda: conv_tt([CORES[0], CORES[1].float()], [None, U2]), ("cores[1] is torch.float32", "torch.float64")),
    (lambda: conv_tt(CORES, [None, U2], stop=-1), ("stop = -1", "at least 0")),
    (lambda: conv_tt(CORES, [None, U2], stop=2), ("stop = 2", "0 … 1")),
    (lambda: conv_tt(CORES, [None, U2], stop=1.0), ("stop = 1.0", "not an integer")),
    (lambda: conv_tt(CORES, [None, U2], stop=True), ("stop = True", "not an integer")),
    (lambda: conv_tt(CORES, [U1, None], stop=1), ("inputs[1:]", "None")),
    (lambda: conv_tt(CORES, [None, U2], stop=1, stride=2), ("stride = (2, 2)", "stop = 1")),
    (lambda: conv_tt(3, [U2]), ("cores is a int", "a list of tensors")),
    (lambda: conv_tt(CORES, U2), ("inputs is a Tensor", "a list of 2 tensors")),
    (lambda: conv_tt(CORES, [None, U2], 3), ("biases is a int",)),
    (lambda: conv_tt(CORES, [None, U2], ones(4)), ("biases is a Tensor",)),
    (lambda: conv_sum([], []), ("kernels is empty",)),
    (lambda: conv_sum(3, [U1]), ("kernels is a int",)),
    (lambda: conv_sum([3], [U1]), ("kernels[0] is int", "conv weight")),
    (lambda: conv_sum([ones(3)], [U1]), ("kernels[0] is (3,)", "conv weight")),
    (lambda: conv_sum([ones(1, 1, 3), ones(1, 1, 3, 3)], [ones(1, 1, 4), None]), ("kernels[1]", "1 spatial axes")),
    (lambda: conv_sum([ones(1, 1, 3), ones(2, 1, 3)], [ones(1, 1, 4)] * 2), ("kernels[0]", "same output channels")),
    (lambda: conv_sum([ones(1, 1, 5), ones(1, 1, 3)], [ones(1, 1, 8)] * 2), ("(1, 1, 5)", "longer than the last one")),
    (lambda: compose(ones(1, 1, 3), ones(1, 1, 4, 5)), ("inner has shape (1, 1, 4, 5)", "1 spatial axes")),
    (lambda: compose(ones(1, 2, 3), ones(3, 1, 3)), ("(1, 2, 3)", "2 channels per group", "3 outputs")),
    (lambda: compose(ones(1, 4, 3), ones(2, 1, 3)), ("(1, 4, 3)", "4 channels per group", "2 outputs")),
    (lambda: compose(ones(3, 1, 3), ones(2, 1, 3)), ("divide both 2 and 3",)),
    (lambda: compose(3, ones(1, 1, 3)), ("outer is int",)),
    (lambda: compose(ones(1, 1, 3), None), ("inner is NoneType",)),
    (lambda: compose(ones(1, 1, 3), ones(1, 1, 3).float()), ("inner is torch.float32", "torch.float64")),
    (lambda: compose_all([], []), ("cores is empty",)),
    (lambda: compose_all(CORES[0], (1,)), ("cores is a Tensor",)),
    (lambda: compose_all([ones(4, 2, 3), ones(2, 4, 3)], (2, 2)), ("cores[0] has 2 groups of 2 channels",)),
    (lambda: compose_all([ones(4, 2, 3), ones(2, 4, 3)], (1,)), ("groups = (1,) for 2 cores",)),
    (lambda: compose_all([ones(4, 2, 3), ones(2, 4, 3)], (1, 0)), ("cores[1] has 0 groups",)),
    (lambda: compose_all([ones(4, 2, 3), ones(3, 4, 3)], (1, 1)), ("its neighbour has 3 channels",)),
)
def test_the_functional_form_refuses_bad_arguments(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


@pytest.mark.parametrize("count", ["macs", "dense_macs"])
@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ({"size": 0}, ("size = 0", "at least 1")),
        ({"size": -4}, ("size = -4", "at least 1")),
        ({"size": 8.0}, ("size = 8.0", "not an integer")),
        ({"size": (8, 8, 8)}, ("size = (8, 8, 8)", "2 entries")),
        ({"size": (8, 0)}, ("size[1] = 0", "at least 1")),
        ({"size": 8, "padding": "zeros"}, ("padding = 'zeros'", "'same'")),
        ({"size": 8, "stride": 0}, ("stride = 0", "at least 1")),
        ({"size": 8, "dilation": -1}, ("dilation = -1", "at least 1")),
        ({"size": 4, "padding": "valid"}, ("(4, 4)", "smaller than the kernel")),
        ({"size": (8, 2), "padding": "valid"}, ("(8, 2)", "smaller than the kernel")),
    ],
    ids=str,
)
def test_counts_refuse_bad_sizes_and_options(
    count: str, arguments: dict[str, object], fragments: Sequence[str]
) -> None:
    check(lambda: getattr(CHAIN, count)(**arguments), *fragments)


@table(
    (lambda: CHAIN.plan(0), ("size = 0", "at least 1")),
    (lambda: CHAIN.plan((8, 8, 8)), ("size = (8, 8, 8)", "2 entries")),
    (lambda: CHAIN.plan(8, batch_size=0), ("batch_size = 0", "at least 1")),
    (lambda: CHAIN.plan(8, batch_size=-1), ("batch_size = -1", "at least 1")),
    (lambda: CHAIN.plan(8, batch_size=1.5), ("batch_size = 1.5", "not an integer")),
    (lambda: CHAIN.plan(8, padding="zeros"), ("padding = 'zeros'", "'same'")),
    (lambda: CHAIN.plan(8, padding="same_per_step"), ('padding = "same_per_step"', "no dense form", 'padding="same"')),
    (lambda: CHAIN.plan(8, stride=0), ("stride = 0", "at least 1")),
    (lambda: CHAIN.plan(8, dilation=(2,)), ("dilation = (2,)", "2 entries")),
    (lambda: CHAIN.plan(4, padding="valid"), ("(4, 4)", "smaller than the kernel")),
    (lambda: CHAIN.border(dilation=0), ("dilation = 0", "at least 1")),
    (lambda: CHAIN.border(dilation=(1, 1, 1)), ("dilation = (1, 1, 1)", "2 entries")),
)
def test_plans_and_borders_refuse_bad_sizes_and_options(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


def test_good_input_of_unusual_types_is_taken() -> None:
    """A tuple of inputs, a NumPy integer for a stride, iterators, and the parameters of a module."""
    assert conv_tt(CORES, (None, U2), stride=np.int64(2)).shape == (2, 4, 4, 4)
    assert conv_tt(iter(CORES), (None, U2), iter([None, None])).shape == (2, 4, 8, 8)
    assert conv_tt(torch.nn.ParameterList(CORES), (None, U2)).shape == (2, 4, 8, 8)

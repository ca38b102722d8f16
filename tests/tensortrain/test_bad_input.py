"""Bad input to the convolutional half: every entry point names the argument, its value and what is legal.

One table of calls; each must raise the library's one exception type with the given fragments in its message.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from tensortrain import ConvTensorTrain, TensorTrainError
from tensortrain.conv import formats
from tensortrain.conv.functional import conv_sum, conv_tt

Call = Callable[[], object]
NAN, INF = math.nan, math.inf


def ones(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.ones(shape, dtype=dtype)


def with_entry(value: float) -> Tensor:
    weight = ones(4, 3, 5, 5)
    weight[1, 2, 3, 4] = value
    return weight


WEIGHT = ones(4, 3, 5, 5)
CHAIN = ConvTensorTrain([ones(4, 2, 3, 3), ones(2, 3, 3, 3)])
U1, U2 = ones(2, 2, 8, 8), ones(2, 3, 8, 8)


def decompose(weight: object = WEIGHT, kernel_sizes: object = (3, 3), **arguments: object) -> Call:
    return lambda: ConvTensorTrain.decompose(weight, kernel_sizes, **arguments)


def check(call: Call, *fragments: str) -> None:
    with pytest.raises(TensorTrainError) as caught:
        call()
    for fragment in fragments:
        assert fragment in str(caught.value), str(caught.value)


def table(*rows: tuple[Call, Sequence[str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("call", "fragments"), rows, ids=[" ".join(fragments)[:60] for _, fragments in rows])


# ---- the weight -------------------------------------------------------------------------------------------

WEIGHTS: list[tuple[object, Sequence[str]]] = [
    ([1.0, 2.0], ("weight", "list", "torch.Tensor")),
    (np.ones((4, 3, 5, 5)), ("weight", "ndarray", "torch.Tensor")),
    (None, ("weight", "NoneType")),
    (torch.tensor(1.0), ("weight", "0 axes", "at least 3")),
    (ones(4, 3), ("weight", "2 axes (4, 3)", "at least 3")),
    (ones(1, 1, 1, 1, 1, 1), ("weight", "(1, 1, 1, 1, 1, 1)", "1 to 3 spatial axes")),
    (ones(0, 3, 5, 5), ("weight", "empty", "(0, 3, 5, 5)")),
    (ones(4, 3, 0, 5), ("weight", "empty", "(4, 3, 0, 5)")),
    (WEIGHT.long(), ("weight", "torch.int64", "weight.double()")),
    (WEIGHT.bool(), ("weight", "torch.bool")),
    (WEIGHT.to("meta"), ("weight is on the meta device", "load it first")),
    (WEIGHT.to(torch.complex64), ("weight", "torch.complex64", "real and imaginary")),
    (with_entry(NAN), ("weight", "1 NaN or infinite entries of 300")),
    (with_entry(INF), ("weight", "1 NaN or infinite entries of 300")),
    (with_entry(-INF), ("weight", "1 NaN or infinite entries of 300")),
    (1e200 * WEIGHT, ("weight", "overflow", "scale it")),
    (1e-200 * WEIGHT, ("weight", "vanish", "scale it")),
]


@pytest.mark.parametrize("kernel_sizes", ["auto", *formats.NAMED])
@pytest.mark.parametrize(("weight", "fragments"), WEIGHTS, ids=[" ".join(f) for _, f in WEIGHTS])
def test_weights(kernel_sizes: str, weight: object, fragments: Sequence[str]) -> None:
    check(lambda: ConvTensorTrain.decompose(weight, kernel_sizes, budget=0.9), *fragments)


# ---- what limits a decomposition --------------------------------------------------------------------------


@table(
    (decompose(), ("nothing limits", "ranks, rtol, max_parameters or budget")),
    (decompose(kernel_sizes="auto"), ("nothing limits", "ranks, rtol, max_parameters or budget")),
    (decompose(ranks=0), ("ranks = 0", "at least 1")),
    (decompose(ranks=-3), ("ranks = -3", "at least 1")),
    (decompose(ranks=2.0), ("ranks = 2.0", "not an integer")),
    (decompose(ranks=True), ("ranks = True", "not an integer")),
    (decompose(ranks="3"), ("ranks", "'3'", "not an integer")),
    (decompose(ranks=[0]), ("ranks[0] = 0", "at least 1")),
    (decompose(ranks=[2.5]), ("ranks[0] = 2.5", "not an integer")),
    (decompose(ranks=[False]), ("ranks[0] = False", "not an integer")),
    (decompose(ranks=[None]), ("ranks[0] = None", "not an integer")),
    (decompose(ranks=[2, 3]), ("ranks = (2, 3)", "2 entries", "1 interior")),
    (decompose(ranks=[]), ("ranks = ()", "0 entries", "1 interior")),
    (decompose(ranks=[4, 2, 3]), ("ranks = (4, 2, 3)", "3 entries", "1 interior")),
    (decompose(ranks=40), ("ranks[0] = 40 exceeds 12", "largest useful", "cores (3, 3)", "3 → 4")),
    (decompose(ranks=[13]), ("ranks[0] = 13 exceeds 12", "largest useful")),
    (decompose(ones(9, 9, 5, 5), ranks=40), ("ranks[0] = 40 exceeds 36", "cores (3, 3) of a 9 → 9 kernel")),
    (decompose(kernel_sizes=(1, 5, 1), ranks=[4, 9]), ("ranks[1] = 9 exceeds 3", "largest useful")),
    (decompose(kernel_sizes=(1, 5, 1), ranks=[4, 4]), ("ranks[1] = 4 exceeds 3", "largest useful")),
    (decompose(kernel_sizes=(3, 2, 2), ranks=[99, 2]), ("ranks[0] = 99 exceeds 27", "largest useful")),
    (decompose(kernel_sizes=(1, 5, 1), ranks=999), ("999 exceeds", "largest useful")),
    (decompose(ones(4, 2, 5, 5), ranks=3, groups=2), ("ranks[0] = 3", "groups = 2", "divisible")),
    (decompose(ones(4, 2, 5, 5), ranks=18, groups=2), ("ranks[0] = 18 exceeds 16", "4 → 4")),
    (
        decompose(kernel_sizes=formats.cp((5, 5)), ranks=[4, 3, 4], rtol=None, max_parameters=1),
        ("max_parameters", "= 1"),
    ),
    (decompose(kernel_sizes=formats.block_term((5, 5)), ranks=1), ("ranks[0] = 1", "at least 2")),
    (decompose(kernel_sizes="auto", ranks=3), ("ranks = 3", '"auto"')),
    (decompose(kernel_sizes="auto", ranks=2.5), ("ranks", "2.5")),
    (decompose(kernel_sizes="auto", ranks=[0]), ("ranks[0] = 0",)),
)
def test_ranks(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


@table(
    (decompose(rtol=-0.1), ("rtol = -0.1", "[0, 1)")),
    (decompose(rtol=1.0), ("rtol = 1.0", "[0, 1)")),
    (decompose(rtol=1), ("rtol = 1 ", "[0, 1)")),
    (decompose(rtol=NAN), ("rtol = nan", "[0, 1)")),
    (decompose(rtol=INF), ("rtol = inf", "[0, 1)")),
    (decompose(rtol=True), ("rtol = True", "[0, 1)")),
    (decompose(rtol="0.1"), ("rtol = '0.1'", "[0, 1)")),
    (decompose(kernel_sizes="auto", rtol=2.0), ("rtol = 2.0", "[0, 1)")),
    (decompose(max_parameters=0), ("max_parameters = 0", "at least 1")),
    (decompose(max_parameters=-7), ("max_parameters = -7", "at least 1")),
    (decompose(max_parameters=90.0), ("max_parameters = 90.0", "not an integer")),
    (decompose(max_parameters=True), ("max_parameters = True", "not an integer")),
    (decompose(max_parameters=62), ("max_parameters", "= 62", "smallest", "63")),
    (decompose(kernel_sizes="auto", max_parameters=16), ("max_parameters", "= 16", "smallest", "17")),
    (decompose(ranks=3, max_parameters=62), ("max_parameters", "= 62", "smallest", "63")),
    (decompose(budget=0), ("budget = 0", "positive fraction")),
    (decompose(budget=-0.5), ("budget = -0.5", "positive fraction")),
    (decompose(budget=NAN), ("budget = nan", "positive fraction")),
    (decompose(budget=INF), ("budget = inf", "positive fraction")),
    (decompose(budget=True), ("budget = True", "positive fraction")),
    (decompose(budget="half"), ("budget = 'half'", "positive fraction")),
    (decompose(budget=0.2), ("budget", "= 60", "smallest", "63 of 300")),
    (decompose(kernel_sizes="auto", budget=0.05), ("budget", "= 15", "smallest", "17 of 300")),
    (decompose(kernel_sizes="auto", budget=1e-9), ("budget", "= 0", "smallest", "17 of 300")),
    (decompose(max_parameters=62, budget=0.9), ("max_parameters", "= 62", "smallest", "63")),
    (decompose(rtol=0.5, budget=0.1), ("budget", "= 30", "smallest", "63")),
)
def test_tolerances_and_budgets(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


@table(
    (decompose(with_entry(9.0), ranks=1, rtol=1e-3), ("rtol = 0.001", "achieved 0.", "ranks (1,)")),
    (decompose(with_entry(9.0), budget=0.3, rtol=0), ("rtol = 0", "achieved 0.", "budget")),
    (decompose(with_entry(9.0), "auto", max_parameters=17, rtol=1e-3), ("rtol = 0.001", "achieved 0.")),
)
def test_a_tolerance_that_the_caps_do_not_allow(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


# ---- what a kernel is decomposed into ---------------------------------------------------------------------


@table(
    (decompose(kernel_sizes=(3, 2), ranks=1), ("kernel_sizes = (3, 2)", "(4, 4)", "(5, 5)", "Σ(k_l - 1) + 1")),
    (decompose(kernel_sizes=(3, 3, 3), ranks=1), ("kernel_sizes = (3, 3, 3)", "(7, 7)", "(5, 5)")),
    (decompose(kernel_sizes=[(3, 3), (3, 2)], ranks=1), ("kernel_sizes", "(5, 4)", "(5, 5)")),
    (decompose(kernel_sizes=(0, 6), ranks=1), ("kernel_sizes[0] = 0", "at least 1")),
    (decompose(kernel_sizes=(6, -1), ranks=1), ("kernel_sizes[1] = -1", "at least 1")),
    (decompose(kernel_sizes=(3.0, 3), ranks=1), ("kernel_sizes[0] = 3.0", "not an integer")),
    (decompose(kernel_sizes=(5, True), ranks=1), ("kernel_sizes[1] = True", "not an integer")),
    (decompose(kernel_sizes=[(3, 3, 3), (3, 3)], ranks=1), ("kernel_sizes[0] = (3, 3, 3)", "2 entries")),
    (decompose(kernel_sizes=[(3, 0), (3, 6)], ranks=1), ("kernel_sizes[0][1] = 0", "at least 1")),
    (decompose(kernel_sizes=["3", 3], ranks=1), ("kernel_sizes[0]", "'3'")),
    (decompose(kernel_sizes=[None, 3], ranks=1), ("kernel_sizes[0] = None",)),
    (decompose(kernel_sizes=(), ranks=1), ("kernel_sizes = ()", "sequence")),
    (decompose(kernel_sizes=5, ranks=1), ("kernel_sizes = 5", "sequence")),
    (decompose(kernel_sizes=None, ranks=1), ("kernel_sizes = None", "sequence")),
    (decompose(kernel_sizes="best", ranks=1), ("kernel_sizes = 'best'", "'auto', 'cttd', 'tucker2'")),
    (decompose(kernel_sizes=formats.cp((3, 3)), ranks=1), ("kernel_sizes", "(3, 3)", "(5, 5)")),
    (decompose(kernel_sizes=formats.cp((5,)), ranks=1), ("kernel_sizes", "(5,)", "(5, 5)")),
    (decompose(groups=0, ranks=1), ("groups = 0", "at least 1")),
    (decompose(groups=-2, ranks=1), ("groups = -2", "at least 1")),
    (decompose(groups=2.0, ranks=1), ("groups = 2.0", "not an integer")),
    (decompose(groups=True, ranks=1), ("groups = True", "not an integer")),
    (decompose(groups=3, ranks=3), ("groups = 3", "divide", "4")),
    (decompose(groups=8, ranks=8), ("groups = 8", "divide", "4")),
    (decompose(groups=3, ranks=3, transposed=True), ("groups = 3", "divide", "4")),
    (decompose(seed=-1, ranks=1), ("seed = -1", "at least 0")),
    (decompose(seed=0.5, ranks=1), ("seed = 0.5", "not an integer")),
    (decompose(seed=True, ranks=1), ("seed = True", "not an integer")),
    (lambda: formats.cttd((5, 5), core=1), ("core = 1", "at least 2")),
    (lambda: formats.cttd((5, 5), core=3.0), ("core = 3.0", "not an integer")),
    (lambda: formats.block_term((5, 5), outputs=0), ("outputs = 0", "at least 1")),
    (lambda: formats.block_term((5, 5), inputs=True), ("inputs = True", "not an integer")),
)
def test_core_sizes_groups_and_seeds(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


@table(
    (lambda: formats.Format(((3, 3), (3, 3)), (None,)), ("blocks = (None,)", "one entry for each core")),
    (lambda: formats.Format((), ()), ("kernel_sizes = ()",)),
    (lambda: formats.Format(((3, 3), (3,)), (None, None)), ("kernel_sizes[1] = (3,)", "2 entries")),
    (lambda: formats.Format((3, 3), (None, None)), ("kernel_sizes[0] = 3", "each axis")),
    (lambda: formats.Format(((3, 3), 3), (None, None)), ("kernel_sizes[1] = 3", "each axis")),
    (lambda: formats.Format(((3, 0),), (None,)), ("kernel_sizes[0][1] = 0",)),
    (lambda: formats.Format(((3, 3),), ((0, 1),)), ("blocks[0][0] = 0",)),
    (lambda: formats.Format(((3, 3),), ((1, 2, 3),)), ("blocks[0] = (1, 2, 3)", "2 entries")),
    (lambda: formats.cp((3, 3)).groups((4, 2, 3, 2, 4)), ("core 1", "2", "3")),
    (lambda: formats.block_term((3, 3), 2, 2).groups((4, 3, 3, 4)), ("core 1", "3", "n·2")),
    (lambda: formats.Format(((3,),), ((2, 1),)).bonds(3, 1), ("3", "core 0")),
    (lambda: formats.Format(((3,),), ((1, 1),)).bonds(3, 4), ("in_channels = 4",)),
)
def test_formats(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


# ---- the container ----------------------------------------------------------------------------------------


def container(*cores: object, **options: object) -> Call:
    return lambda: ConvTensorTrain(cores, **options)


@table(
    (container(), ("cores is empty", "at least one")),
    (container(1.0), ("cores[0]", "float")),
    (lambda: ConvTensorTrain(ones(64, 3, 3, 3)), ("cores is a Tensor", "a list of tensors")),
    (lambda: ConvTensorTrain(None), ("cores is a NoneType", "a list of tensors")),
    (container(ones(4, 2, 3), None), ("cores[1]", "NoneType")),
    (container(ones(4, 3)), ("cores[0]", "(4, 3)", "1 to 3 axes")),
    (container(ones(1, 1, 1, 1, 1, 1)), ("cores[0]", "(1, 1, 1, 1, 1, 1)", "1 to 3 axes")),
    (container(ones(4, 2, 3), ones(2, 3, 3, 3)), ("cores[1]", "(2, 3, 3, 3)")),
    (container(ones(4, 2, 0)), ("cores[0]", "(4, 2, 0)", "empty")),
    (container(ones(4, 0, 3), ones(0, 2, 3)), ("cores[0]", "(4, 0, 3)", "empty")),
    (container(ones(4, 2, 3), ones(2, 3, 3, dtype=torch.float32)), ("cores[1]", "float32", "float64", ".to()")),
    (container(ones(4, 2, 3, dtype=torch.int64)), ("cores[0]", "torch.int64")),
    (container(ones(4, 2, 3) * NAN), ("cores[0]", "24 NaN or infinite entries of 24")),
    (container(ones(4, 2, 3), ones(2, 2, 3) * INF), ("cores[1]", "12 NaN or infinite entries of 12")),
    (container(ones(4, 2, 3), ones(3, 2, 3)), ("cores[0]", "2 channels", "3")),
    (container(ones(4, 3, 3), ones(2, 2, 3)), ("cores[0]", "3 channels", "2")),
    (container(ones(3, 1, 3), ones(2, 2, 3)), ("cores[0]", "2 groups", "divide 3")),
    (container(ones(4, 2, 3), groups=(3,)), ("cores[0]", "3 groups", "divide 4")),
    (container(ones(4, 2, 3), groups=(1, 1)), ("groups = (1, 1)", "1 cores")),
    (container(ones(4, 2, 3), groups=(0,)), ("cores[0]", "0 groups")),
    (container(ones(4, 2, 3), groups=(-1,)), ("groups[0] = -1",)),
    (container(ones(4, 2, 3), groups=(2.0,)), ("groups[0] = 2.0", "not an integer")),
    (container(ones(4, 2, 3), groups=(True,)), ("groups[0] = True", "not an integer")),
    (container(ones(4, 2, 3), groups=2), ("groups = 2", "1 cores")),
    (container(ones(4, 2, 3), ones(2, 2, 3), groups=(2, 1)), ("cores[0]", "2 groups", "2 channels")),
    (container(ones(4, 2, 3), ones(3, 3, 3), transposed=True), ("cores[1]", "3 channels", "4")),
)
def test_cores(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


# ---- evaluation -------------------------------------------------------------------------------------------

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
def test_inputs(name: str, inputs: object, fragments: Sequence[str]) -> None:
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
def test_options_of_evaluation(name: str, options: dict[str, object], fragments: Sequence[str]) -> None:
    check(lambda: EVALUATIONS[name](U2, **options), *fragments)


@EACH_EVALUATION
def test_an_image_smaller_than_the_kernel_has_no_valid_output(name: str) -> None:
    small = ones(1, 3, 8, 4)
    check(lambda: EVALUATIONS[name](small, padding="valid"), "(8, 4)", "smaller than the kernel", 'padding="same"')
    check(lambda: EVALUATIONS[name](U2, padding="valid", dilation=2), "(8, 8)", "smaller than the kernel")
    EVALUATIONS[name](U2, padding="valid")


def test_same_per_step_has_no_dense_form() -> None:
    check(lambda: CHAIN.evaluate_dense(U2, "same_per_step"), 'padding = "same_per_step"', 'padding="same"')


def test_inputs_of_a_transposed_chain() -> None:
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
def test_channels_of_inputs(name: str, inputs: object, fragments: Sequence[str]) -> None:
    check(lambda: EVALUATIONS[name](inputs), *fragments)


CORES = list(CHAIN.cores)


@table(
    (lambda: conv_tt([], []), ("cores is empty",)),
    (lambda: conv_tt([1.0], [U2]), ("cores[0]", "float")),
    (lambda: conv_tt([ones(4, 3)], [U2]), ("cores[0]", "(4, 3)")),
    (lambda: conv_tt([ones(1, 1, 1, 1, 1, 1)], [U2]), ("cores[0]", "(1, 1, 1, 1, 1, 1)")),
    (lambda: conv_tt(CORES, [U1[:, :1], U2]), ("inputs[0]", "1 channels", "R_1 = 2")),
    (lambda: conv_tt(CORES, [None, U2[:, :2]]), ("cores[1]", "meets 2")),
    (lambda: conv_sum([CORES[0]], [U1[:, :1]]), ("(4, 2, 3, 3)", "meets 1")),
    (lambda: conv_tt([CORES[0], ones(2, 3, 3)], [None, U2]), ("cores[1]", "(2, 3, 3)", "2 spatial axes")),
    (lambda: conv_tt([ones(4, 0, 3, 3)], [U2]), ("cores[0]", "(4, 0, 3, 3)")),
    (lambda: conv_tt([ones(4, 3, 0, 3)], [U2]), ("cores[0]", "(4, 3, 0, 3)")),
    (lambda: conv_tt([ones(4, 2, 3, 3)], [U2]), ("(4, 2, 3, 3)", "2 channels a group", "3")),
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
    (lambda: conv_sum([], []), ("kernels is empty",)),
)
def test_the_functional_form(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


# ---- counts and plans -------------------------------------------------------------------------------------


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
def test_counts(count: str, arguments: dict[str, object], fragments: Sequence[str]) -> None:
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
def test_plans_and_borders(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


def test_good_input_of_unusual_types_is_taken() -> None:
    """NumPy integers and floats, lists, tuples of sizes, one-element ranks."""
    made = ConvTensorTrain.decompose(
        WEIGHT,
        [np.int64(3), [3, 3]],
        ranks=[np.int32(2)],
        budget=np.float64(0.9),
        rtol=np.float32(0.5),
        seed=np.int64(1),
    )
    assert all(type(rank) is int for rank in made.ranks)
    assert type(made.error) is float
    assert type(made.n_parameters) is int
    assert ConvTensorTrain.decompose(ones(4, 3, 5), (5,), ranks=[]).order == 1
    assert conv_tt(CORES, (None, U2), stride=np.int64(2)).shape == (2, 4, 4, 4)

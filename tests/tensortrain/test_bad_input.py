"""Bad input to decompositions, formats and containers of convolution kernels."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from tensortrain import ConvTensorTrain
from tensortrain.conv import formats
from tests.support.bad_input import WEIGHT, Call, check, ones, table

NAN, INF = math.nan, math.inf


def with_entry(value: float) -> Tensor:
    weight = ones(4, 3, 5, 5)
    weight[1, 2, 3, 4] = value
    return weight


def decompose(weight: object = WEIGHT, kernel_sizes: object = (3, 3), **arguments: object) -> Call:
    return lambda: ConvTensorTrain.decompose(weight, kernel_sizes, **arguments)


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
    (1.7e308 * WEIGHT / WEIGHT.abs().max(), ("norm of weight", "beyond the range of float64", "scale it")),
]


@pytest.mark.parametrize("kernel_sizes", ["auto", *formats.NAMED])
@pytest.mark.parametrize(("weight", "fragments"), WEIGHTS, ids=[" ".join(f) for _, f in WEIGHTS])
def test_bad_weights_are_refused(kernel_sizes: str, weight: object, fragments: Sequence[str]) -> None:
    check(decompose(weight, kernel_sizes, budget=0.9), *fragments)


@table(
    (decompose(), ("nothing limits", "ranks, rtol, max_parameters or budget")),
    (decompose(kernel_sizes="auto"), ("nothing limits", "ranks, rtol, max_parameters or budget")),
    (decompose(ranks=0), ("ranks = 0", "at least 1")),
    (decompose(ranks=2, progress="a"), ("progress = 'a'", "True, False")),
    (decompose(ranks=2, progress=3), ("progress = 3", "True, False")),
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
    (decompose(ranks=[40]), ("ranks[0] = 40 exceeds 12", "largest useful", "cores (3, 3)", "3 → 4")),
    (decompose(ranks=[13]), ("ranks[0] = 13 exceeds 12", "largest useful")),
    (decompose(ones(9, 9, 5, 5), ranks=[40]), ("ranks[0] = 40 exceeds 36", "cores (3, 3) of a 9 → 9 kernel")),
    (decompose(kernel_sizes=(1, 5, 1), ranks=[4, 9]), ("ranks[1] = 9 exceeds 3", "largest useful")),
    (decompose(kernel_sizes=(1, 5, 1), ranks=[4, 4]), ("ranks[1] = 4 exceeds 3", "largest useful")),
    (decompose(kernel_sizes=(3, 2, 2), ranks=[99, 2]), ("ranks[0] = 99 exceeds 27", "largest useful")),
    (decompose(kernel_sizes=(1, 5, 1), ranks=[4, 999]), ("999 exceeds", "largest useful")),
    (decompose(ones(4, 2, 5, 5), ranks=3, groups=2), ("ranks[0] = 3", "groups = 2", "divisible")),
    (decompose(ones(4, 2, 5, 5), ranks=[18], groups=2), ("ranks[0] = 18 exceeds 16", "4 → 4")),
    (
        decompose(kernel_sizes=formats.cp((5, 5)), ranks=[4, 3, 4], rtol=None, max_parameters=1),
        ("max_parameters", "= 1"),
    ),
    (decompose(kernel_sizes=formats.block_term((5, 5)), ranks=1), ("ranks[0] = 1", "at least 2")),
    (decompose(kernel_sizes="auto", ranks=3), ("ranks = 3", '"auto"')),
    (decompose(kernel_sizes="auto", ranks=2.5), ("ranks", "2.5")),
    (decompose(kernel_sizes="auto", ranks=[0]), ("ranks[0] = 0",)),
)
def test_bad_ranks_are_refused(call: Call, fragments: Sequence[str]) -> None:
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
    (decompose(budget={"*": 0.5}), ("budget = {'*': 0.5}", "positive fraction")),
    (decompose(budget=0.2), ("budget", "= 60", "smallest", "63 of 300")),
    (decompose(kernel_sizes="auto", budget=0.05), ("budget", "= 15", "smallest", "17 of 300")),
    (decompose(kernel_sizes="auto", budget=1e-9), ("budget", "= 0", "smallest", "17 of 300")),
    (decompose(max_parameters=62, budget=0.9), ("max_parameters", "= 62", "smallest", "63")),
    (decompose(rtol=0.5, budget=0.1), ("budget", "= 30", "smallest", "63")),
)
def test_bad_tolerances_and_budgets_are_refused(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


@table(
    (decompose(with_entry(9.0), ranks=1, rtol=1e-3), ("rtol = 0.001", "the error is 0.", "ranks (1,)")),
    (decompose(with_entry(9.0), budget=0.3, rtol=0), ("rtol = 0", "the error is 0.", "budget")),
    (decompose(with_entry(9.0), "auto", max_parameters=17, rtol=1e-3), ("rtol = 0.001", "the error is 0.")),
)
def test_a_tolerance_that_the_caps_do_not_allow_is_refused_with_what_was_achieved(
    call: Call, fragments: Sequence[str]
) -> None:
    check(call, *fragments)


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
    (decompose(kernel_sizes={"*": (3, 3)}, ranks=1), ("kernel_sizes = {'*': (3, 3)}", "sequence")),
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
def test_bad_core_sizes_groups_and_seeds_are_refused(call: Call, fragments: Sequence[str]) -> None:
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
def test_bad_formats_are_refused(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


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
def test_cores_that_are_no_chain_are_refused(call: Call, fragments: Sequence[str]) -> None:
    check(call, *fragments)


def test_good_input_of_unusual_types_is_taken() -> None:
    """NumPy integers and floats, lists, tuples of sizes, one-element ranks."""
    chain = ConvTensorTrain.decompose(
        WEIGHT,
        [np.int64(3), [3, 3]],
        ranks=[np.int32(2)],
        budget=np.float64(0.9),
        rtol=np.float32(0.5),
        seed=np.int64(1),
    )
    assert all(type(rank) is int for rank in chain.ranks)
    assert type(chain.error) is float
    assert type(chain.n_parameters) is int
    assert ConvTensorTrain.decompose(ones(4, 3, 5), (5,), ranks=[]).order == 1

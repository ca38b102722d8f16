"""`ConvTensorTrain`; P4.7 and the like are numbered steps of proofs/README.md.

The container, its counts, both evaluations, transposed chains, and every named format.
"""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from tensortrain import ConvTensorTrain
from tensortrain.conv import alignment, formats, functional
from tests.support import oracles
from tests.support.bad_input import check
from tests.support.examples import examples
from tests.support.oracles import Case, cases

EXACT = ("same", "valid", "full", "circular")
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def chain_of(case: Case) -> ConvTensorTrain:
    return ConvTensorTrain(case.cores, groups=case.groups)


def turned(case: Case) -> ConvTensorTrain:
    """The chain of the transposed convolution with the same composed kernel, flipped in space."""
    cores = [functional.transpose_weight(core, g) for core, g in zip(case.cores, case.groups, strict=True)]
    return ConvTensorTrain(cores, groups=case.groups, transposed=True)


# ---- the container ----------------------------------------------------------------------------------------


@given(case=cases())
def test_shapes_ranks_and_groups(case: Case) -> None:
    for chain in (chain_of(case), turned(case)):
        assert chain.order == case.order
        assert chain.ranks == tuple(case.ranks)
        assert (chain.out_channels, chain.in_channels) == (case.ranks[0], case.ranks[-1])
        assert chain.groups == tuple(case.groups)
        assert chain.conv_groups == math.gcd(*case.groups)
        assert chain.kernel_sizes == tuple(case.kernel_sizes)
        assert chain.kernel_size == oracles.kernels(case.dense_cores)[-1].shape[2:]
        assert (chain.dtype, chain.device) == (torch.float64, torch.device("cpu"))
        assert (chain.error, chain.upper_bound, chain.lower_bound) == (None, None, None)


@given(case=cases())
def test_groups_follow_from_the_ranks_of_the_neighbours(case: Case) -> None:
    """All but those of the last core, which nothing follows."""
    inferred = ConvTensorTrain(case.cores)
    assert inferred.groups == (*case.groups[:-1], 1)
    assert inferred.ranks[:-1] == tuple(case.ranks[:-1])


def test_the_container_cannot_be_changed() -> None:
    given_cores = [torch.ones(2, 1, 3), torch.ones(1, 2, 3)]
    chain = ConvTensorTrain(given_cores)
    assert isinstance(chain.cores, tuple)
    for field in dataclasses.fields(chain):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(chain, field.name, None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(chain, field.name)
    given_cores.pop()
    assert chain.order == 2


@given(case=cases())
def test_pytree_leaves_are_the_cores(case: Case) -> None:
    for chain in (chain_of(case), turned(case)):
        leaves, spec = pytree.tree_flatten(chain)
        assert all(leaf is core for leaf, core in zip(leaves, chain.cores, strict=True))
        back = pytree.tree_unflatten(leaves, spec)
        assert isinstance(back, ConvTensorTrain)
        assert (back.groups, back.transposed, back.ranks) == (chain.groups, chain.transposed, chain.ranks)
        doubled = pytree.tree_map(lambda core: 2 * core, chain)
        assert torch.equal(doubled.reconstruct(), 2**case.order * chain.reconstruct())
        assert doubled.error is None


def test_the_error_does_not_outlive_a_change_of_the_cores() -> None:
    chain = ConvTensorTrain([torch.ones(1, 1, 3)], error=0.1, upper_bound=0.2, lower_bound=0.05)
    assert pytree.tree_map(torch.zeros_like, chain).error is None
    assert pytree.tree_map(torch.zeros_like, {"layers": [chain]})["layers"][0].upper_bound is None


def test_function_transforms_see_through_the_container() -> None:
    chain = ConvTensorTrain([oracles.floats(0, 2, 2, 3), oracles.floats(1, 2, 1, 3)])
    x = oracles.floats(2, 4, 1, 7)
    gradient = torch.func.grad(lambda c: c.evaluate(x).square().sum())(chain)
    assert isinstance(gradient, ConvTensorTrain)
    wanted = torch.func.grad(lambda cores: functional.conv_tt(cores, [None, x]).square().sum())(chain.cores)
    assert all(torch.equal(a, b) for a, b in zip(gradient.cores, wanted, strict=True))
    stacked = torch.func.vmap(lambda c, one: c.evaluate(one[None])[0], in_dims=(None, 0))(chain, x)
    torch.testing.assert_close(stacked, chain.evaluate(x))


def test_copies_and_conversions_keep_what_is_known() -> None:
    chain = ConvTensorTrain(
        [torch.ones(2, 1, 3), torch.ones(2, 1, 1)],
        groups=(2, 2),
        transposed=True,
        error=0.1,
        upper_bound=0.2,
        lower_bound=0,
    )
    for other in (copy.deepcopy(chain), chain.to(torch.float64), chain.to("cpu")):
        assert other.groups == (2, 2)
        assert other.transposed
        assert (other.error, other.upper_bound, other.lower_bound) == (0.1, 0.2, 0)
        assert torch.equal(other.reconstruct().float(), chain.reconstruct())
    assert chain.to(torch.float64).dtype == torch.float64


def test_conversions_that_are_impossible() -> None:
    chain = ConvTensorTrain([torch.full((1, 1, 3), 1e9)])
    check(lambda: chain.to("foo"), "cannot convert the chain", "foo")
    check(lambda: chain.to(torch.int8), "torch.int8")
    tiny = ConvTensorTrain([torch.full((2, 2, 1), v, dtype=torch.float64) for v in (1e-50, 1e30)])
    check(lambda: tiny.to(torch.float32), "cores[0] would become zero in torch.float32")
    imaginary = ConvTensorTrain([torch.full((2, 2, 1), 1j)] * 2)
    check(lambda: imaginary.to(torch.float32), "complex cores cannot become torch.float32")
    check(lambda: chain.to(torch.float16), "3 NaN or infinite")
    if not torch.cuda.is_available():
        check(lambda: chain.to("cuda"), "cannot convert the chain")


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("order", [1, 2])
def test_dense_kernels_share_no_memory_with_the_cores(order: int, transposed: bool) -> None:
    chain = ConvTensorTrain([torch.ones(1, 1, 3)] * order, transposed=transposed)
    for kernel in (chain.reconstruct(), *chain.kernels()):
        kernel.zero_()
    assert torch.equal(chain.cores[0], torch.ones(1, 1, 3))


def test_the_report_tells_sizes_costs_error_and_both_bounds() -> None:
    cores = [torch.ones(4, 6, 1, 1), torch.ones(6, 2, 3, 5), torch.ones(6, 8, 1, 1)]
    text = str(ConvTensorTrain(cores, error=0.125, upper_bound=0.25, lower_bound=0.0625))
    for part in (
        "3×5",
        "8 → 4 channels",
        "1×1 | 3×5 g3 | 1×1",
        "(4, 6, 6, 8)",
        "252 of 480",
        "0.125",
        "0.0625 ≤ error ≤ 0.25",
    ):
        assert part in text, text
    assert "MACs/pixel  252 sequential, 480 dense" in text
    assert "from output to input; gN: N groups" in text
    assert ".plan(size)" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "error" not in str(ConvTensorTrain(cores))
    assert "2 groups" in str(ConvTensorTrain([torch.ones(2, 1, 3), torch.ones(2, 1, 3)], groups=(2, 2)))
    assert "conv_transpose" in str(ConvTensorTrain(cores[:1], transposed=True))


# ---- W(l) -------------------------------------------------------------------------------------------------


@given(case=cases())
def test_kernels_are_every_composite(case: Case) -> None:
    kernels, expected = chain_of(case).kernels(), oracles.kernels(case.dense_cores)
    assert len(kernels) == case.order
    assert all(torch.equal(a, torch.from_numpy(b)) for a, b in zip(kernels, expected, strict=True))
    for kernel, dense in zip(turned(case).kernels(), expected, strict=True):
        flipped = torch.from_numpy(dense).transpose(0, 1).flip(tuple(range(2, dense.ndim)))
        assert torch.equal(kernel, flipped)


@given(case=cases())
def test_reconstruct_is_the_last_of_them_without_the_zeros(case: Case) -> None:
    chain = chain_of(case)
    weight = chain.reconstruct()
    assert torch.equal(functional.ungroup(weight, chain.conv_groups), chain.kernels()[-1])
    assert weight.shape == (case.ranks[0], case.ranks[-1] // chain.conv_groups, *chain.kernel_size)
    transposed = turned(case)
    assert torch.equal(transposed.reconstruct(), functional.transpose_weight(weight, chain.conv_groups))


@given(case=cases(), seed=st.integers(0, 2**31))
def test_a_gauge_changes_nothing(case: Case, seed: int) -> None:
    """P2.6: T(l) G, G⁻¹ T(l+1): the same kernel, exactly, for a unimodular integer G; blocks of groups are kept."""
    chain = chain_of(case)
    cores = [torch.from_numpy(core) for core in case.dense_cores]
    for l in range(case.order - 1):
        gauge, inverse = oracles.unimodular(case.ranks[l + 1], seed + l)
        cores[l] = torch.einsum("or...,rs->os...", cores[l], gauge)
        cores[l + 1] = torch.einsum("rs,si...->ri...", inverse, cores[l + 1])
    assert torch.equal(ConvTensorTrain(cores).reconstruct(), chain.kernels()[-1])


@given(case=cases())
def test_flipped_cores_make_the_flipped_kernel(case: Case) -> None:
    space = tuple(range(2, case.cores[0].dim()))
    flipped = ConvTensorTrain([core.flip(space) for core in case.cores], groups=case.groups)
    assert torch.equal(flipped.reconstruct(), chain_of(case).reconstruct().flip(space))


@given(case=cases())
def test_dilating_every_core_dilates_the_kernel(case: Case) -> None:
    """P3.1."""
    chain = chain_of(case)
    dilated = ConvTensorTrain([functional.spread(c, case.dilation) for c in case.cores], groups=case.groups)
    assert torch.equal(dilated.reconstruct(), functional.spread(chain.reconstruct(), case.dilation))
    for padding in ("same", "same_per_step", "full", "circular"):
        by_option = chain.evaluate(case.inputs, padding, dilation=case.dilation)
        assert torch.equal(by_option, dilated.evaluate(case.inputs, padding))


@given(case=cases())
def test_conv_groups_are_independent_chains(case: Case) -> None:
    chain = chain_of(case)
    shared = chain.conv_groups
    blocks = [
        ConvTensorTrain([core.chunk(shared)[i] for core in case.cores], groups=[g // shared for g in case.groups])
        for i in range(shared)
    ]
    assert torch.equal(chain.reconstruct(), torch.cat([block.reconstruct() for block in blocks]))
    for padding in ("same", "full"):
        parts = [
            block.evaluate([None if u is None else u.chunk(shared, 1)[i] for u in case.inputs], padding)
            for i, block in enumerate(blocks)
        ]
        assert torch.equal(chain.evaluate(case.inputs, padding), torch.cat(parts, 1))


# ---- evaluation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", EXACT)
@given(case=cases())
def test_both_evaluations_are_equal(padding: str, case: Case) -> None:
    """P4."""
    assume(padding != "valid" or case.fits_valid)
    run = {"padding": padding, "stride": case.stride, "dilation": case.dilation}
    chain = chain_of(case)
    value = chain.evaluate(case.inputs, **run)
    assert torch.equal(value, chain.evaluate_dense(case.inputs, **run))
    assert torch.equal(value, functional.conv_tt(case.cores, case.inputs, **run))


@given(case=cases())
def test_same_per_step_is_reached_through_the_container(case: Case) -> None:
    value = chain_of(case).evaluate(case.inputs, "same_per_step", dilation=case.dilation)
    no_biases = [None] * case.order
    assert torch.equal(
        value, torch.from_numpy(oracles.per_step(case.dense_cores, case.arrays, no_biases, case.dilation))
    )
    assert chain_of(case).border(case.dilation) == alignment.border(case.kernel_sizes, case.dilation)


@given(case=cases())
def test_one_tensor_is_the_input_of_the_innermost_core(case: Case) -> None:
    assume(case.inputs[-1] is not None)
    chain = chain_of(case)
    alone = [*[None] * (case.order - 1), case.inputs[-1]]
    for evaluate in (chain.evaluate, chain.evaluate_dense):
        assert torch.equal(evaluate(case.inputs[-1]), evaluate(alone))


@given(case=cases(), data=st.data())
def test_a_transposed_chain_is_one_transposed_convolution(case: Case, data: st.DataObject) -> None:
    """P4.8."""
    chain, axes = turned(case), len(case.dilation)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    x = oracles.integers(generator, 2, case.ranks[-1], *(data.draw(st.integers(1, 3)) for _ in range(axes)))
    wanted = TRANSPOSED[axes](
        x, chain.reconstruct(), stride=case.stride, dilation=case.dilation, groups=chain.conv_groups
    )
    for evaluate in (chain.evaluate, chain.evaluate_dense):
        assert torch.equal(evaluate(x, "full", stride=case.stride, dilation=case.dilation), wanted)
    assert torch.equal(chain.as_conv().reconstruct(), chain_of(case).reconstruct())
    assert chain.as_conv().ranks == chain.ranks


@examples(20)
@given(case=cases(), data=st.data())
def test_transposed_chains_are_adjoints(case: Case, data: st.DataObject) -> None:
    """P4.8: `⟨chain(x), y⟩ = ⟨x, chainᵀ(y)⟩` with `valid` against `full`: the order of the cores turns round."""
    chain, axes = chain_of(case), len(case.dilation)
    adjoint = ConvTensorTrain(case.cores[::-1], groups=case.groups[::-1], transposed=True)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    y = oracles.integers(generator, 1, case.ranks[0], *(data.draw(st.integers(1, 3)) for _ in range(axes)))
    back = adjoint.evaluate(y, "full", stride=case.stride, dilation=case.dilation)
    x = oracles.integers(generator, *back.shape)
    there = chain.evaluate(x, "valid", stride=case.stride, dilation=case.dilation)
    assert there.shape == y.shape
    assert float((there * y).sum()) == float((x * back).sum())


@pytest.mark.parametrize("transposed", [False, True])
def test_gradients_reach_the_cores(transposed: bool) -> None:
    cores = [oracles.floats(l, 2, 1, 2, 2).requires_grad_() for l in range(3)]
    inputs = [oracles.floats(5 + l, 1, 2, 4, 4) for l in range(3)]
    inputs[1] = None

    def chain(*cores: Tensor) -> ConvTensorTrain:
        return ConvTensorTrain(cores, groups=(2, 2, 2), transposed=transposed)

    assert torch.autograd.gradcheck(lambda *c: chain(*c).reconstruct(), cores, fast_mode=True)
    assert torch.autograd.gradcheck(lambda *c: chain(*c).kernels(), cores, fast_mode=True)
    for padding in EXACT:
        assert torch.autograd.gradcheck(lambda *c: chain(*c).evaluate(inputs, padding), cores, fast_mode=True)  # noqa: B023
        assert torch.autograd.gradcheck(lambda *c: chain(*c).evaluate_dense(inputs, padding), cores, fast_mode=True)  # noqa: B023


# ---- counts -----------------------------------------------------------------------------------------------


@given(case=cases())
def test_parameters_are_the_entries(case: Case) -> None:
    """P6.2."""
    ones = [oracles.ungroup(np.ones(core.shape), g) for core, g in zip(case.cores, case.groups, strict=True)]
    for chain in (chain_of(case), turned(case)):
        assert chain.n_parameters == sum(int(core.sum()) for core in ones)
        assert chain.dense_parameters == chain.reconstruct().numel()
    if set(case.groups) == {1}:
        pairs = zip(case.kernel_sizes, case.ranks, case.ranks[1:], strict=False)
        assert chain_of(case).n_parameters == sum(math.prod(k) * a * b for k, a, b in pairs)


@examples(30)
@given(case=cases(), padding=st.sampled_from(alignment.PADDINGS), transposed=st.booleans())
def test_multiplications_are_those_counted(case: Case, padding: str, transposed: bool) -> None:
    """P6.4."""
    assume(padding != "valid" or case.fits_valid)
    chain = turned(case) if transposed else chain_of(case)
    x = torch.zeros(1, case.ranks[-1], *case.size, dtype=torch.float64)
    run = {"padding": padding, "stride": case.stride, "dilation": case.dilation}

    with FlopCounterMode(display=False) as counter:
        chain.evaluate(x, **run)
    assert chain.macs(case.size, **run) == counter.get_total_flops() // 2
    if padding != "same_per_step":
        kernel = chain.as_conv().reconstruct()
        spread = functional.spread(x, case.stride) if transposed else x
        stride = 1 if transposed else case.stride
        with FlopCounterMode(display=False) as counter:
            functional.conv_tt([kernel], [spread], padding=padding, stride=stride, dilation=case.dilation)
        assert chain.dense_macs(case.size, **run) == counter.get_total_flops() // 2


def test_multiplications_by_hand() -> None:
    """P6.4."""
    chain = ConvTensorTrain([torch.ones(4, 2, 3, 3), torch.ones(2, 8, 3, 3)])
    assert chain.macs(10, "same_per_step") == 100 * (8 * 9 + 16 * 9)
    assert chain.macs((10, 10)) == 100 * 8 * 9 + 144 * 16 * 9  # V(1) needs a margin of one pixel
    assert chain.macs(10, "valid") == 36 * 8 * 9 + 64 * 16 * 9
    assert chain.macs(10, "full") == 196 * 8 * 9 + 144 * 16 * 9
    assert chain.macs(10, "same", stride=2) == 25 * 8 * 9 + 144 * 16 * 9
    three = ConvTensorTrain([torch.ones(1, 1, 3)] * 3)
    assert three.macs(10) == (10 + 12 + 12) * 3  # V(2) is needed on 14 pixels, but zero on two of them
    assert chain.dense_macs(10) == 100 * 25 * 32
    assert chain.dense_macs(10, stride=(2, 1)) == 50 * 25 * 32


def test_the_planner_measures_both_forms() -> None:
    chain = ConvTensorTrain([torch.ones(8, 2, 3, 3), torch.ones(2, 8, 3, 3)])
    plan = chain.plan(12, batch_size=2)
    assert (plan.sequential_macs, plan.dense_macs) == (chain.macs(12), chain.dense_macs(12))
    assert min(plan.sequential_seconds, plan.dense_seconds) > 0
    assert plan.choice == ("sequential" if plan.sequential_seconds <= plan.dense_seconds else "dense")


@pytest.mark.parametrize("transposed", [False, True])
def test_a_plan_is_for_the_convolution_as_it_runs(transposed: bool) -> None:
    chain = ConvTensorTrain([torch.ones(2, 2, 3, 3), torch.ones(2, 2, 3, 3)], transposed=transposed)
    settings = {"padding": "full", "stride": 2, "dilation": (1, 2)}
    plan = chain.plan(6, **settings)
    assert (plan.sequential_macs, plan.dense_macs) == (chain.macs(6, **settings), chain.dense_macs(6, **settings))


def test_dense_evaluation_of_one_input_builds_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = ConvTensorTrain([torch.ones(2, 2, 3), torch.ones(2, 2, 3)])
    expected = chain.evaluate(torch.ones(1, 2, 8))
    monkeypatch.setattr(ConvTensorTrain, "kernels", None)
    assert torch.equal(chain.evaluate_dense(torch.ones(1, 2, 8)), expected)


@pytest.mark.parametrize("choice", ["dense", "sequential"])
def test_the_planner_takes_the_cheaper_form_where_it_is_plain(choice: str) -> None:
    """Over 40 times the work either way."""
    cores = [torch.ones(32, 1, 3, 3), torch.ones(1, 32, 3, 3)]
    if choice == "dense":
        cores = [torch.ones(32, 128, 3, 3), torch.ones(128, 32, 3, 3), torch.ones(32, 2, 1, 1)]
    plan = ConvTensorTrain(cores).plan(32)
    assert plan.choice == choice
    assert max(plan.dense_macs, plan.sequential_macs) > 40 * min(plan.dense_macs, plan.sequential_macs)


# ---- formats ----------------------------------------------------------------------------------------------

NAMED = {
    "cttd": [(3, 3), (3, 3)],
    "tucker2": [(1, 1), (5, 5), (1, 1)],
    "separable": [(5, 1), (1, 5)],
    "tt4": [(1, 1), (5, 1), (1, 5), (1, 1)],
    "cp": [(1, 1), (5, 1), (1, 5), (1, 1)],
    "depthwise": [(1, 1), (5, 5), (1, 1)],
    "block_term": [(1, 1), (5, 5), (1, 1)],
}


def test_these_are_all_named_formats() -> None:
    assert set(NAMED) == set(formats.NAMED)


@pytest.mark.parametrize("name", NAMED)
def test_a_name_stands_for_its_format(name: str) -> None:
    weight = oracles.smooth(4, 5, seed=1)
    chain = ConvTensorTrain.decompose(weight, name, budget=0.5, seed=3)
    assert list(chain.kernel_sizes) == NAMED[name]
    assert chain.n_parameters <= 0.5 * weight.numel()
    grouped = {"cp": (1, 2), "depthwise": (1,), "block_term": (1,)}.get(name, ())
    for l, count in enumerate(chain.groups):
        assert count == (chain.ranks[l] // (2 if name == "block_term" else 1) if l in grouped else 1)
    relative = float((chain.reconstruct() - weight).norm() / weight.norm())
    assert chain.error == pytest.approx(relative, rel=1e-9)
    by_format = ConvTensorTrain.decompose(weight, formats.NAMED[name]((5, 5)), budget=0.5, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(chain.cores, by_format.cores, strict=True))


@pytest.mark.parametrize(
    ("size", "core", "sizes"),
    [
        ((5, 5), 3, [(3, 3), (3, 3)]),
        ((7, 7), 3, [(3, 3)] * 3),
        ((6, 6), 3, [(3, 3), (3, 3), (2, 2)]),
        ((5, 3), 3, [(3, 3), (3, 1)]),
        ((4, 4, 4), 2, [(2, 2, 2)] * 3),
        ((1, 1), 3, [(1, 1)]),
        ((9,), 5, [(5,), (5,)]),
        ((3, 3), 3, [(3, 3)]),
        ((5, 5), None, [(3, 3), (3, 3)]),
        ((4, 3), None, [(3, 3), (2, 1)]),
        ((3, 3), None, [(2, 2), (2, 2)]),
        ((3, 1), None, [(2, 1), (2, 1)]),
        ((2, 2), None, [(2, 2)]),
    ],
)
def test_the_papers_format_for_any_kernel_size(
    size: tuple[int, ...], core: int | None, sizes: list[tuple[int, ...]]
) -> None:
    assert list(formats.cttd(size, core).kernel_sizes) == sizes


def test_the_papers_format_makes_a_chain_of_a_3x3_kernel() -> None:
    weight = oracles.floats(0, 6, 5, 3, 3)
    chain = ConvTensorTrain.decompose(weight, "cttd", ranks=20)  # 4·min(6, 5): exact
    assert chain.kernel_sizes == ((2, 2), (2, 2))
    assert torch.equal(chain.reconstruct(), weight)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("size", [(3,), (4, 3), (2, 3, 4)])
def test_formats_exist_in_every_dimension(name: str, size: tuple[int, ...]) -> None:
    form = formats.NAMED[name](size)
    assert form.kernel_size == size
    ranks = (4, *[4] * (form.order - 1), 4)
    chain = ConvTensorTrain(
        [
            torch.ones(ranks[l], ranks[l + 1] // g, *k)
            for l, (k, g) in enumerate(zip(form.kernel_sizes, form.groups(ranks), strict=True))
        ]
    )
    assert form.n_parameters(ranks) == chain.n_parameters
    assert chain.kernel_size == size


def test_bonds_that_grouped_cores_tie_together() -> None:
    assert formats.cp((5, 5)).bonds(8, 6) == [({1: 1, 2: 1, 3: 1}, None)]
    assert formats.block_term((3, 3), 2, 3).bonds(8, 6) == [({1: 2, 2: 3}, None)]
    assert formats.tt4((3, 3)).bonds(8, 6) == [({1: 1}, None), ({2: 1}, None), ({3: 1}, None)]
    first_depthwise = formats.Format(((3, 3), (1, 1)), ((1, 1), None))
    assert first_depthwise.bonds(8, 6) == [({1: 1}, 8)]
    multiplier = formats.Format(((1, 1), (3, 3)), (None, (2, 1)))  # every input channel filtered twice
    assert multiplier.bonds(8, 6) == [({1: 2}, 6)]

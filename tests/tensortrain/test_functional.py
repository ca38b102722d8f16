"""The recursion of eq. (6) against dense oracles, exactly; P4.7 and the like are numbered steps of proofs/README.md."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tensortrain.conv import alignment, functional
from tensortrain.conv.functional import conv_sum, conv_tt
from tests.support import oracles
from tests.support.oracles import Case, cases

SEEDS = st.integers(0, 2**31)
EXACT = ("same", "valid", "full", "circular")
TORCH_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def ones(case: Case) -> tuple[int, ...]:
    return (1,) * len(case.dilation)


def equal(value: Tensor, oracle: np.ndarray) -> bool:
    return torch.equal(value, torch.from_numpy(np.ascontiguousarray(oracle)))


# ---- eq. (6) = eq. (5) ------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", EXACT)
@given(case=cases(biased=False))
def test_sequential_is_dense_in_every_exact_mode(padding: str, case: Case) -> None:
    """P4."""
    assume(padding != "valid" or case.fits_valid)
    value = conv_tt(case.cores, case.inputs, padding=padding, dilation=case.dilation)
    assert equal(value, oracles.dense(case.dense_cores, case.arrays, padding, case.dilation, ones(case)))


@pytest.mark.parametrize("padding", EXACT)
@settings(max_examples=25)
@given(case=cases(biased=False))
def test_a_stride_picks_pixels_of_the_dense_form(padding: str, case: Case) -> None:
    """P4.7."""
    assume(padding != "valid" or case.fits_valid)
    value = conv_tt(case.cores, case.inputs, padding=padding, dilation=case.dilation, stride=case.stride)
    assert equal(value, oracles.dense(case.dense_cores, case.arrays, padding, case.dilation, case.stride))


@settings(max_examples=25)
@given(case=cases())
def test_a_stride_picks_pixels_with_biases_too(case: Case) -> None:
    """P4.7."""
    for padding in alignment.PADDINGS:
        if padding == "valid" and not case.fits_valid:
            continue
        run = {"padding": padding, "dilation": case.dilation}
        whole = conv_tt(case.cores, case.inputs, case.biases, **run)
        strided = conv_tt(case.cores, case.inputs, case.biases, stride=case.stride, **run)
        assert torch.equal(strided, whole[(..., *(slice(None, None, s) for s in case.stride))])


@pytest.mark.parametrize("padding", EXACT)
@given(case=cases())
def test_biases_are_carried_through_the_remaining_cores(padding: str, case: Case) -> None:
    """P2.3."""
    assume(padding != "valid" or case.fits_valid)
    value = conv_tt(case.cores, case.inputs, case.biases, padding, dilation=case.dilation)
    expected = oracles.dense(case.dense_cores, case.arrays, padding, case.dilation, ones(case))
    if any(b is not None for b in case.biases):
        batch = value.shape[0]
        expected = expected + oracles.carried_biases(
            case.dense_cores, case.bias_arrays, padding, case.size, batch, case.dilation
        )
    assert equal(value, expected)


@given(case=cases(), stop=st.integers(0, 4))
def test_same_per_step_is_the_published_recursion(case: Case, stop: int) -> None:
    """P5."""
    stop = min(stop, case.order - 1)
    assume(any(u is not None for u in case.inputs[stop:]))
    value = conv_tt(case.cores, case.inputs, case.biases, "same_per_step", stop, dilation=case.dilation)
    assert equal(value, oracles.per_step(case.dense_cores, case.arrays, case.bias_arrays, case.dilation, stop))


@given(case=cases(biased=False))
def test_same_per_step_is_dense_inside_the_border(case: Case) -> None:
    """P5.4."""
    dense = conv_tt(case.cores, case.inputs, dilation=case.dilation)
    chain = conv_tt(case.cores, case.inputs, padding="same_per_step", dilation=case.dilation)
    border = alignment.border(case.kernel_sizes, case.dilation)
    inside = tuple(slice(b, max(b, n - a)) for n, (b, a) in zip(case.size, border, strict=True))
    assert torch.equal(dense[(..., *inside)], chain[(..., *inside)])


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(case=cases(biased=False, shared_groups=False))
def test_same_is_one_dense_zero_padded_convolution(case: Case) -> None:
    """Against PyTorch's own `padding="same"`, of the composed kernel."""
    inputs = [*[None] * (case.order - 1), case.inputs[-1]]
    assume(inputs[-1] is not None)
    weight = torch.from_numpy(oracles.kernels(case.dense_cores)[-1])
    expected = TORCH_CONV[len(case.size)](inputs[-1], weight, padding="same", dilation=case.dilation)
    assert torch.equal(conv_tt(case.cores, inputs, dilation=case.dilation), expected)


@given(case=cases(), stop=st.integers(1, 4), padding=st.sampled_from(("same_per_step", "circular")))
def test_continuing_from_v_stop_gives_v_0(case: Case, stop: int, padding: str) -> None:
    """P2.4."""
    stop = min(stop, case.order - 1)
    assume(stop > 0 and any(u is not None for u in case.inputs[stop:]))
    run = {"padding": padding, "dilation": case.dilation}
    middle = conv_tt(case.cores, case.inputs, case.biases, stop=stop, **run)
    outer = list(case.inputs[:stop])
    outer[-1] = middle if outer[-1] is None else outer[-1] + middle
    going_on = conv_tt(case.cores[:stop], outer, case.biases[:stop], **run)
    assert torch.equal(going_on, conv_tt(case.cores, case.inputs, case.biases, **run))


@pytest.mark.parametrize("padding", EXACT)
@settings(max_examples=25)
@given(case=cases(biased=False), stop=st.integers(1, 4))
def test_v_stop_is_the_chain_of_the_inner_steps(padding: str, case: Case, stop: int) -> None:
    """P2.4: V(stop) on the frame; every step keeps the padding that it has in the whole chain."""
    stop = min(stop, case.order - 1)
    assume(stop > 0 and any(u is not None for u in case.inputs[stop:]))
    assume(padding != "valid" or case.fits_valid)
    value = conv_tt(case.cores, case.inputs, padding=padding, stop=stop, dilation=case.dilation)

    whole = oracles.kernels(case.dense_cores)
    inner = oracles.kernels(case.dense_cores[stop:])
    outer, most = oracles.reach(whole[stop - 1], case.dilation), oracles.reach(whole[-1], case.dilation)
    total = np.zeros(value.shape)
    for l, weight in enumerate(inner, start=stop):
        u = case.arrays[l]
        if u is None:
            continue
        own = oracles.reach(whole[l], case.dilation)
        steps = [(b - c, a - d) for (b, a), (c, d) in zip(own, outer, strict=True)]
        if padding == "full":
            ends = [b + a for b, a in steps]
            term = oracles.correlate(oracles.pad(u, [(e, e) for e in ends]), weight, case.dilation)
            term = oracles.pad(term, [(a - d, b - c) for (b, a), (c, d) in zip(most, own, strict=True)])
        elif padding == "valid":
            term = oracles.correlate(u, weight, case.dilation)
            term = oracles.crop(term, [(b - c, a - d) for (b, a), (c, d) in zip(most, own, strict=True)])
        else:
            term = oracles.correlate(oracles.pad(u, steps, oracles.CONTINUATIONS[padding]), weight, case.dilation)
        total = total + term
    assert equal(value, total)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_circular_wraps_more_than_once(axes: int) -> None:
    """P4.3: a kernel of 9 taps on an image of 2 or 3: the taps at one position modulo the size are added."""
    generator = torch.Generator().manual_seed(axes)
    cores = [oracles.integers(generator, 2, 2, *[5] * axes), oracles.integers(generator, 2, 1, *[5] * axes)]
    x = oracles.integers(generator, 1, 1, *(2, 3, 2)[:axes])
    whole = oracles.kernels([core.numpy() for core in cores])[-1]
    expected = np.zeros((1, 2, *x.shape[2:]))
    for p in np.ndindex(*x.shape[2:]):
        for tap in np.ndindex(*whole.shape[2:]):
            source = tuple((i + t - 4) % n for i, t, n in zip(p, tap, x.shape[2:], strict=True))
            expected[0, :, *p] += whole[:, 0, *tap] * float(x[0, 0, *source])
    assert equal(conv_tt(cores, [None, x], padding="circular"), expected)


@given(case=cases(), seed=SEEDS)
def test_the_chain_is_linear_in_its_inputs_and_treats_the_batch_elementwise(case: Case, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    other = [None if u is None else oracles.integers(generator, *u.shape) for u in case.inputs]
    for padding in ("same", "same_per_step", "full", "circular"):
        run = {"padding": padding, "dilation": case.dilation}
        both = [None if u is None else torch.cat([u, v]) for u, v in zip(case.inputs, other, strict=True)]
        stacked = conv_tt(case.cores, both, case.biases, **run)
        first, second = conv_tt(case.cores, case.inputs, case.biases, **run), conv_tt(case.cores, other, **run)
        assert torch.equal(stacked[: len(first)], first)
        summed = [None if u is None else u + v for u, v in zip(case.inputs, other, strict=True)]
        assert torch.equal(conv_tt(case.cores, summed, case.biases, **run), first + second)


@given(case=cases())
def test_none_means_zero(case: Case) -> None:
    batch, size = next((u.shape[0], u.shape[2:]) for u in case.inputs if u is not None)
    zeros = [
        u if u is not None else torch.zeros(batch, r, *size, dtype=torch.float64)
        for u, r in zip(case.inputs, case.ranks[1:], strict=True)
    ]
    no_bias = [b if b is not None else torch.zeros(r).double() for b, r in zip(case.biases, case.ranks, strict=False)]
    for padding in ("same", "same_per_step", "full", "circular"):
        run = {"padding": padding, "dilation": case.dilation, "stride": case.stride}
        value = conv_tt(case.cores, case.inputs, case.biases, **run)
        assert torch.equal(value, conv_tt(case.cores, zeros, no_bias, **run))


@settings(max_examples=15)
@given(case=cases(), dtype=st.sampled_from((torch.float32, torch.float64)))
def test_the_dtype_is_kept_and_inputs_need_not_be_contiguous(case: Case, dtype: torch.dtype) -> None:
    def strange(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.to(dtype).transpose(0, -1).contiguous().transpose(0, -1)

    value = conv_tt([strange(c) for c in case.cores], [strange(u) for u in case.inputs], padding="same")
    expected = conv_tt(case.cores, case.inputs, padding="same")
    assert value.dtype == dtype
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_the_arguments_are_left_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    cores = [oracles.integers(generator, 2, 2, 3), oracles.integers(generator, 2, 2, 3)]
    inputs = [oracles.integers(generator, 1, 2, 5), oracles.integers(generator, 1, 2, 5)]
    biases = [oracles.integers(generator, 2), oracles.integers(generator, 2)]
    before = [x.clone() for x in (*cores, *inputs, *biases)]
    for padding in alignment.PADDINGS:
        conv_tt(cores, inputs, biases, padding)
    assert all(torch.equal(x, y) for x, y in zip((*cores, *inputs, *biases), before, strict=True))


# ---- gradients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", alignment.PADDINGS)
def test_gradients_reach_cores_inputs_and_biases(padding: str) -> None:
    cores = [oracles.floats(0, 2, 1, 2, 3), oracles.floats(1, 2, 2, 2, 1)]  # the first one in two groups
    inputs = [oracles.floats(2, 1, 2, 3, 4), oracles.floats(3, 1, 2, 3, 4)]
    biases = [oracles.floats(4, 2), oracles.floats(5, 2)]
    leaves = [x.requires_grad_() for x in (*cores, *inputs, *biases)]

    def run(*x: Tensor) -> Tensor:
        return conv_tt(x[:2], x[2:4], x[4:], padding, stride=(2, 1), dilation=(1, 2) if padding != "valid" else 1)

    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)


# ---- work -------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(case=cases())
def test_same_does_no_more_work_than_the_smallest_of_its_neighbours(case: Case) -> None:
    """P4.5: the canvas of V(l) never exceeds that of "full", nor the one that a bias would need."""

    def multiplications(padding: str, biases: list[Tensor | None] | None) -> int:
        with FlopCounterMode(display=False) as counter:
            conv_tt(case.cores, case.inputs, biases, padding, dilation=case.dilation)
        return counter.get_total_flops() // 2

    everywhere = [torch.zeros(r).double() for r in case.ranks[:-1]]
    plain = multiplications("same", None)
    assert multiplications("same_per_step", None) <= plain <= multiplications("full", None)
    assert plain <= multiplications("same", everywhere)


# ---- composition ------------------------------------------------------------------------------------------


@given(case=cases(biased=False))
def test_compose_all_is_the_composite_of_the_ungrouped_cores(case: Case) -> None:
    """P3."""
    whole = oracles.kernels(case.dense_cores)[-1]
    composed = functional.compose_all(case.cores, case.groups)
    shared = math.gcd(*case.groups)
    assert composed.shape == (case.ranks[0], case.ranks[-1] // shared, *whole.shape[2:])
    assert equal(functional.ungroup(composed, shared), whole)


@given(case=cases(biased=False))
def test_ungroup_puts_the_blocks_on_the_diagonal(case: Case) -> None:
    for core, groups in zip(case.cores, case.groups, strict=True):
        assert equal(functional.ungroup(core, groups), oracles.ungroup(core.numpy(), groups))


@given(case=cases(biased=False), seed=SEEDS)
def test_compose_takes_a_grouped_outer_weight(case: Case, seed: int) -> None:
    """P3.1."""
    outer, groups = case.cores[0], case.groups[0]
    inner = oracles.integers(torch.Generator().manual_seed(seed), case.ranks[1], 2, *case.kernel_sizes[-1])
    expected = oracles.compose(oracles.ungroup(outer.numpy(), groups), inner.numpy())
    assert equal(functional.compose(outer, inner), expected)


@given(case=cases(biased=False))
def test_a_transposed_convolution_is_the_adjoint(case: Case) -> None:
    """P4.8: `⟨F.conv(x), y⟩ = ⟨x, F.conv_transpose(y)⟩`; `transpose_weight` makes it a full convolution."""
    core, g, axes = case.cores[0], case.groups[0], len(case.dilation)
    generator = torch.Generator().manual_seed(0)
    y = oracles.integers(generator, 1, core.shape[0], *(3, 2, 2)[:axes])
    transposed = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[axes]
    expected = transposed(y, core, groups=g, dilation=case.dilation)
    turned = functional.transpose_weight(core, g)
    assert turned.shape == (core.shape[1] * g, core.shape[0] // g, *core.shape[2:])
    assert torch.equal(conv_tt([turned], [y], padding="full", dilation=case.dilation), expected)
    assert torch.equal(functional.transpose_weight(turned, g), core)


def test_autocast_takes_inputs_of_its_dtype() -> None:
    cores, u = [torch.ones(2, 3, 3), torch.ones(3, 2, 3)], torch.ones(1, 2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        low = conv_tt(cores, [None, u.bfloat16()], [torch.ones(2), None])
    assert torch.equal(low.float(), conv_tt(cores, [None, u], [torch.ones(2), None]))


@given(seed=SEEDS, factors=st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_spread_puts_zeros_between_neighbours(seed: int, factors: list[int]) -> None:
    x = oracles.integers(torch.Generator().manual_seed(seed), 2, 1, *(3, 2, 2)[: len(factors)])
    out = functional.spread(x, factors)
    assert out.shape[2:] == tuple((n - 1) * s + 1 for n, s in zip(x.shape[2:], factors, strict=True))
    assert torch.equal(out[(..., *(slice(None, None, s) for s in factors))], x)
    assert out.abs().sum() == x.abs().sum()


@pytest.mark.parametrize("padding", EXACT)
@settings(max_examples=25)
@given(case=cases(biased=False))
def test_eq_5_by_dense_convolutions(padding: str, case: Case) -> None:
    assume(padding != "valid" or case.fits_valid)
    whole = [torch.from_numpy(w) for w in oracles.kernels(case.dense_cores)]
    value = conv_sum(whole, case.inputs, padding, stride=case.stride, dilation=case.dilation)
    assert equal(value, oracles.dense(case.dense_cores, case.arrays, padding, case.dilation, case.stride))

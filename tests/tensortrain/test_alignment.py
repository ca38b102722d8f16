"""The one rule by which steps and inputs are placed; P4.7 and the like are numbered steps of proofs/README.md."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tensortrain.conv import alignment
from tensortrain.conv.functional import conv_tt
from tests.support.oracles import Case, cases


@given(case=cases())
def test_reaches_are_those_of_the_composed_kernels(case: Case) -> None:
    """P3.3."""
    reach = alignment.reaches(case.kernel_sizes, case.dilation)
    for l, widths in enumerate(reach):
        lengths = [sum(k[axis] - 1 for k in case.kernel_sizes[:l]) + 1 for axis in range(len(case.dilation))]
        assert widths == tuple(d * (k - 1) for d, k in zip(case.dilation, lengths, strict=True))


@given(case=cases())
def test_the_paddings_of_the_steps_add_up_to_the_dense_ones(case: Case) -> None:
    """P3.4."""
    steps = alignment.step_padding(case.kernel_sizes, case.dilation)
    for l in range(case.order + 1):
        for axis, d in enumerate(case.dilation):
            end = d * sum(k[axis] - 1 for k in case.kernel_sizes[:l])
            assert sum(step[axis][0] for step in steps[:l]) == end // 2
            assert sum(step[axis][1] for step in steps[:l]) == end - end // 2
    for step, size in zip(steps, case.kernel_sizes, strict=True):
        for (before, after), d, k in zip(step, case.dilation, size, strict=True):
            assert min(before, after) >= 0  # P3.5
            assert before + after == d * (k - 1)


@pytest.mark.parametrize(
    ("sizes", "dilation", "steps"),
    [
        ([3, 3], 1, [(1, 1), (1, 1)]),
        ([2, 2, 2], 1, [(0, 1), (1, 0), (0, 1)]),
        ([5, 3], 2, [(4, 4), (2, 2)]),
        ([4, 1, 2], 1, [(1, 2), (0, 0), (1, 0)]),
        ([2, 2], 2, [(1, 1), (1, 1)]),
        ([2, 2], 3, [(1, 2), (2, 1)]),
    ],
)
def test_step_paddings_by_hand(sizes: list[int], dilation: int, steps: list[tuple[int, int]]) -> None:
    """P3.6."""
    assert alignment.step_padding([(k,) for k in sizes], (dilation,)) == [((before, after),) for before, after in steps]


@pytest.mark.parametrize(
    ("sizes", "dilation", "width"),
    [
        ([3, 3], 1, (1, 1)),
        ([3, 3, 3], 1, (2, 2)),
        ([5, 5, 5], 1, (4, 4)),
        ([3, 7], 1, (1, 1)),
        ([7, 3], 1, (3, 3)),
        ([3, 3], 2, (2, 2)),
        ([2, 2], 1, (0, 1)),
        ([2, 2, 2], 1, (1, 1)),
        ([2, 2, 2, 2], 1, (1, 2)),
        ([5], 1, (0, 0)),
    ],
)
def test_border_by_hand(sizes: list[int], dilation: int, width: tuple[int, int]) -> None:
    """P5.4."""
    assert alignment.border([(k,) for k in sizes], (dilation,)) == (width,)


def test_each_axis_has_its_own_border() -> None:
    """P5.5."""
    assert alignment.border([(1, 5, 2), (3, 3, 2)], (1, 2, 1)) == ((0, 0), (4, 4), (0, 1))


@given(case=cases(biased=False))
def test_the_border_is_no_wider_and_no_narrower(case: Case) -> None:
    """P5.5: positive cores of which T(m) reaches to both sides: exactly the pixels of the border differ."""
    rank, axes = case.ranks[-1], len(case.dilation)
    cores = [*(core.abs() + 1 for core in case.cores), torch.ones(rank, 1, *[3] * axes, dtype=torch.float64)]
    width = alignment.border([*case.kernel_sizes, (3,) * axes], case.dilation)
    size = [b + a + 3 for b, a in width]
    inputs = [*[None] * case.order, torch.ones(1, 1, *size, dtype=torch.float64)]
    run = {"cores": cores, "inputs": inputs, "dilation": case.dilation}
    defect = conv_tt(padding="same", **run) - conv_tt(padding="same_per_step", **run)
    interior = torch.zeros(size, dtype=torch.bool)
    interior[tuple(slice(b, n - a) for n, (b, a) in zip(size, width, strict=True))] = True
    assert torch.equal(defect[0, 0] > 0, ~interior)


@given(case=cases(), padding=st.sampled_from(alignment.PADDINGS))
def test_step_sizes_are_those_of_the_maps_that_the_chain_computes(case: Case, padding: str) -> None:
    assume(padding != "valid" or case.fits_valid)
    present = [u is not None for u in case.inputs]
    sizes = alignment.step_sizes(case.kernel_sizes, case.size, padding, case.stride, case.dilation, present)
    run = {"padding": padding, "stride": case.stride, "dilation": case.dilation}
    assert tuple(conv_tt(case.cores, case.inputs, **run).shape[2:]) == sizes[0]
    if padding in ("full", "valid"):
        sign = 1 if padding == "full" else -1
        ends = alignment.reaches(case.kernel_sizes, case.dilation)[-1]
        whole = [n + sign * e for n, e in zip(case.size, ends, strict=True)]
        assert sizes[0] == tuple(-(-n // s) for n, s in zip(whole, case.stride, strict=True))
    else:
        assert sizes[0] == tuple(-(-n // s) for n, s in zip(case.size, case.stride, strict=True))


def test_step_sizes_depend_on_the_innermost_input() -> None:
    """U(3) alone makes V(1) and V(2) longer than the frame, by what they can be non-zero on."""
    sizes = [(3,), (3,), (3,)]
    assert alignment.step_sizes(sizes, (8,), "same", (1,), (1,), [True, False, True]) == [(8,), (10,), (10,)]
    assert alignment.step_sizes(sizes, (8,), "same", (1,), (1,), [True, True, False]) == [(8,), (10,), (8,)]


def test_output_sizes_are_those_of_an_ordinary_convolution_unless_said() -> None:
    assert alignment.output_sizes([(3,)], 8, "same", 3, 1) == [(3,)]
    assert alignment.output_sizes([(3,)], 8, "same", 3, 1, transposed=True) == [(22,)]


@pytest.mark.parametrize(
    ("sizes", "present", "steps"),
    [
        ([(3, 3), (3, 3)], [False, True], [1, 1]),
        ([(1, 1), (3, 1), (1, 3), (1, 1)], [False, False, False, True], [2, 3]),
        ([(1, 1), (3, 1), (1, 3), (1, 1)], [True, False, False, True], [1, 1]),
        ([(1, 1), (3, 1), (1, 3), (1, 1)], [False, True, False, True], [2, 1]),
        ([(1, 1), (1, 1)], [False, True], [1, 1]),
    ],
)
def test_which_step_takes_the_stride(sizes: list[tuple[int, int]], present: list[bool], steps: list[int]) -> None:
    """P4.7."""
    assert alignment.stride_steps(sizes, (2, 2), present) == steps

"""Margins and border are those of the proofs; P4.5 and the like are numbered steps of proofs/README.md.

What `conv_tt` computes in them is compared with the oracle, in test_oracle.py.
"""

import itertools

import pytest
import torch

from tensortrain.conv import alignment
from tensortrain.conv.functional import conv_tt
from tests.support.transcription import SEEDS, Position, random_chain


@SEEDS
def test_margins_are_canvas_and_support(seed: int) -> None:
    """P4.5: the boxes of `ctt_same_shrunk`."""
    chain = random_chain(seed)
    for t, s in itertools.product(range(1, chain.m + 1), range(chain.m + 1)):
        biased = [l == s - 1 for l in range(chain.m)]
        margins = alignment.margins(chain.sizes, chain.dil, "same", top=t, biased=biased)
        for l in range(t):
            lo, hi = chain.canvas(l)
            if l >= s:
                left, right = chain.support(t, l)
                lo, hi = tuple(map(max, lo, left)), tuple(map(min, hi, right))
            assert margins[l] == tuple((-a, b - n) for a, b, n in zip(lo, hi, chain.h, strict=True))


@SEEDS
def test_margins_shrink_where_the_chain_ends_early(seed: int) -> None:
    """P4.4: the boxes of `ctt_stop_same`."""
    chain = random_chain(seed)
    for stop in range(chain.m):
        biased = [True] * chain.m
        margins = alignment.margins(chain.sizes, chain.dil, "same", top=chain.m, stop=stop, biased=biased)
        for l in range(stop, chain.m):
            before = tuple(a - b for a, b in zip(chain.lead(l), chain.lead(stop), strict=True))
            after = tuple(a - b for a, b in zip(chain.tail(l), chain.tail(stop), strict=True))
            assert margins[l] == tuple(zip(before, after, strict=True))


@SEEDS
def test_full_has_the_margins_of_the_support(seed: int) -> None:
    """P4.1: the box of `ctt_full_support` and `full_returns_all`."""
    chain = random_chain(seed)
    margins = alignment.margins(chain.sizes, chain.dil, "full", top=chain.m)
    for l in range(chain.m + 1):
        lo, hi = chain.support(chain.m, l)
        assert margins[l] == tuple((-a, b - n) for a, b, n in zip(lo, hi, chain.h, strict=True))


@pytest.mark.parametrize("sizes", [[(3, 3), (3, 3), (3, 3)], [(2, 5), (4, 2), (3, 4)], [(3, 1), (1, 4), (3, 3)]])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_border_is_sharp(sizes: list[Position], dilation: int) -> None:
    """P5.5."""
    cores = [torch.ones(1, 1, *size, dtype=torch.float64) for size in sizes]
    inputs = [torch.ones(1, 1, 19, 23, dtype=torch.float64)] * len(cores)
    loss = conv_tt(cores, inputs, dilation=dilation) - conv_tt(cores, inputs, None, "same_per_step", dilation=dilation)
    (top, bottom), (left, right) = alignment.border(sizes, (dilation, dilation))
    expected = torch.ones(19, 23, dtype=torch.bool)
    expected[top : 19 - bottom, left : 23 - right] = False
    assert torch.equal(loss[0, 0] > 0, expected)
    assert (loss >= 0).all()


def test_two_even_cores_are_padded_on_opposite_sides() -> None:
    """P3.6."""
    assert alignment.step_padding([(2,), (2,)], (1,)) == [((0, 1),), ((1, 0),)]

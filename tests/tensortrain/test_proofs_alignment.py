"""`conv_tt` computes what the proofs speak of; P4.7 and the like are numbered steps of proofs/README.md.

The library's output equals, exactly, the definitions of `Alignment.v`, `Border.v` and `Circular.v` (Theorem B) as
transcribed in `tests.support.transcription`.
"""

import itertools
from collections.abc import Callable

import pytest
import torch

import tensortrain as tt
from tensortrain.conv import alignment
from tensortrain.conv.functional import conv_sum, conv_tt
from tests.support.transcription import (
    SEEDS,
    Matrix,
    Position,
    add,
    call,
    on,
    pixels,
    random_case,
    solve,
    zero,
)


@SEEDS
def test_same_is_the_chain_on_the_plane(seed: int) -> None:
    """P4.4: `ctt_plane` on the left, `ctt_same` on the right."""
    case = random_case(seed)
    chain, stop = case.chain, min(seed // 9 % case.chain.m, case.top - 1)
    U = [case.padded_U(l) if l else None for l in range(chain.m + 1)]
    V = solve(chain, lambda l, p, V: add(case.b(l), chain.step(l, lambda q: add(V(l + 1, q), U[l + 1](q)), p)))

    library = call(case, "same", stop=stop)

    assert torch.equal(library, on(case.origin, case.size, lambda p: V(stop, p)))
    if stop == 0:
        b = [lambda p, l=l: case.b(l) for l in range(chain.m)]
        assert torch.equal(library, on(case.origin, case.size, lambda p: chain.dense_sum(U, b, p)))


@SEEDS
def test_the_canvas_may_shrink_to_the_support(seed: int) -> None:
    """P4.5: `ctt_same_shrunk`, and that the library's margins are its canvases."""
    case = random_case(seed)
    chain = case.chain

    def bounds(l: int, t: int, s: int) -> tuple[Position, Position]:
        lo, hi = chain.canvas(case.origin, case.size, l)
        if l < s:
            return lo, hi
        left, right = chain.support(case.size, t, l)
        return tuple(map(max, lo, left)), tuple(map(min, hi, right))

    def equation(l: int, p: Position, V: Callable[[int, Position], Matrix]) -> Matrix:
        if not chain.box(*bounds(l, case.top, case.last_bias), p):
            return zero(chain.r[l], chain.n)
        return add(chain.step(l, lambda q: add(V(l + 1, q), case.padded_U(l + 1)(q)), p), case.b(l))

    V = solve(chain, equation)
    assert torch.equal(call(case, "same"), on(case.origin, case.size, lambda p: V(0, p)))

    sizes = [tuple(e + 1 for e in deg) for deg in chain.deg]
    for t, s in itertools.product(range(1, chain.m + 1), range(chain.m + 1)):
        margins = alignment.margins(sizes, chain.dil, "same", top=t, biased=[l == s - 1 for l in range(chain.m)])
        for l in range(t):
            lo, hi = bounds(l, t, s)
            assert margins[l] == tuple((-a, b - n) for a, b, n in zip(lo, hi, case.size, strict=True))


@SEEDS
def test_full_is_all_that_can_be_non_zero(seed: int) -> None:
    """P4.1: `ctt_full_support`: V l vanishes off its support; a bias is given on the support only."""
    case = random_case(seed)
    chain, stop = case.chain, min(seed // 9 % case.chain.m, case.top - 1)

    def bias(l: int, p: Position) -> Matrix:
        inside = chain.box(*chain.support(case.size, chain.m, l), p)
        return case.b(l) if inside else zero(chain.r[l], chain.n)

    V = solve(
        chain,
        lambda l, p, V: add(bias(l, p), chain.step(l, lambda q: add(V(l + 1, q), case.padded_U(l + 1)(q)), p)),
    )
    lo, hi = chain.support(case.size, chain.m, stop)
    assert torch.equal(call(case, "full", stop=stop), on(lo, hi, lambda p: V(stop, p)))
    wider = tuple(a - 1 for a in lo), tuple(b + 1 for b in hi)
    assert all(chain.box(lo, hi, p) or not any(map(any, V(stop, p))) for p in pixels(*wider))


@SEEDS
def test_valid_reads_nothing_off_the_frame(seed: int) -> None:
    """P4.2: `ctt_valid`; `Case.U` asserts that only pixels of the frame are asked for."""
    case = random_case(seed)
    chain, stop = case.chain, min(seed // 9 % case.chain.m, case.top - 1)
    lo, hi = chain.lead(chain.m), tuple(n - a for n, a in zip(case.size, chain.tail(chain.m), strict=True))
    V = solve(chain, lambda l, p, V: add(case.b(l), chain.step(l, lambda q: add(V(l + 1, q), case.U(l + 1, q)), p)))
    lo, hi = chain.canvas(lo, hi, stop)
    if any(a >= b for a, b in zip(lo, hi, strict=True)):
        with pytest.raises(tt.TensorTrainError, match="smaller than the kernel"):
            call(case, "valid", stop=stop)
        return
    assert torch.equal(call(case, "valid", stop=stop), on(lo, hi, lambda p: V(stop, p)))


@SEEDS
def test_circular_takes_positions_modulo_the_size(seed: int) -> None:
    """P4.3: `ctt_circular`, and its right-hand side."""
    case = random_case(seed)
    chain, stop = case.chain, min(seed // 9 % case.chain.m, case.top - 1)

    def wrap(p: Position) -> Position:
        return tuple(x % n for x, n in zip(p, case.size, strict=True))

    V = solve(
        chain,
        lambda l, p, V: add(case.b(l), chain.step(l, lambda q: add(V(l + 1, wrap(q)), case.U(l + 1, wrap(q))), p)),
    )
    library = call(case, "circular", stop=stop)
    assert torch.equal(library, on(case.origin, case.size, lambda p: V(stop, p)))
    if stop == 0:
        U = [lambda p, l=l: case.U(l, wrap(p)) for l in range(chain.m + 1)]
        b = [lambda p, l=l: case.b(l) for l in range(chain.m)]
        assert torch.equal(library, on(case.origin, case.size, lambda p: chain.dense_sum(U, b, p)))


@SEEDS
def test_same_per_step_crops_every_map_and_differs_in_the_border_only(seed: int) -> None:
    """P5: `ctt_same_per_step`: what it computes, and that it agrees with the dense form inside the border."""
    case = random_case(seed)
    chain, stop = case.chain, min(seed // 9 % case.chain.m, case.top - 1)

    def equation(l: int, p: Position, V: Callable[[int, Position], Matrix]) -> Matrix:
        cropped = case.pad(lambda q: add(V(l + 1, q), case.U(l + 1, q)), chain.r[l + 1])
        return add(chain.step(l, cropped, p), case.b(l))

    V = solve(chain, equation)
    library = call(case, "same_per_step", stop=stop)
    assert torch.equal(library, on(case.origin, case.size, lambda p: V(stop, p)))
    if stop == 0:
        inner = tuple(
            slice(a, n - b)
            for n, a, b in zip(case.size, chain.lead(chain.m - 1), chain.tail(chain.m - 1), strict=True)
            if a < n - b
        )
        if len(inner) == len(case.size):
            assert torch.equal(library[(..., *inner)], call(case, "same")[(..., *inner)])


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


@SEEDS
def test_a_stride_picks_pixels(seed: int) -> None:
    """P4.7."""
    case = random_case(seed)
    chain = case.chain
    stride = tuple((seed + axis) % 3 + 1 for axis in range(len(case.size)))
    V = solve(
        chain,
        lambda l, p, V: add(case.b(l), chain.step(l, lambda q: add(V(l + 1, q), case.padded_U(l + 1)(q)), p)),
    )
    assert torch.equal(call(case, "same", stride=stride), on(case.origin, case.size, lambda p: V(0, p), stride))


@SEEDS
def test_kernels_are_the_composites(seed: int) -> None:
    """P3: `kernel l` is W(l), and the library's dense form, eq. (5), is `dense_sum`."""
    case = random_case(seed, biased=False)
    chain = case.chain
    train = tt.ConvTensorTrain(case.cores, groups=[chain.r[l + 1] // c.shape[1] for l, c in enumerate(case.cores)])
    kernels = train.kernels()
    for l, weight in enumerate(kernels, start=1):
        transcribed = chain.kernel(l)
        assert tuple(weight.shape[2:]) == tuple(e + 1 for e in chain.extent(l))
        for c, matrix in transcribed.items():
            assert torch.equal(weight[(..., *c)], torch.tensor(matrix, dtype=torch.float64))
    U = [case.padded_U(l) if l else None for l in range(chain.m + 1)]
    none = [lambda p, l=l: zero(chain.r[l], chain.n) for l in range(chain.m)]
    library = conv_sum(kernels, case.inputs, padding="same", dilation=chain.dil)
    assert torch.equal(library, on(case.origin, case.size, lambda p: chain.dense_sum(U, none, p)))


def test_two_even_cores_are_padded_on_opposite_sides() -> None:
    """P3.6."""
    assert alignment.step_padding([(2,), (2,)], (1,)) == [((0, 1),), ((1, 0),)]

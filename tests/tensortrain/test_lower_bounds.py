"""The lower bounds, and the sweep with its upper bound, against NumPy and by hand: small, for the mutants of them."""

import itertools
import math

import numpy as np
import pytest
import torch

from tensortrain.conv.fit import lower_bounds, sweep
from tensortrain.conv.fit.lower_bounds import fourier_bound, lower_bound, quick_lower_bound, unfolding_bound
from tests.support import oracles


def beyond(matrix, rank):
    """Σ σ_i² over i > rank."""
    return float((np.linalg.svd(np.asarray(matrix), compute_uv=False)[rank:] ** 2).sum())


@pytest.mark.parametrize("shape", [(1, 3, 4, 3), (2, 4, 3, 2, 3), (1, 2, 2, 1, 3)])
@pytest.mark.parametrize("rank", [1, 2, 3, 5])
@pytest.mark.parametrize("more", [None, 0, 1, 2])
def test_the_fourier_bound_is_the_mean_tail_over_all_frequencies(shape, rank, more):
    weight = oracles.floats(0, *shape)
    grid = shape[3:] if more is None else tuple(k + more for k in shape[3:])
    spectrum = np.fft.fftn(weight.numpy(), s=grid, axes=range(3, len(shape)))
    frequencies = itertools.product(*map(range, grid))
    energy = sum(beyond(part[(..., *f)], rank) for f in frequencies for part in spectrum) / math.prod(grid)
    got = fourier_bound(weight, rank) if more is None else fourier_bound(weight, rank, grid)
    assert got == pytest.approx(math.sqrt(energy), abs=1e-12)


def unfoldings(weight, left):
    """Of each group's kernel: output side, input side, and with the positions of `left` in the rows."""
    g, p, q, *size = weight.shape
    rest = [k - a + 1 for k, a in zip(size, left, strict=True)]
    split = np.empty((g, *left, p, *rest, q))
    for a in itertools.product(*map(range, left)):
        for b in itertools.product(*map(range, rest)):
            at = tuple(i + j for i, j in zip(a, b, strict=True))
            split[(slice(None), *a, slice(None), *b)] = weight.numpy()[(..., *at)]
    rows = weight.numpy().reshape(g, p, -1)
    columns = weight.numpy().swapaxes(1, 2).reshape(g, q, -1)
    return rows, columns, split.reshape(g, math.prod(left) * p, -1)


@pytest.mark.parametrize(
    ("shape", "sizes", "ranks"),
    [
        ((1, 6, 5, 3), [(3,), (1,)], [2]),
        ((1, 6, 5, 3), [(1,), (3,)], [2]),
        ((2, 4, 5, 3, 3), [(3, 1), (1, 3)], [3]),
        ((1, 9, 9, 2, 2), [(1, 1), (2, 2), (1, 1)], [2, 7]),
        ((1, 9, 9, 2, 2), [(1, 1), (2, 2), (1, 1)], [7, 2]),
        ((1, 12, 4, 3), [(2,), (2,)], [2]),
        ((1, 4, 12, 3), [(2,), (2,)], [2]),
        ((1, 4, 4, 3), [(2,), (2,)], [3]),
        ((1, 12, 4, 3), [(2,), (2,)], [1]),
        ((1, 4, 12, 3), [(2,), (2,)], [1]),
        ((1, 4, 4, 3, 1), [(2, 1), (2, 1)], [1]),  # both sides of the bond extend along the first axis
        ((1, 3, 3, 2), [(2,), (1,)], [8]),
    ],
)
def test_the_unfolding_bound_is_the_best_of_three_at_each_bond(shape, sizes, ranks):
    weight = oracles.floats(1, *shape)
    best = 0.0
    for l, rank in enumerate(ranks, start=1):
        left, right = (
            [sum(axis) - len(axis) + 1 for axis in zip(*part, strict=True)] for part in (sizes[:l], sizes[l:])
        )
        rows, columns, split = unfoldings(weight, left)
        best = max(best, sum(beyond(m, rank * math.prod(left)) for m in rows))
        best = max(best, sum(beyond(m, rank * math.prod(right)) for m in columns))
        if all(min(a, b) == 1 for a, b in zip(left, right, strict=True)):
            best = max(best, sum(beyond(m, rank) for m in split))
    assert unfolding_bound(weight, sizes, ranks) == pytest.approx(math.sqrt(best), abs=1e-12)


def test_without_bonds_there_is_no_bound():
    weight = oracles.floats(2, 1, 2, 2, 3)
    for bound in (unfolding_bound, quick_lower_bound, lower_bound):
        assert bound(weight, [(3,)], []) == 0.0


@pytest.mark.parametrize(("sizes", "ranks"), [([(2,), (2,)], [1]), ([(1,), (3,)], [1]), ([(1,), (2,), (2,)], [3, 1])])
def test_the_bounds_for_searches_and_reports(sizes, ranks):
    weight = oracles.floats(3, 1, 4, 4, 3)
    fourier = [fourier_bound(weight, 1, grid) for grid in ((3,), (4,), (5,))]
    unfolding = unfolding_bound(weight, sizes, ranks)
    assert quick_lower_bound(weight, sizes, ranks) == max(fourier[0], unfolding)
    assert lower_bound(weight, sizes, ranks) == max(*fourier, unfolding)
    assert lower_bound(weight, sizes, ranks, unfolding) == unfolding
    assert lower_bound(weight, sizes, ranks, unfolding * (1 + 1e-9)) == max(*fourier, unfolding)


def test_small_energies_are_those_of_the_singular_values():
    """Of 1e-24 the Gram matrix knows nothing."""
    matrix = torch.diag(torch.tensor([1.0, 1e-12, 1e-12], dtype=torch.float64))[None]
    for rectangle in (matrix, torch.cat([matrix, torch.zeros(1, 3, 2, dtype=torch.float64)], 2)):
        for one in (rectangle, rectangle.mT):
            assert lower_bounds._wide_tail(one, 1) == pytest.approx(2e-24, rel=1e-3)
            assert lower_bounds._wide_tail(one, 3) == 0.0
            assert lower_bounds._wide_tail(one, 4) == 0.0
    assert lower_bounds._wide_tail(2 * torch.eye(3, dtype=torch.float64)[None], 2) == pytest.approx(4.0)


# ---- the sweep ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "taps"), [((1, 2, 3, 4), (2,)), ((2, 2, 2, 3, 4), (3, 2)), ((1, 1, 2, 3), (3,))])
def test_the_lift_divides_each_entry_by_its_pairs(shape, taps):
    weight = oracles.floats(4, *shape)
    g, p, q, *size = shape
    rest = [k - t + 1 for k, t in zip(size, taps, strict=True)]
    pairs = list(itertools.product(itertools.product(*map(range, taps)), itertools.product(*map(range, rest))))
    sums = [tuple(i + j for i, j in zip(a, b, strict=True)) for a, b in pairs]
    lifted = sweep.lift(weight, taps).reshape(g, *taps, p, *rest, q)
    assert lifted.dtype == weight.dtype
    for (a, b), c in zip(pairs, sums, strict=True):
        entry = lifted[(slice(None), *a, slice(None), *b)]
        torch.testing.assert_close(entry, weight[(..., *c)] / sums.count(c), rtol=1e-14, atol=0)


@pytest.mark.parametrize("rank", [1, 2, 99])
@pytest.mark.parametrize("exact", [False, True])
def test_a_split_is_a_truncated_svd_of_the_lift(rank, exact):
    weight, taps = oracles.floats(5, 2, 3, 2, 3, 2), (2, 1)
    outer, inner, discarded = sweep.split(weight, taps, rank, exact)
    matrix = sweep.lift(weight, taps)
    kept = min(rank, *matrix.shape[1:])
    assert outer.shape == (2, 3, kept, 2, 1)
    assert inner.shape == (2, kept, 2, 2, 2)
    columns = outer.permute(0, 3, 4, 1, 2).reshape(2, 6, kept)
    torch.testing.assert_close(columns.mT @ columns, torch.eye(kept).double().expand(2, kept, kept))
    rest = inner.permute(0, 1, 3, 4, 2).reshape(2, kept, -1)
    assert discarded == pytest.approx(sum(beyond(m, kept) for m in matrix), abs=1e-12)
    assert float((matrix - columns @ rest).square().sum()) == pytest.approx(discarded, abs=1e-12)
    assert discarded >= 0.0


@pytest.mark.parametrize(("sizes", "ranks"), [([(2,), (2,), (2,)], [1, 1]), ([(3,), (2,)], [2]), ([(1,), (4,)], [1])])
def test_the_bound_of_a_sweep_adds_up_its_steps(sizes, ranks):
    weight = oracles.floats(6, 1, 3, 3, 4)
    cores, bound = sweep.sweep(weight, sizes, ranks)
    assert [core.shape[3:] for core in cores] == [torch.Size(size) for size in sizes]
    expected, factor, rest = 0.0, 1.0, weight
    for (taps,), rank in zip(sizes[:-1], ranks, strict=True):
        factor *= min(taps, rest.shape[3] - taps + 1)
        outer, rest, discarded = sweep.split(rest, (taps,), rank)
        expected += factor * discarded
        torch.testing.assert_close(cores.pop(0), outer)
    assert bound == pytest.approx(expected, rel=1e-12) != 0.0
    torch.testing.assert_close(cores.pop(), rest)


def test_a_bond_that_the_lift_cannot_fill_gets_unit_columns_and_zeros():
    weight = oracles.floats(7, 2, 2, 3, 2)
    cores, bound = sweep.sweep(weight, [(1,), (2,)], [5])
    assert bound == pytest.approx(0.0, abs=1e-12)
    assert cores[0].shape == (2, 2, 5, 1)
    assert cores[1].shape == (2, 5, 3, 2)
    assert torch.equal(cores[1][:, 2:], torch.zeros(2, 3, 3, 2, dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(2, 2, 3, 1, generator=generator, dtype=torch.float64) / math.sqrt(2)
    torch.testing.assert_close(cores[0][:, :, 2:], random, rtol=1e-14, atol=0)
    alone, _ = sweep.sweep(weight[:1], [(1,), (2,)], [3])
    assert [core.shape for core in alone] == [(1, 2, 3, 1), (1, 3, 3, 2)]
    assert torch.equal(sweep.sweep(weight, [(1,), (2,)], [5])[0][0], cores[0])


@pytest.mark.parametrize(("sides", "rank", "exact", "randomised"), [
    ((1001, 1002), 165, False, True), ((1001, 1002), 166, False, False), ((1001, 1002), 165, True, False),
    ((1000, 1002), 4, False, False), ((1002, 1000), 4, False, False),
])  # fmt: skip
def test_which_lifts_are_split_by_random_projection(sides, rank, exact, randomised, monkeypatch):
    calls = []

    def triples(rank):
        return torch.zeros(sides[0], rank), torch.zeros(rank), torch.zeros(rank, sides[1])

    monkeypatch.setattr(sweep, "randomized_svd", lambda m, rank, seed: calls.append(seed) or triples(rank))
    full = [part[None] for part in triples(min(sides))]
    monkeypatch.setattr(sweep.torch.linalg, "svd", lambda m, full_matrices: full if not full_matrices else None)
    u, s, v = sweep._truncated_svd(torch.zeros(1, *sides), rank, *[True] * exact)
    assert calls == [0] * randomised
    assert (u.shape, s.shape, v.shape) == ((1, sides[0], rank), (1, rank), (1, rank, sides[1]))


@pytest.mark.parametrize(("sides", "exact", "by_gram"), [
    ((1001, 1002), False, True), ((1002, 1001), False, True), ((1000, 1002), False, False), ((1001, 1002), True, False),
])  # fmt: skip
def test_which_lifts_are_split_by_their_gram_matrix(sides, exact, by_gram, monkeypatch):
    """Of a diagonal matrix, whose triples are known: singular values down to 0, in any order."""
    values = torch.linspace(0, 1, min(sides), dtype=torch.float64)[torch.randperm(min(sides))]
    matrix = torch.zeros(1, *sides, dtype=torch.float64)
    matrix[0].diagonal()[:] = values
    calls, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(sweep.torch.linalg, "eigh", lambda m: calls.append(m.shape) or eigh(m))
    order = values.argsort(descending=True)
    full = torch.eye(sides[0], dtype=torch.float64)[None, :, order], values[None, order]
    svd = (*full, torch.eye(sides[1], dtype=torch.float64)[None, order])
    monkeypatch.setattr(sweep.torch.linalg, "svd", lambda m, full_matrices: svd)
    u, s, v = sweep._truncated_svd(matrix, 900, exact)
    assert calls == [(1, min(sides), min(sides))] * by_gram
    torch.testing.assert_close(s[0], values[order[:900]])
    torch.testing.assert_close(matrix @ v.mT, u * s[:, None])
    torch.testing.assert_close(u[0].mT @ u[0], torch.eye(900, dtype=torch.float64))
    torch.testing.assert_close(v[0] @ v[0].mT, torch.eye(900, dtype=torch.float64))


def test_unless_said_large_lifts_may_be_split_by_random_projection(monkeypatch):
    exact, split = [], sweep._truncated_svd
    monkeypatch.setattr(
        sweep, "_truncated_svd", lambda m, rank, wanted=None: exact.append(wanted) or split(m, rank, False)
    )
    weight = oracles.floats(8, 1, 2, 2, 3)
    sweep.split(weight, (2,), 1)
    sweep.split(weight, (2,), 1, True)
    sweep.sweep(weight, [(2,), (2,)], [1])
    sweep.sweep(weight, [(2,), (2,)], [1], True)
    assert exact == [False, True, False, True]


def test_a_lift_stays_on_its_device():
    weight = torch.zeros(1, 2, 3, 4, device="meta")
    assert sweep.lift(weight, (2,)).device == weight.device

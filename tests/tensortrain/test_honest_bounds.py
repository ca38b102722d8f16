"""Bounds are reported as they are computed; one that contradicts the error stops `decompose` and fails `verify`."""

import dataclasses
import types
from pathlib import Path

import pytest
import torch

from tensortrain import ConvTensorTrain, TensorTrainError
from tensortrain.compression.state_dicts.records import LayerRecord
from tensortrain.compression.verify import LayerCheck, Verification, verify_network
from tensortrain.conv import formats
from tensortrain.conv.fit import block_solver, blocks, decomposition, depthwise, lower_bounds, solver, sweep
from tensortrain.conv.fit import chain as chain_fit
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.lower_bounds import fourier_bound, lower_bound
from tests.support import oracles


def center(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A 5×5 kernel of one position in the middle, which nine pairs of positions in 3×3 cores have as their sum."""
    weight = torch.zeros(8, 8, 5, 5, dtype=dtype)
    weight[:, :, 2, 2] = oracles.floats(0, 8, 8).to(dtype)
    return weight


def verified(chain: ConvTensorTrain, weight: torch.Tensor) -> Verification:
    record = LayerRecord.of("a.weight", chain, tuple(weight.shape), chain.conv_groups)
    return verify_network(dict(zip(record.core_keys, chain.cores, strict=True)), [record], {"a.weight": weight})


def mutant(line: str, changed: str) -> types.ModuleType:
    """The module of the sweep with one expression changed."""
    source = Path(sweep.__file__).read_text()
    assert source.count(line) == 1
    module = types.ModuleType("mutant")
    exec(source.replace(line, changed), module.__dict__)
    return module


@pytest.fixture
def forgetful(monkeypatch):
    """The sweep forgets its factor."""
    module = mutant("bound += factor * discarded", "bound += discarded")
    for user in (chain_fit, solver):
        monkeypatch.setattr(user, "sweep", module.sweep)


def test_a_sweep_that_forgets_its_factor_stops_decompose(forgetful):
    with pytest.raises(TensorTrainError, match=r"error 0\.\d+ is above the upper bound 0\.\d+; this is a fault of the"):
        ConvTensorTrain.decompose(center(), (3, 3), ranks=1)


def test_a_sweep_that_forgets_its_factor_fails_verify(request):
    weight = center()
    chain = ConvTensorTrain.decompose(weight, (3, 3), ranks=1)
    assert verified(chain, weight).failures == []
    request.getfixturevalue("forgetful")
    assert any("above the upper bound" in failure for failure in verified(chain, weight).failures)


@pytest.mark.parametrize("bound", ["fourier_bound", "unfolding_bound"])
def test_a_lower_bound_that_is_too_large_stops_decompose_and_fails_verify(bound, monkeypatch):
    weight = center()
    chain = ConvTensorTrain.decompose(weight, (3, 3), ranks=1)
    monkeypatch.setattr(lower_bounds, bound, lambda *args: chain.error + 3e-6)
    with pytest.raises(TensorTrainError, match=r"is below the lower bound .* a fault of the library"):
        ConvTensorTrain.decompose(weight, (3, 3), ranks=1)
    assert any("below the lower bound" in failure for failure in verified(chain, weight).failures)


def test_bounds_are_never_moved_into_place(monkeypatch):
    """By less than 1e-6 a bound may be wrong, and is shown as it is."""
    weight = center()
    chain = ConvTensorTrain.decompose(weight, (3, 3), ranks=1)
    computed = decomposition.solve
    error = computed(decomposition.NormalizedKernel.of(weight, 1, False), formats.cttd((5, 5)), [1], options()).error

    def solved(*args):
        return dataclasses.replace(computed(*args), upper_bound=error - 5e-7)

    monkeypatch.setattr(NormalizedKernel, "lower_bound", lambda *args: error + 5e-7)
    monkeypatch.setattr(decomposition, "solve", solved)
    again = ConvTensorTrain.decompose(weight, (3, 3), ranks=1)
    assert again.error == chain.error
    assert again.upper_bound == error - 5e-7 < again.error < again.lower_bound == error + 5e-7


def options() -> decomposition.SolverOptions:
    return decomposition.SolverOptions(seed=0, target=0.0, tick=lambda work: None)


def test_verify_compares_with_the_bound_that_it_computes():
    weight = center()
    check = verified(ConvTensorTrain.decompose(weight, (3, 3), ranks=1), weight).layers[0]
    wrong = dataclasses.replace(check, upper_bound=check.error - 2e-6)
    assert wrong.failures == [f"a: its error {check.error:.6g} is above the upper bound {wrong.upper_bound:.6g}"]
    assert dataclasses.replace(check, upper_bound=check.error - 5e-7).failures == []


def trained(check: LayerCheck) -> LayerCheck:
    record = dataclasses.replace(check.record, error=None, upper_bound=None, lower_bound=None)
    return dataclasses.replace(check, record=record, error=0.99, upper_bound=None)


def test_a_chain_that_was_trained_further_may_be_above_its_upper_bound():
    weight = center()
    check = verified(ConvTensorTrain.decompose(weight, (3, 3), ranks=1), weight).layers[0]
    assert trained(check).failures == []
    assert trained(dataclasses.replace(check, lower_bound=0.999)).failures != []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("transposed", [False, True])
def test_rounding_to_short_dtypes_is_part_of_the_upper_bound(dtype, transposed):
    """1×1 | 1×1 at a rank that suffices: without rounding the error is zero."""
    left, right = oracles.floats(0, 2, 6, 3, 1, 1), oracles.floats(1, 2, 3, 6, 1, 1)
    weight = (left[..., 0, 0] @ right[..., 0, 0]).reshape(12, 6, 1, 1).to(dtype)
    chain = ConvTensorTrain.decompose(weight, [1, 1], ranks=6, groups=2, transposed=transposed)
    eps = torch.finfo(dtype).eps
    assert eps / 100 < chain.error <= chain.upper_bound < 4 * eps
    result = verified(chain, weight)
    assert result.failures == []
    assert result.layers[0].upper_bound < 20 * eps


def test_a_kernel_of_low_rank_has_no_lower_bound_but_zero():
    """Squares that vanish in float64 do not become bounds of 1e-8."""
    weight = (oracles.floats(0, 64, 4) @ oracles.floats(1, 4, 64)).reshape(64, 64, 1, 1)
    chain = ConvTensorTrain.decompose(weight, [1, 1], ranks=4)
    assert chain.lower_bound < 1e-14
    assert chain.error < 1e-14


@pytest.mark.parametrize("finest", [0, 1, 2])
def test_the_fourier_bound_is_the_best_of_three_grids(finest):
    seeds = (oracles.floats(seed, 1, 3, 2, 3, 3) for seed in range(100))
    kernels = (weight / weight.norm() for weight in seeds)
    grids = [(3 + more, 3 + more) for more in range(3)]
    weight, values = next(
        (weight, values)
        for weight in kernels
        if max(values := [fourier_bound(weight, 1, grid) for grid in grids]) == values[finest]
    )
    assert lower_bound(weight, [(2, 2), (2, 2)], [1]) == max(values)


def test_of_a_large_kernel_two_grids_are_tried(monkeypatch):
    """And of a pointwise one a single grid, of 1×1 frequencies; axes of length 1 stay so."""
    grids, unfolding = [], 0.6
    monkeypatch.setattr(lower_bounds, "unfolding_bound", lambda *args: unfolding)
    monkeypatch.setattr(lower_bounds, "fourier_bound", lambda weight, rank, grid: grids.append(grid) or 0.5)
    for shape in (
        (2, 2, 3, 3),
        (2, 2, 1, 3),
        (2, 2, 2, 1),
        (2, 2, 1, 1),
        (220, 220, 3, 3),
        (199, 199, 3, 3),
        (2, 4000, 3, 3),
    ):
        lower_bound(torch.zeros(1, *shape), [shape[2:], (1, 1)], [1])
        grids.append(None)
    assert grids == [
        *[(3, 3), (4, 4), (5, 5), None],
        *[(1, 3), (1, 4), (1, 5), None],
        *[(2, 1), (3, 1), (4, 1), None],
        *[(1, 1), None],
        *[(3, 3), (4, 4), None],
        *[(3, 3), (4, 4), (5, 5), None],
        *[(3, 3), (4, 4), (5, 5), None],
    ]
    grids.clear()
    unfolding = 0.5 / lower_bounds.NEAR  # just near enough
    lower_bound(torch.zeros(1, 2, 2, 3, 3), [(3, 3), (1, 1)], [1])
    assert lower_bounds.NEAR * unfolding == 0.5
    assert grids == [(3, 3), (4, 4), (5, 5)]
    grids.clear()
    unfolding = 0.7  # too far above for a finer grid to catch up
    assert lower_bound(torch.zeros(1, 2, 2, 3, 3), [(3, 3), (1, 1)], [1]) == 0.7
    assert grids == [(3, 3)]


def test_where_unfoldings_prove_the_optimum_no_spectrum_is_computed(monkeypatch):
    weight = oracles.floats(3, 6, 6, 3, 3)
    expected = ConvTensorTrain.decompose(weight, "separable", ranks=4)
    monkeypatch.setattr(lower_bounds, "fourier_bound", None)
    assert ConvTensorTrain.decompose(weight, "separable", ranks=4).lower_bound == expected.lower_bound
    assert expected.lower_bound == pytest.approx(expected.error, abs=1e-12)


def test_single_precision_does_not_settle_a_small_bound(monkeypatch):
    """A sum of three depthwise blocks: the guess is exact; a fit in float32 may end worse without noticing."""
    exact = [torch.linalg.qr(oracles.floats(seed, 6, 3))[0] for seed in range(2)]
    filters = torch.linalg.qr(oracles.floats(2, 9, 3))[0].mT
    weight = torch.einsum("pr,rx,qr->pqx", exact[0], filters, exact[1]).reshape(6, 6, 3, 3)
    monkeypatch.setattr(depthwise, "SINGLE", 0.0)
    monkeypatch.setattr(
        block_solver.BlockSolver, "solve", lambda self, x, *args: (blocks.with_noise(x, 0.01, 0), 0 * self.energy)
    )
    chain = ConvTensorTrain.decompose(weight, "depthwise", ranks=3)
    assert chain.error <= chain.upper_bound + 1e-6


def test_a_large_tucker_fit_keeps_the_bound_of_the_sweep(monkeypatch):
    """Of kernels so large that alternating steps from one start are all; here they end worse than the sweep."""
    weight = oracles.floats(4, 6, 6, 3, 3)
    monkeypatch.setattr(chain_fit, "LARGE", 0.0)
    worse = [torch.zeros(1, 6, 3, 1, 1), torch.zeros(1, 3, 3, 3, 3), torch.zeros(1, 3, 6, 1, 1)]
    better = ConvTensorTrain.decompose(weight, "tucker2", ranks=3)
    assert better.error < better.upper_bound
    monkeypatch.setattr(chain_fit, "_tucker_start", lambda *args: [w.double() for w in worse])
    chain = ConvTensorTrain.decompose(weight, "tucker2", ranks=3)
    assert chain.error == pytest.approx(chain.upper_bound, abs=1e-12)

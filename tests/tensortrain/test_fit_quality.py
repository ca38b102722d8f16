"""What decompositions reach: planted chains, and `"auto"` beside every format and beside TensorLy."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorly
import torch
from tensorly.decomposition import parafac, partial_tucker

from tensortrain import ConvTensorTrain, TensorTrainError
from tensortrain.conv import formats
from tensortrain.conv.fit import choose_format as auto
from tensortrain.conv.fit.options import SolverOptions
from tests.support import oracles
from tests.support.decompositions import Axes, norm, relative_error
from tests.support.deep import leave_to_deep_tests

# ---- what it reaches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "rank", "seed", "prototype"),
    [(5, 8, 0, 0.00081), (5, 16, 0, 0.00058), (5, 20, 1, 0.00041), (7, 8, 0, 0.00088), (7, 8, 11, None)]
    + [(7, 16, 0, None), (7, 16, 8, None)],
)
def test_planted_chains_are_recovered(size: int, rank: int, seed: int, prototype: float | None) -> None:
    """16 channels, noise 1e-3; errors of a prototype (5×5 rank 20: of seeds 0 and 2, seed 1 stuck at .01968)."""
    if (size, rank, seed) == (7, 16, 0):
        leave_to_deep_tests("one of the two slowest fits is made; both of them")
    weight = oracles.planted(16, size, rank, seed)
    order = (size - 1) // 2
    chain = ConvTensorTrain.decompose(weight, [3] * order, ranks=rank)
    assert chain.error <= 1.05e-3
    assert prototype is None or chain.error <= 1.01 * prototype + 5e-6  # printed with five decimals


def test_a_smooth_kernel_of_64_channels() -> None:
    chain = ConvTensorTrain.decompose(oracles.smooth(64, 5, 0), (3, 3), ranks=16)
    assert chain.error <= 1.01 * 0.25951
    assert chain.n_parameters == 2 * 9 * 64 * 16


@pytest.mark.parametrize("name", ["cp", "depthwise", "block_term", "tt4"])
def test_planted_chains_of_every_format_are_recovered(name: str) -> None:
    chain_format = formats.NAMED[name]((3, 3))
    ranks = (6, *[4] * (chain_format.order - 1), 5)
    cores = [
        oracles.floats(20 + l, ranks[l], ranks[l + 1] // g, *size)
        for l, (size, g) in enumerate(zip(chain_format.kernel_sizes, chain_format.groups(ranks), strict=True))
    ]
    weight = ConvTensorTrain(cores).reconstruct()
    noise = oracles.floats(30, *weight.shape)
    weight = weight / weight.norm() + 1e-2 * noise / noise.norm()
    chain = ConvTensorTrain.decompose(weight, chain_format, ranks=list(ranks[1:-1]))
    assert chain.error <= 1.05e-2


# ---- the choice of a format ------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "size", "budget", "seed"), [(6, 3, 0.35, 0), (4, 5, 0.25, 3)])
def test_auto_is_never_worse_than_a_special_case(channels: int, size: int, budget: float, seed: int) -> None:
    weight = oracles.smooth(channels, size, 1)
    best = ConvTensorTrain.decompose(weight, budget=budget, seed=seed)
    assert best.n_parameters <= budget * weight.numel()
    assert relative_error(best, weight) == pytest.approx(best.error, abs=1e-12)
    compared = 0
    for name in formats.NAMED:
        try:
            special = ConvTensorTrain.decompose(weight, name, budget=budget, seed=seed)
        except TensorTrainError:
            continue  # no chain that small
        compared += 1
        assert best.error <= special.error * (1 + 1e-9), name
    assert compared >= 5


@pytest.mark.filterwarnings("ignore:Trying to compute SVD")
@pytest.mark.parametrize("rank", [3, 6])
def test_auto_is_never_worse_than_tensorlys_cp(rank: int) -> None:
    weight = oracles.smooth(6, 3, 2)
    cp, errors = parafac(weight.numpy(), rank, n_iter_max=200, init="svd", random_state=0, return_errors=True)
    parameters = sum(factor.size for factor in cp.factors)
    assert ConvTensorTrain.decompose(weight, max_parameters=parameters).error <= float(errors[-1])


def test_auto_is_never_worse_than_tensorlys_tucker() -> None:
    weight = oracles.smooth(6, 3, 2)
    (core, factors), _ = partial_tucker(weight.numpy(), [3, 3], modes=[0, 1], n_iter_max=200)
    dense = tensorly.tenalg.multi_mode_dot(core, factors, modes=[0, 1])
    error = float(np.linalg.norm(dense - weight.numpy())) / norm(weight)
    parameters = core.size + sum(factor.size for factor in factors)
    assert ConvTensorTrain.decompose(weight, max_parameters=parameters).error <= error


@pytest.mark.parametrize("size", [(5,), (3, 5), (7, 7), (11, 11), (3, 3, 3)])
def test_auto_tries_every_named_format(size: Axes) -> None:
    tried = {(chain_format.kernel_sizes, chain_format.blocks) for chain_format in auto.candidates(size)}
    for name, make in formats.NAMED.items():
        chain_format = make(size)
        if len(size) > 1 or name not in ("cp", "separable", "tt4"):  # in 1-D depthwise, the kernel and tucker2
            assert (chain_format.kernel_sizes, chain_format.blocks) in tried


def test_auto_keeps_a_kernel_that_fits_the_budget() -> None:
    weight = oracles.floats(0, 3, 3, 3, 3)
    chain = ConvTensorTrain.decompose(weight, budget=1.0)
    assert chain.error == 0.0
    assert torch.equal(chain.reconstruct(), weight)


def test_auto_meets_a_tolerance_with_fewer_parameters_than_the_kernel_has() -> None:
    weight = oracles.smooth(6, 3, 0)
    for limits in ({}, {"budget": 1.0}):
        chain = ConvTensorTrain.decompose(weight, rtol=0.3, **limits)
        assert chain.error <= 0.3
        assert chain.n_parameters < 0.6 * weight.numel()


def test_the_format_with_the_best_prospects_gets_the_last_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the one that leads after short fits, if the error of another one falls faster and its fit is longer."""
    kernel = auto.NormalizedKernel.of(oracles.smooth(12, 3, 1), 1, False)
    field = auto.entrants(kernel, int(0.4 * kernel.weight.numel()))[:3]
    falls = {field[0]: (0.43, 0.417), field[1]: (0.43, 0.416), field[2]: (0.6, 0.43)}
    efforts = {field[0]: 40.0, field[1]: 2.0, field[2]: 40.0}
    last = []

    class Contest(auto._Contest):
        def fit(self, entrant, effort, seed=0):
            if seed:
                last.append(entrant)
            first, second = falls[entrant]
            error = 0.40 if seed else second if entrant in self.fits else first
            self._first_errors.setdefault(entrant, error)
            self.fits[entrant] = SimpleNamespace(error=error)

        def longest(self, entrant):
            return efforts[entrant] * self.paced(entrant, auto.MEDIUM)

    monkeypatch.setattr(auto, "_Contest", Contest)
    auto.best_format(kernel, field, SolverOptions(0, 0.0, lambda work: None))
    assert last[0] == field[0]
    efforts[field[0]] = 2.0  # a last fit as short as the other one's
    last.clear()
    auto.best_format(kernel, field, SolverOptions(0, 0.0, lambda work: None))
    assert last[0] == field[1]

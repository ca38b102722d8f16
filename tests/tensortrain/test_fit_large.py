"""Kernels that are long or large: fits take seconds, and what replaces costly decompositions is as good."""

import time

import pytest
import torch

from tensortrain import ConvTensorTrain
from tensortrain.conv import formats
from tensortrain.conv.fit import chain, exact, ranks, sweep
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.ranks import Growth, largest_useful
from tests.support import oracles


def test_a_chain_of_hundreds_of_cores_takes_seconds() -> None:
    weight = oracles.floats(0, 4, 4, 512)
    start = time.process_time()
    fitted = ConvTensorTrain.decompose(weight, "cttd", budget=0.3)
    assert time.process_time() - start < 20
    assert len(fitted.cores) == 256
    assert fitted.n_parameters <= 0.3 * weight.numel()
    assert fitted.lower_bound <= fitted.error <= 1


@pytest.mark.parametrize("modes", [[0, 1], [0], [1]])
def test_tucker_by_gram_matrices_is_as_good_as_by_singular_values(modes: list[int], monkeypatch) -> None:
    weight = oracles.smooth(12, 5, 0).double()
    wanted = [7, 5][: len(modes)]
    errors = []
    for entries in (chain.MANY_ENTRIES, 0):
        monkeypatch.setattr(chain, "MANY_ENTRIES", entries)
        core, factors = chain._partial_tucker(weight, modes, wanted, 0)
        dense = core
        for mode, factor in zip(modes, factors, strict=True):
            dense = torch.tensordot(dense, factor, ([mode], [1])).movedim(-1, mode)
        errors.append(float((weight - dense).norm()))
    assert errors[1] <= 1.001 * errors[0]


def test_leading_triples_by_a_gram_matrix_are_those_of_the_svd() -> None:
    matrix = oracles.floats(0, 1, 1010, 1200).double()
    for one in (matrix, matrix.mT.contiguous()):
        u, s, v = sweep._truncated_svd(one, 400)
        assert u.shape == (1, one.shape[1], 400)
        torch.testing.assert_close(s, torch.linalg.svdvals(one)[:, :400])
        best = torch.linalg.svdvals(one)[:, 400:].square().sum()
        torch.testing.assert_close((one - (u * s[:, None]) @ v).square().sum(), best)


def test_no_exact_chain_is_searched_for_where_no_core_could_hold_the_kernel(monkeypatch) -> None:
    weight = oracles.floats(0, 1, 3, 3, 9)
    monkeypatch.setattr(exact, "exact_chains", lambda *_: pytest.fail("a long search in vain"))
    assert exact.exact_cores(weight, [(3,)] * 4, (4, 4, 4)) is None


def test_a_budget_is_used_up_by_many_bonds_in_turn(monkeypatch) -> None:
    kernel = NormalizedKernel.of(oracles.floats(0, 6, 6, 31), 1, False)
    chain_format = formats.cttd((31,))
    growth = Growth(chain_format, kernel, largest_useful(chain_format, kernel))
    assert len(growth.classes) > ranks.MANY_BONDS
    best = growth.largest_within(kernel.dense_parameters)
    assert max(best) - min(best) <= 1
    assert growth.n_parameters(best) <= kernel.dense_parameters
    for bond in range(len(best)):
        wider = [rank + (l == bond) for l, rank in enumerate(best)]
        assert growth.n_parameters(wider) > kernel.dense_parameters


def test_a_step_that_overflows_is_not_taken() -> None:
    from tensortrain.conv.fit.spectral import SpectralChain

    weight = oracles.floats(0, 1, 2, 2, 5).double()
    problem = SpectralChain(weight, [(3,), (3,)], [1, 1])
    assert problem.evaluate([torch.full((1, 2, 3, 3), 1e160, dtype=torch.float64)]).value == float("inf")

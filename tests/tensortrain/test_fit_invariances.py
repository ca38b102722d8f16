"""Decompositions of every kind of kernel, and what must not change them: seeds, devices, layouts, scales."""

import math
import random
from functools import cache

import numpy as np
import pytest
import tensorly
import torch
from torch import Tensor

from tensortrain import ConvTensorTrain, TensorTrain
from tensortrain.conv import formats, functional
from tensortrain.conv.fit.sweep import sweep
from tensortrain.conv.formats import Format
from tests.support import oracles
from tests.support.decompositions import EACH_FORMAT, FORMATS, norm, relative_error, svd_tail

LESS = 0.5  # effort at which every stage of a fit still runs, but for shorter

# ---- invariances -----------------------------------------------------------------------------------------


@EACH_FORMAT
def test_a_seed_determines_everything(chain_format: Format) -> None:
    weight = oracles.smooth(4, chain_format.kernel_size[0], 0)
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    threads = torch.get_num_threads()
    chain = ConvTensorTrain.decompose(weight, chain_format, budget=0.6, seed=5, effort=LESS)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]
    assert tensorly.get_backend() == "numpy"
    assert torch.get_num_threads() == threads

    torch.manual_seed(2), np.random.seed(2), random.seed(2)
    try:
        torch.set_num_threads(2)  # small problems run on one thread whatever the setting
        again = ConvTensorTrain.decompose(weight, chain_format, budget=0.6, seed=5, effort=LESS)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(chain.cores, again.cores, strict=True))
    assert (chain.error, chain.upper_bound, chain.lower_bound) == (again.error, again.upper_bound, again.lower_bound)


@pytest.mark.parametrize("name", ["auto", *formats.NAMED])
def test_the_default_device_does_not_matter(name: str) -> None:
    weight = oracles.smooth(4, 5, 0)
    chain = ConvTensorTrain.decompose(weight, name, budget=0.3, seed=2**40, effort=LESS)
    with torch.device("meta"):
        again = ConvTensorTrain.decompose(weight, name, budget=0.3, seed=2**40, effort=LESS)
    assert all(torch.equal(a, b) for a, b in zip(chain.cores, again.cores, strict=True))


def test_nor_does_it_matter_to_random_trains_sweeps_and_plans() -> None:
    weight = oracles.smooth(4, 3, 0)
    chain = ConvTensorTrain.decompose(weight, (2, 2), ranks=4)

    def compute() -> list[Tensor]:
        padded, _ = sweep(weight[None], [(2, 2), (2, 2)], (20,))  # of rank 16 at most, the rest random
        return [*TensorTrain.random((4, 5, 6), 2, seed=3, device="cpu").cores, *padded]

    expected = compute()
    with torch.device("meta"):
        computed = compute()
        assert chain.plan(8).dense_seconds > 0
    assert all(torch.equal(a, b) for a, b in zip(computed, expected, strict=True))


def test_another_seed_is_another_start() -> None:
    weight = oracles.smooth(4, 3, 0)
    first, second = (ConvTensorTrain.decompose(weight, "cp", budget=0.4, seed=seed) for seed in (0, 1))
    assert not torch.equal(first.cores[0], second.cores[0])


@pytest.mark.parametrize(
    ("chain_format", "groups"), [(chain_format, 2) for chain_format in FORMATS] + [(FORMATS[0], 1)]
)
def test_a_transposed_kernel_is_decomposed_like_its_convolution(chain_format: Format, groups: int) -> None:
    """Flipping and swapping channels is exact, so both fits are the same to the bit."""
    weight = oracles.floats(3, 4, 6 // groups, *chain_format.kernel_size)
    plain = ConvTensorTrain.decompose(weight, chain_format, budget=0.8, groups=groups, effort=LESS)
    turned_weight = functional.transpose_weight(weight, groups)
    turned = ConvTensorTrain.decompose(
        turned_weight, chain_format, budget=0.8, groups=groups, transposed=True, effort=LESS
    )
    assert turned.transposed
    assert (turned.ranks, turned.groups, turned.error) == (plain.ranks, plain.groups, plain.error)
    assert all(torch.equal(a, b) for a, b in zip(turned.as_conv().cores, plain.cores, strict=True))
    assert turned.reconstruct().shape == turned_weight.shape
    assert relative_error(turned, turned_weight) == pytest.approx(plain.error, abs=1e-12)


@EACH_FORMAT
def test_the_error_is_relative(chain_format: Format) -> None:
    weight = oracles.floats(4, 3, 4, *chain_format.kernel_size)
    small = ConvTensorTrain.decompose(weight, chain_format, budget=0.7, effort=LESS)
    large = ConvTensorTrain.decompose(2.0**40 * weight, chain_format, budget=0.7, effort=LESS)
    assert large.error == pytest.approx(small.error, rel=1e-9)
    norms = [norm(core) for core in large.cores]
    assert max(norms) < 1.01 * min(norms)  # balanced, so that training sees no core of another scale


@EACH_FORMAT
def test_groups_are_fitted_within_their_blocks(chain_format: Format) -> None:
    weight = torch.cat(
        [oracles.floats(5, 3, 4, *chain_format.kernel_size), 1e-3 * oracles.floats(6, 3, 4, *chain_format.kernel_size)]
    )
    chain = ConvTensorTrain.decompose(weight, chain_format, budget=0.7, groups=2, effort=LESS)
    assert chain.conv_groups == 2
    assert chain.reconstruct().shape == weight.shape
    assert all(rank % 2 == 0 for rank in chain.ranks)
    assert relative_error(chain, weight) == pytest.approx(chain.error, abs=1e-12)
    assert chain.n_parameters <= 0.7 * weight.numel()


@pytest.mark.parametrize("flip", [(2, 3), (2,), (3,)])
def test_the_kernels_orientation_does_not_matter(flip: tuple[int, ...]) -> None:
    weight = oracles.smooth(4, 3, 1)
    for chain_format in (formats.chain([2, 2], (3, 3)), formats.separable((3, 3)), formats.depthwise((3, 3))):
        plain, flipped = (ConvTensorTrain.decompose(w, chain_format, budget=0.5) for w in (weight, weight.flip(flip)))
        assert flipped.error == pytest.approx(plain.error, rel=0.02)
        assert relative_error(flipped, weight.flip(flip)) == pytest.approx(flipped.error, abs=1e-12)


# ---- kernels of every kind -------------------------------------------------------------------------------


@cache
def double_precision_error(chain_format: Format) -> float:
    weight = oracles.smooth(3, chain_format.kernel_size[0], 0)
    return ConvTensorTrain.decompose(weight, chain_format, budget=0.6, effort=LESS).error


@EACH_FORMAT
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_costs_little(chain_format: Format, dtype: torch.dtype) -> None:
    weight = oracles.smooth(3, chain_format.kernel_size[0], 0).to(dtype)
    chain = ConvTensorTrain.decompose(weight, chain_format, budget=0.6, effort=LESS)
    assert {core.dtype for core in chain.cores} == {dtype}
    assert relative_error(chain.to(torch.float64), weight) == pytest.approx(chain.error, abs=1e-12)
    # no cores that cancel each other: of those a short dtype would keep nothing
    assert chain.error <= 1.1 * double_precision_error(chain_format) + 10 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_is_kept_and_the_error_includes_its_rounding(dtype: torch.dtype) -> None:
    weight = oracles.smooth(4, 3, 0)
    chain = ConvTensorTrain.decompose(weight.to(dtype), "separable", ranks=5)
    exact = ConvTensorTrain.decompose(weight, "separable", ranks=5)
    assert {core.dtype for core in chain.cores} == {dtype}
    assert relative_error(chain.to(torch.float64), weight.to(dtype)) == pytest.approx(chain.error, abs=1e-12)
    assert chain.error == pytest.approx(exact.error, abs=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("kernel_sizes", [(2, 2), (1, 3, 1), formats.cp((3, 3)), formats.depthwise((3, 3)), "auto"])
def test_a_zero_kernel_is_a_chain_of_error_0(kernel_sizes: object) -> None:
    chain = ConvTensorTrain.decompose(torch.zeros(3, 4, 3, 3), kernel_sizes, budget=0.8)
    assert (chain.error, chain.lower_bound, chain.upper_bound) == (0.0, 0.0, 0.0)
    assert torch.equal(chain.reconstruct(), torch.zeros(3, 4, 3, 3))


@pytest.mark.parametrize("name", ["cp", "depthwise", "block_term", "tucker2", "separable", "cttd"])
def test_more_rank_than_the_kernel_has_does_no_harm(name: str) -> None:
    """One single entry, and a conv group of zeros: every normal matrix is singular."""
    weight = torch.zeros(6, 3, 5, 5, dtype=torch.float64)
    weight[1, 2, 0, 3] = 2.0
    chain = ConvTensorTrain.decompose(weight, name, budget=1.0 if name != "block_term" else 2.0, groups=2)
    assert chain.error <= 1e-7
    assert relative_error(chain, weight) == pytest.approx(chain.error, abs=1e-12)


def _structured(kernel: str, channels: int) -> Tensor:
    unit = torch.eye(channels, dtype=torch.float64)[:, :, None, None]
    if kernel == "the identity at every position":
        return unit.expand(channels, channels, 3, 3)
    if kernel == "a permutation":
        return torch.nn.functional.pad(unit.roll(3, 0), (1, 1, 1, 1))
    a, b, filters = (
        torch.linalg.qr(oracles.floats(seed, size, 9)).Q for seed, size in enumerate((channels,) * 2 + (9,))
    )
    return torch.einsum("pr,qr,xr->pqx", a, b, filters).unflatten(2, (3, 3))


STRUCTURED = ["the identity at every position", "a permutation", "nine orthogonal blocks of equal norm"]


@pytest.mark.parametrize("kernel", STRUCTURED)
@pytest.mark.parametrize("chain_format", ["depthwise", "block_term", formats.block_term((3, 3), 3, 2), "auto"])
def test_blocks_that_are_not_needed_do_no_harm(kernel: str, chain_format: str | Format) -> None:
    """They are nearly zero, so the normal matrices are singular up to rounding."""
    weight = _structured(kernel, 9)
    chain = ConvTensorTrain.decompose(weight, chain_format, budget=0.6)
    assert chain.error <= 1.01 * chain.lower_bound + 1e-4
    assert relative_error(chain, weight) == pytest.approx(chain.error, abs=1e-12)


@pytest.mark.parametrize(
    ("kernel", "name", "budget", "excess"),
    [
        (STRUCTURED[0], "block_term", 0.1, 1.05),
        (STRUCTURED[1], "block_term", 0.3, 0),
        (STRUCTURED[2], "depthwise", 0.1, 0),
    ],
)
def test_nor_do_they_in_large_kernels(kernel: str, name: str, budget: float, excess: float) -> None:
    """There most steps use old inverses, and the length of a step is nearly 0 / 0."""
    weight = _structured(kernel, 56)
    chain = ConvTensorTrain.decompose(weight, name, budget=budget)
    assert chain.error <= excess * chain.lower_bound + 1e-4


def test_tiny_entries_are_not_taken_for_zeros() -> None:
    """Those whose squares vanish are refused, see the tests of bad input."""
    weight = oracles.floats(0, 3, 2, 3, 3)
    plain, tiny = (ConvTensorTrain.decompose(scale * weight, "separable", ranks=3) for scale in (1.0, 1e-150))
    assert tiny.error == pytest.approx(plain.error, rel=1e-9)
    torch.testing.assert_close(tiny.reconstruct() / 1e-150, plain.reconstruct())


def test_any_layout_and_any_history_of_the_weight() -> None:
    weight = oracles.smooth(4, 3, 0)
    wanted = ConvTensorTrain.decompose(weight, (2, 2), ranks=3)
    strided = weight.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    assert not strided.is_contiguous()
    for other in (
        strided,
        weight.clone().requires_grad_(),
        torch.nn.Parameter(weight),
        weight.to(memory_format=torch.channels_last),
    ):
        chain = ConvTensorTrain.decompose(other, (2, 2), ranks=3)
        assert all(torch.equal(a, b) for a, b in zip(chain.cores, wanted.cores, strict=True))
        assert not any(core.requires_grad for core in chain.cores)
        assert all(core.is_contiguous() for core in chain.cores)
    assert torch.equal(weight, oracles.smooth(4, 3, 0))


@pytest.mark.parametrize(
    ("shape", "kernel_sizes"),
    [((5, 4, 1, 1), [(1, 1), (1, 1)]), ((5, 4, 1, 1), "auto"), ((5, 4, 1), [1, 1]), ((5, 4, 1, 1), formats.cp((1, 1)))],
)
def test_1x1_kernels_are_matrices(shape: tuple[int, ...], kernel_sizes: object) -> None:
    weight = oracles.floats(1, *shape)
    chain = ConvTensorTrain.decompose(weight, kernel_sizes, max_parameters=19)
    rank = 2 if not isinstance(kernel_sizes, formats.Format) else 1
    assert chain.ranks[1] == rank
    optimum = math.sqrt(svd_tail(weight.flatten(1), rank)) / norm(weight)
    assert chain.error == pytest.approx(optimum, abs=1e-8)


@pytest.mark.parametrize("shape", [(1, 1, 5, 5), (1, 4, 3, 3), (4, 1, 3, 3), (1, 1, 7), (2, 1, 2, 3, 2)])
def test_single_channels(shape: tuple[int, ...]) -> None:
    weight = oracles.floats(2, *shape)
    for kernel_sizes in (formats.separable(shape[2:]), formats.depthwise(shape[2:]), "auto"):
        chain = ConvTensorTrain.decompose(weight, kernel_sizes, budget=2.0)
        assert relative_error(chain, weight) == pytest.approx(chain.error, abs=1e-12)
        assert chain.n_parameters <= 2 * weight.numel()


def test_a_depthwise_convolution_is_a_chain_of_depthwise_cores() -> None:
    weight = oracles.floats(0, 4, 1, 5, 5)
    chain = ConvTensorTrain.decompose(weight, (3, 3), ranks=4, groups=4)
    assert chain.groups == (4, 4)
    assert chain.n_parameters == 4 * 18
    exact = ConvTensorTrain.decompose(weight, (3, 3), ranks=16, groups=4)
    assert torch.equal(exact.reconstruct(), weight)

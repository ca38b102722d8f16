"""Decompositions in the metric of the data: `‖(W - Ŵ) Σ^½‖` instead of the Frobenius norm."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import tensortrain as tt
from tensortrain import ConvTensorTrain, TensorTrainError
from tensortrain.conv import formats
from tensortrain.conv.fit import lbfgs
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.metric import Metric
from tensortrain.conv.fit.metric_chain import MetricChain, composed, shifted, windows
from tensortrain.conv.formats import Format
from tests.support import oracles
from tests.support.decompositions import EACH_FORMAT, SEEDS, norm, svd_tail
from tests.support.examples import examples


def smooth_inputs(seed: int, channels: int, *size: int, count: int = 6) -> Tensor:
    """Correlated over space and channels, as feature maps are."""
    x = oracles.floats(seed, count, channels, *size)
    mix = oracles.floats(seed + 1, channels, channels)
    for axis in range(2, x.dim()):
        x = x + 0.8 * x.roll(1, axis)
    return torch.einsum("cd,nd...->nc...", mix, x)


def output_error(chain: ConvTensorTrain, weight: Tensor, x: Tensor, **options: int) -> float:
    """Relative error of what a convolution of samples computes."""
    conv = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[weight.dim()]
    dense = conv(x, weight, **options)
    return norm(conv(x, chain.reconstruct(), **options) - dense) / norm(dense)


# ---- the metric ------------------------------------------------------------------------------------------


@examples(20)
@given(
    seed=SEEDS,
    axes=st.integers(1, 3),
    groups=st.integers(1, 2),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
)
def test_the_second_moment_gives_the_energy_of_what_a_convolution_computes(
    seed: int, axes: int, groups: int, stride: int, padding: int, dilation: int
) -> None:
    x = smooth_inputs(seed, 2 * groups, *[6, 5, 7][:axes], count=3)
    weight = oracles.floats(seed + 2, 3 * groups, 2, *[2, 3, 2][:axes])
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    moment = tt.second_moment(x, weight.shape[2:], **options)
    rows = weight.reshape(groups, 3, -1)
    out = [F.conv1d, F.conv2d, F.conv3d][axes - 1](x, weight, **options)
    energy = float(((rows @ moment) * rows).sum())
    assert energy == pytest.approx(float(out.square().sum(1).mean()))


@pytest.mark.parametrize(
    ("samples", "options", "words"),
    [
        (torch.ones(2, 3), {}, "3"),
        (torch.ones(2, 3, 4), {"groups": 2}, "groups = 2"),
        (torch.ones(2, 3, 2), {}, "a patch needs 3"),
        (torch.ones(2, 3, 2), {"padding": -1}, "padding"),
        (torch.ones(2, 3, 4) * math.nan, {}, "NaN"),
        (torch.ones(2, 3, 4, dtype=torch.complex64), {}, "real"),
        ("images", {}, "str"),
    ],
)
def test_what_is_no_sample_is_refused(samples: object, options: dict[str, int], words: str) -> None:
    with pytest.raises(TensorTrainError, match=words):
        tt.second_moment(samples, 3, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (torch.ones(5, 5), r"\(1, 18, 18\) or samples \(N, 2, size, size\)"),
        (torch.eye(18).triu() + torch.ones(18, 18).triu(1), "not symmetric"),
        (torch.diag(torch.tensor([-1.0] + 17 * [1.0])), "negative eigenvalues"),
        (torch.zeros(18, 18), "outputs are zero"),
        (torch.ones(4, 2, 2, 2), "a patch needs 3"),
        (torch.eye(18) * math.nan, "NaN"),
        ([1.0], "list"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: object, words: str) -> None:
    with pytest.raises(TensorTrainError, match=words):
        ConvTensorTrain.decompose(oracles.floats(0, 3, 2, 3, 3), "tucker2", ranks=1, inputs=inputs)  # type: ignore[arg-type]


F64 = torch.float64


@pytest.mark.parametrize("size", [1e-310, 1e-161, 1e-20, 1e160, 1e300])
def test_the_size_of_the_inputs_changes_nothing(size: float) -> None:
    weight, x = oracles.floats(0, 3, 2, 3, 3).to(F64), smooth_inputs(1, 2, 5, 5).to(F64)
    moment = tt.second_moment(x, 3)
    errors = [
        ConvTensorTrain.decompose(weight, "separable", ranks=2, inputs=inputs, effort=0.1).data_error
        for inputs in (x, x * size, moment * size)
    ]
    assert errors[0] > 0.01
    assert errors == pytest.approx([errors[0]] * 3, rel=1e-6)


@pytest.mark.parametrize("size", [1e160, 1e-170])
def test_a_moment_beyond_every_float_is_refused(size: float) -> None:
    with pytest.raises(TensorTrainError, match=r"beyond the range of float64.*divide samples by 1.0e"):
        tt.second_moment(torch.full((2, 1, 4), size, dtype=F64), 3)


@pytest.mark.parametrize("size", [1e150, 1e-150])
def test_a_moment_near_the_end_of_the_range_is_right(size: float) -> None:
    moment = tt.second_moment(torch.full((2, 1, 4), size, dtype=F64), 3)
    torch.testing.assert_close(moment, torch.full((1, 3, 3), size**2, dtype=F64), rtol=1e-12, atol=0.0)
    assert not tt.second_moment(torch.zeros(2, 1, 4, dtype=F64), 3).any()


# ---- decompositions ----------------------------------------------------------------------------------------


@EACH_FORMAT
def test_white_inputs_give_exactly_the_frobenius_fit(chain_format: Format) -> None:
    weight = oracles.smooth(3, chain_format.kernel_size[0], 0)
    eye = torch.eye(weight[0].numel())
    limits = {"ranks": [3 if chain_format.dense else 2 * b for b in _factors(chain_format)]}
    plain = ConvTensorTrain.decompose(weight, chain_format, effort=0.1, **limits)
    for inputs in (eye, 0.3 * eye[None]):
        white = ConvTensorTrain.decompose(weight, chain_format, inputs=inputs, effort=0.1, **limits)
        assert all(map(torch.equal, white.cores, plain.cores))
        assert (white.error, white.lower_bound, white.upper_bound) == (
            plain.error,
            plain.lower_bound,
            plain.upper_bound,
        )
        assert (white.data_error, white.data_lower_bound) == (plain.error, plain.lower_bound)
    assert plain.data_error is plain.data_lower_bound is None


def _factors(chain_format: Format) -> list[int]:
    """Channels of a block at each interior bond."""
    return [max(b[1] if b else 1, c[0] if c else 1) for b, c in itertools.pairwise(chain_format.blocks)]


@EACH_FORMAT
@examples(3)
@given(seed=SEEDS, groups=st.integers(1, 2))
def test_the_error_is_that_of_the_outputs_and_above_its_bound(chain_format: Format, seed: int, groups: int) -> None:
    size = chain_format.kernel_size
    weight = oracles.floats(seed, 3 * groups, 2, *size)
    x = smooth_inputs(seed, 2 * groups, 8, 9)
    ranks = [groups * 2 * b for b in _factors(chain_format)]
    chain = ConvTensorTrain.decompose(weight, chain_format, ranks=ranks, groups=groups, inputs=x, effort=0.2)
    plain = ConvTensorTrain.decompose(weight, chain_format, ranks=ranks, groups=groups, effort=0.2)
    assert chain.ranks == plain.ranks
    assert chain.data_error == pytest.approx(output_error(chain, weight, x, groups=groups), abs=1e-7)
    assert chain.data_error <= output_error(plain, weight, x, groups=groups) + 1e-7
    assert chain.data_lower_bound <= chain.data_error
    assert chain.lower_bound <= chain.error
    assert chain.error == pytest.approx(norm(chain.reconstruct() - weight) / norm(weight), abs=1e-9)
    assert chain.upper_bound is None


@examples(10)
@given(seed=SEEDS, rank=st.integers(1, 3), groups=st.integers(1, 2))
def test_a_pointwise_first_core_is_optimal_and_says_so(seed: int, rank: int, groups: int) -> None:
    """`1×1 | K×K` is one truncated SVD of W Σ^½."""
    weight, x = oracles.floats(seed, 4 * groups, 2, 3, 2), smooth_inputs(seed, 2 * groups, 6, 7)
    moment = tt.second_moment(x, (3, 2), groups=groups)
    chain = ConvTensorTrain.decompose(weight, [(1, 1), (3, 2)], ranks=rank * groups, groups=groups, inputs=moment)
    roots = [vectors * values.clamp(min=0).sqrt() for values, vectors in map(torch.linalg.eigh, moment)]
    rows = [w.flatten(1) @ root for w, root in zip(weight.chunk(groups), roots, strict=True)]
    optimum = math.sqrt(sum(svd_tail(r, rank) for r in rows) / sum(norm(r) ** 2 for r in rows))
    assert chain.data_error == pytest.approx(optimum, abs=1e-6)
    assert chain.data_lower_bound == pytest.approx(optimum, abs=1e-6)


@pytest.mark.parametrize("name", ["tucker2", "separable", "cp", "depthwise", "block_term", "cttd", "tt4", "auto"])
def test_every_format_is_better_in_the_metric_than_its_frobenius_fit(name: str) -> None:
    weight, x = oracles.smooth(6, 3, 0), smooth_inputs(3, 6, 12, 12)
    chain = ConvTensorTrain.decompose(weight, name, budget=0.4, inputs=x, effort=0.3)
    plain = ConvTensorTrain.decompose(weight, name, budget=0.4, effort=0.3)
    assert chain.data_error <= 0.9 * output_error(plain, weight, x)
    assert chain.n_parameters <= 0.4 * weight.numel()


def test_a_mixed_basis_of_the_inputs_changes_nothing() -> None:
    """Channels mixed by an invertible matrix, and the kernel by its inverse: the outputs, and the best error, stay."""
    weight, x = oracles.smooth(5, 3, 1), smooth_inputs(4, 5, 10, 10)
    mix = oracles.floats(9, 5, 5) + 3 * torch.eye(5)
    other = torch.einsum("pq...,qr->pr...", weight, torch.linalg.inv(mix))
    mixed = torch.einsum("rq,nq...->nr...", mix, x)
    for name in ("tucker2", "cttd"):
        a = ConvTensorTrain.decompose(weight, name, budget=0.4, inputs=x)
        b = ConvTensorTrain.decompose(other, name, ranks=a.ranks[1:-1], inputs=mixed)
        assert b.data_error == pytest.approx(a.data_error, rel=0.05)
    order = [3, 0, 4, 1, 2]
    a = ConvTensorTrain.decompose(weight, [1, 3], ranks=2, inputs=x)
    b = ConvTensorTrain.decompose(weight[:, order], [1, 3], ranks=2, inputs=x[:, order])
    assert b.data_error == pytest.approx(a.data_error, abs=1e-9)


def test_a_tolerance_holds_in_the_metric() -> None:
    weight, x = oracles.smooth(5, 3, 2), smooth_inputs(5, 5, 10, 10)
    chain = ConvTensorTrain.decompose(weight, "tucker2", rtol=0.17, inputs=x)
    plain = ConvTensorTrain.decompose(weight, "tucker2", rtol=0.17)
    assert chain.data_error <= 0.17 < chain.error
    assert chain.n_parameters < plain.n_parameters


def test_a_transposed_convolution_reads_beyond_the_border_of_its_samples() -> None:
    x, weight = smooth_inputs(6, 4, 9, 9), oracles.smooth(4, 3, 3)
    chain = ConvTensorTrain.decompose(weight, "tucker2", ranks=2, transposed=True, inputs=x)
    dense = F.conv_transpose2d(x, weight)
    error = norm(F.conv_transpose2d(x, chain.reconstruct()) - dense) / norm(dense)
    assert chain.data_error == pytest.approx(error, abs=1e-7)


def test_inputs_that_are_no_samples_of_everything_leave_a_sound_chain() -> None:
    """One image of one constant channel: Σ has rank 1."""
    weight, x = oracles.smooth(4, 3, 4), torch.zeros(1, 4, 6, 6)
    x[:, 1] = 1
    chain = ConvTensorTrain.decompose(weight, "tucker2", ranks=1, inputs=x)
    assert chain.data_error <= 1e-5
    assert chain.error < 100
    assert math.isfinite(chain.error)


def test_errors_in_the_metric_are_stored_and_printed(tmp_path: object) -> None:
    weight, x = oracles.smooth(4, 3, 4), smooth_inputs(7, 4, 8, 8)
    chain = ConvTensorTrain.decompose(weight, "tucker2", ranks=2, inputs=x)
    path = f"{tmp_path}/chain.safetensors"
    chain.save(path)
    loaded = ConvTensorTrain.load(path)
    assert (loaded.data_error, loaded.data_lower_bound) == (chain.data_error, chain.data_lower_bound)
    assert f"data error  {chain.data_error:.4g} relative (outputs), at least" in str(chain)
    assert chain.to(torch.float64).data_error == chain.data_error


# ---- the solver --------------------------------------------------------------------------------------------


@st.composite
def metric_chains(draw: st.DrawFn) -> tuple[MetricChain, list[Tensor], Metric, Tensor]:
    seed, g = draw(SEEDS), draw(st.integers(1, 2))
    sizes, groups, ranks = draw(
        st.sampled_from(
            [
                ([(2, 2), (2, 2)], [1, 1], [4]),
                ([(1, 1), (2, 3), (1, 1)], [1, 4, 1], [4, 4]),
                ([(2, 1), (1, 3), (2, 1)], [2, 1, 1], [4, 2]),
            ]
        )
    )
    size = [sum(k - 1 for k in axis) + 1 for axis in zip(*sizes, strict=True)]
    weight = oracles.floats(seed, g, 4, 2, *size)
    weight = weight / weight.norm()
    metric = Metric.of(smooth_inputs(seed, 2 * g, 7, 8), weight, False)
    assert metric is not None
    bounds = [4, *ranks, 2]
    cores = [oracles.floats(seed + l, g, bounds[l], bounds[l + 1] // groups[l], *k) for l, k in enumerate(sizes)]
    return MetricChain(weight, sizes, groups, metric), cores, metric, weight


@examples(15)
@given(case=metric_chains())
def test_the_value_is_the_squared_error_and_the_gradient_its_slope(
    case: tuple[MetricChain, list[Tensor], Metric, Tensor],
) -> None:
    problem, cores, metric, weight = case
    x = cores[1:]
    at = problem.evaluate(x)
    full = composed(problem.complete(x), problem.groups)
    assert at.value == pytest.approx(metric.error(full - weight) ** 2, abs=1e-6)
    along = [oracles.floats(5 + l, *core.shape) for l, core in enumerate(x)]
    ahead, behind = (problem.evaluate([c + s * 1e-5 * d for c, d in zip(x, along, strict=True)]).value for s in (1, -1))
    slope = sum(float((g * d).sum()) for g, d in zip(at.derivatives().gradient, along, strict=True))
    assert (ahead - behind) / 2e-5 == pytest.approx(slope, rel=1e-3, abs=1e-6)


@examples(10)
@given(case=metric_chains())
def test_refinement_in_the_metric_never_raises_the_error(
    case: tuple[MetricChain, list[Tensor], Metric, Tensor],
) -> None:
    problem, cores, _, _ = case
    values = [lbfgs.minimise(problem.evaluate, cores[1:], steps=steps, tolerance=0.0)[1] for steps in (0, 2, 8, 32)]
    assert all(after <= before for before, after in itertools.pairwise(values))
    assert values[-1] < values[0]


@examples(10)
@given(seed=SEEDS, taps=st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_shifted_rows_compose_a_core_with_what_follows_it(seed: int, taps: tuple[int, int]) -> None:
    first, rest = oracles.floats(seed, 2, 3, 4, *taps), oracles.floats(seed + 1, 2, 4, 2, 2, 3)
    rows = first.flatten(2) @ shifted(rest, taps)
    torch.testing.assert_close(rows, composed([first, rest], [1, 1]).flatten(2))


def test_the_moment_of_a_window_is_that_of_smaller_patches() -> None:
    x = smooth_inputs(0, 2, 7, 7)
    moment = tt.second_moment(x, (3, 2))
    places = [x[:, :, o : o + 6, o2 : o2 + 7] for o in (0, 1) for o2 in (0,)]
    expected = sum(tt.second_moment(p[:, :, :6, :], (2, 2)) for p in places) / 2
    torch.testing.assert_close(windows(moment, 2, (3, 2), (2, 2)), expected)


def test_no_chain_goes_below_the_bound_in_the_metric() -> None:
    """A kernel that is a chain plus a little is at most that little away from one."""
    cores = [oracles.floats(l, 1, a, b, 2, 2) for l, (a, b) in enumerate(((6, 1), (1, 2)))]
    near = composed(cores, [1, 1])[0]
    x = smooth_inputs(8, 2, 9, 9)
    for noise in (0.01, 0.3, 3.0):
        weight = near / near.norm() + noise * oracles.floats(9, *near.shape) / 10
        kernel = NormalizedKernel.of(weight, 1, False, x)
        distance = kernel.metric.error(((near / near.norm() - weight) / kernel.norm)[None])  # type: ignore[union-attr]
        bound = kernel.lower_bound(formats.cttd((3, 3)).kernel_sizes, [1])
        assert 0 < bound <= distance

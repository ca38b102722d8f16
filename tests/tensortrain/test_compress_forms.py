"""What compression computes with: layers as matrices on patches, closed forms, allocation, refit."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tensortrain.compression.analysis import costs
from tensortrain.compression.analysis.statistics import WIDEST, Moments
from tensortrain.compression.analysis.trial import Use
from tensortrain.compression.budget.allocation import Options, allocate
from tensortrain.compression.budget.refit import anchored
from tensortrain.compression.layers.candidates import approximate, error_curve
from tensortrain.compression.layers.modules import factorised
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.profiling.macs import Recorder

CONVS = {
    False: {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d},
    True: {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d},
}


@st.composite
def layers(draw):
    """A conv, transposed conv or linear layer in float64 with an input that it accepts."""
    axes = draw(st.integers(0, 3))
    torch.manual_seed(draw(st.integers(0, 99)))
    bias = draw(st.booleans())
    if axes == 0:
        layer = nn.Linear(5, 4, bias=bias, dtype=torch.float64)
        return layer, torch.randn(*draw(st.sampled_from([(3, 5), (2, 3, 5)])), dtype=torch.float64)
    transposed, groups = draw(st.booleans()), draw(st.integers(1, 2))
    size = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    stride, dilation, padding = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(0, 2))
    settings = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups, "bias": bias}
    if transposed:
        settings["output_padding"] = draw(st.integers(0, max(stride, dilation) - 1))
    else:
        settings["padding_mode"] = draw(st.sampled_from(["zeros", "reflect", "circular", "replicate"]))
        if stride == 1:
            settings["padding"] = draw(st.sampled_from([padding, "same", "valid"]))
    layer = CONVS[transposed][axes](4, 6, size, dtype=torch.float64, **settings)
    return layer, torch.randn(2, 4, *(7, 8, 6)[:axes], dtype=torch.float64)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@given(layers())
def test_a_layer_is_its_matrix_times_the_patches(case):
    layer, x = case
    try:
        y = layer(x)
    except RuntimeError:  # an image too small for the kernel
        return
    own = PatchMap.of(layer)
    positions = torch.arange(own.positions(y))[::2]
    patches = own.patches(x, y, positions)
    assert patches.shape == (own.groups, len(positions), own.patch)
    torch.testing.assert_close(patches @ own.matrix().mT, own.results(y, positions))
    assert torch.equal(own.weight(own.matrix()), layer.weight)


def moment(seed, groups, size):
    x = torch.randn(groups, 3 * size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mix = torch.randn(size, size, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    return (x @ mix).mT @ (x @ mix) / (3 * size)


@pytest.mark.parametrize(("groups", "p", "q", "taps"), [(1, 5, 4, 9), (2, 3, 4, 3), (1, 6, 7, 1), (1, 2, 9, 2)])
def test_the_curve_tells_the_error_of_every_form(groups, p, q, taps):
    square = moment(0, groups, q * taps)
    matrix = torch.randn(groups, p, q * taps, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    outputs = matrix @ square @ matrix.mT
    curve = error_curve(matrix, outputs, square, taps)
    total = float(outputs.diagonal(dim1=1, dim2=2).sum())
    for ranks, error in zip(curve.ranks.tolist(), curve.errors.tolist(), strict=True):
        rest = matrix - approximate(matrix, outputs, square, taps, tuple(ranks)).matrix()
        exact = float((rest @ square * rest).sum()) / total
        assert exact == pytest.approx(error, abs=1e-5)
        assert curve.bound(tuple(ranks)) <= exact + 1e-9
    assert curve.ranks[-1].tolist() == [p, q]
    assert curve.errors[-1] == 0


@given(seed=st.integers(0, 999), s=st.integers(1, 3))
def test_no_other_outer_factor_is_better(seed, s):
    """Eckart and Young: any rank-s matrix has at least the error that the discarded eigenvalues tell."""
    square = moment(seed, 1, 6)
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(1, 4, 6, generator=generator, dtype=torch.float64)
    outputs = matrix @ square @ matrix.mT
    curve = error_curve(matrix, outputs, None, 1)
    best = approximate(matrix, outputs, None, 1, (s, 6)).matrix()
    shaken = best + 0.1 * torch.randn(1, 4, 6, generator=generator, dtype=torch.float64)
    u, values, v = torch.linalg.svd(shaken)
    other = (u[..., :s] * values[:, None, :s]) @ v[:, :s]
    rest = matrix - other
    error = float((rest @ square * rest).sum() / outputs.diagonal(dim1=1, dim2=2).sum())
    assert error >= curve.bound((s, 6)) - 1e-12


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(6, 8, 1, stride=2, padding=1),
        nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, output_padding=1, groups=2),
        nn.ConvTranspose1d(4, 6, 4, 2, bias=False),
        nn.Conv3d(4, 4, (1, 2, 3), padding=1, padding_mode="circular"),
        nn.Linear(8, 6),
    ],
)
def test_factors_become_a_layer_of_the_same_kind_and_cost_what_the_prices_say(layer):
    layer = layer.double()
    own = PatchMap.of(layer)
    matrix = own.matrix()
    unit = torch.eye(own.patch, dtype=torch.float64).repeat(own.groups, 1, 1)
    curve = error_curve(matrix, matrix @ matrix.mT, unit, own.taps)
    x = torch.randn(2, own.groups * own.inputs, *(9, 8, 7)[: len(own.size)], dtype=torch.float64)
    y = layer(x)
    prices = costs.macs(own, layer, Use([tuple(x.shape)], [tuple(y.shape)]), 2)
    for ranks in curve.ranks.tolist()[::3]:
        if ranks == [own.outputs, own.inputs]:
            continue
        factors = approximate(matrix, matrix @ matrix.mT, unit, own.taps, tuple(ranks))
        new = factorised(own, factors)
        torch.testing.assert_close(new.weight, own.weight(factors.matrix()))
        with Recorder() as recorder:
            assert new(x).shape == y.shape
        form = torch.tensor([ranks])
        assert recorder.count.macs / 2 == float(prices.of(form, own))
        bias = 0 if layer.bias is None else layer.bias.numel()
        assert sum(p.numel() for p in new.parameters()) - bias == float(costs.parameters(own, layer).of(form, own))


@given(seed=st.integers(0, 9999), layers=st.integers(1, 4), budget=st.floats(0, 1))
def test_allocation_stays_within_the_budget_and_its_bound_holds(seed, layers, budget):
    generator = torch.Generator().manual_seed(seed)
    options = {}
    for name in map(str, range(layers)):
        errors = torch.rand(5, generator=generator, dtype=torch.float64).sort(descending=True)[0]
        options[name] = Options(torch.randint(1, 20, (5,), generator=generator).double().sort()[0], errors)
    least = sum(float(o.costs.min()) for o in options.values())
    allowed = least + budget * (sum(float(o.costs.max()) for o in options.values()) - least)
    result = allocate(options, allowed)
    assert result.cost <= allowed
    best = min(
        sum(float(o.errors[i]) for o, i in zip(options.values(), choice, strict=True))
        for choice in itertools.product(range(5), repeat=layers)
        if sum(float(o.costs[i]) for o, i in zip(options.values(), choice, strict=True)) <= allowed
    )
    assert result.bound - 1e-9 <= best <= result.error + 1e-9
    for name, option in options.items():  # no better option of any layer fits into what is left
        present = result.choices[name]
        better = option.errors < option.errors[present] - 1e-9
        assert not bool((better & (option.costs - option.costs[present] <= allowed - result.cost)).any())


def gathered(x, y):
    moments = Moments()
    moments.add_outputs(y)
    moments.add_inputs(x, y)
    return moments


def test_an_anchored_refit_keeps_the_weight_where_the_inputs_say_nothing():
    """Inputs in a plane: in the plane W* makes up for the change of the inputs, outside it stays W."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(1, 3, 5, generator=generator, dtype=torch.float64)
    x = torch.randn(1, 400, 2, generator=generator, dtype=torch.float64)
    inputs = torch.cat([x, torch.zeros(1, 400, 3, dtype=torch.float64)], -1)
    weakened = inputs * 0.5  # what the layers before have made of them
    best, _ = anchored(matrix, gathered(weakened, inputs @ matrix.mT), centred=False)
    torch.testing.assert_close(best[..., 2:], matrix[..., 2:])
    torch.testing.assert_close(best[..., :2], 2 * matrix[..., :2], rtol=5e-3, atol=0)


def test_wide_patches_give_the_same_refit_as_their_moments(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(2, 3, 7, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 30, 7, generator=generator).double()
    y = (x + torch.randn(2, 30, 7, generator=generator).double()) @ matrix.mT
    y = y.float().double()  # rows are kept in single precision
    for centred in (False, True):
        plain, metric = anchored(matrix, gathered(x, y), centred)
        monkeypatch.setattr("tensortrain.compression.analysis.statistics.WIDEST", 6)
        wide, other = anchored(matrix, gathered(x, y), centred)
        monkeypatch.setattr("tensortrain.compression.analysis.statistics.WIDEST", WIDEST)
        torch.testing.assert_close(wide, plain)
        torch.testing.assert_close(other.quadratic(plain), metric.quadratic(plain))


def test_the_residual_of_moments_is_that_of_the_rows():
    generator = torch.Generator().manual_seed(2)
    x, y = torch.randn(1, 50, 4, generator=generator).double(), torch.randn(1, 50, 3, generator=generator).double()
    matrix, moments = torch.randn(1, 3, 4, generator=generator).double(), gathered(x, y)
    rest = y - x @ matrix.mT
    shift = rest.mean(1)
    assert moments.residual(matrix, None) == pytest.approx(float(rest.square().sum() / y.square().sum()))
    expected = float((rest - shift[:, None]).square().sum() / y.square().sum())
    assert math.isclose(moments.residual(matrix, shift), expected, rel_tol=1e-9)


@given(st.integers(1, 2), st.integers(1, 5), st.sampled_from([1, 3]), st.integers(0, 99))
def test_more_outputs_than_inputs_need_no_larger_eigenvalues(groups, inputs, taps, seed):
    """Errors and factors of a layer with many outputs are those that the whole moment of its outputs gives."""
    torch.manual_seed(seed)
    matrix = torch.randn(groups, 16, inputs * taps, dtype=torch.float64)
    x = torch.randn(groups, 40, inputs * taps, dtype=torch.float64)
    moment = x.mT @ x
    outputs = matrix @ moment @ matrix.mT
    curve = error_curve(matrix, outputs, moment, taps)
    values = torch.linalg.eigvalsh(outputs).flip(-1).clamp(min=0).sum(0)
    torch.testing.assert_close(curve.tails, 1 - values.cumsum(0) / values.sum(), rtol=0, atol=1e-12)
    for rank in range(1, 16):
        factors = approximate(matrix, outputs, moment, taps, (rank, inputs))
        error = (matrix - factors.matrix()) @ moment @ (matrix - factors.matrix()).mT
        relative = error.diagonal(dim1=1, dim2=2).sum() / values.sum()
        assert float(relative) == pytest.approx(float(curve.tails[rank - 1]), abs=1e-10)

"""Fitted formats and faster forms in a compressed network: never worse, within the budget, and as was asked for."""

import copy
import math
import time

import pytest
import torch
from torch import nn

import tensortrain as tt
from tensortrain.compression.analysis import network as network_analysis
from tensortrain.compression.analysis.timing import LayerTimer, Race
from tensortrain.compression.budget import fitted
from tests.support.networks import images


def network(groups=1):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=groups), nn.ReLU(),
        nn.ConvTranspose2d(8, 6, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    ).eval()  # fmt: skip


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.fixture(scope="module")
def closed():
    return tt.compress(network(), images(60, size=6), parameters=0.5).report


@pytest.mark.parametrize("formats", ["all", ["cttd", "cp"], tt.formats.depthwise((3, 3))])
def test_admitting_formats_never_worsens_the_allocated_error(closed, formats):
    net = network()
    result = tt.compress(net, images(60, size=6), parameters=0.5, formats=formats, effort=0.02)
    report = result.report
    assert report.error <= closed.error
    assert report.bound <= report.error
    assert count(result.model) <= 0.5 * count(net)
    by_layer = {layer.name: layer for layer in report.layers}
    assert report.error == pytest.approx(sum((layer.predicted or 0) ** 2 for layer in report.layers))
    for layer in by_layer.values():
        assert layer.bound is None or layer.bound <= layer.error + 1e-6
    fresh = images(20, seed=1, size=6)
    assert torch.allclose(result.model(fresh), net(fresh), atol=1.0)


def test_chains_of_many_forms_are_used_and_survive_the_file(tmp_path):
    closed = tt.compress(network(), images(60, size=6), parameters=0.4).report
    result = tt.compress(network(), images(60, size=6), parameters=0.4, formats="all", effort=0.1)
    assert result.report.error < closed.error
    assert any("1×3" in layer.form or layer.form.count("|") == 2 for layer in result.report.layers)
    result.save(tmp_path / "small.safetensors")
    loaded = tt.nn.load(network(), tmp_path / "small.safetensors")
    x = images(5, size=6)
    assert torch.equal(loaded(x), result.model(x))


@pytest.mark.parametrize(
    ("budget", "others"),
    [
        ({"macs": 0.6}, {}),
        ({"bytes": 0.6}, {"at_least": {"2": 0.3}, "at_most": {"4": 0.5}}),
        ({"parameters": 0.6}, {"multiple": 2}),
    ],
)
def test_formats_respect_every_budget_and_constraint(budget, others):
    net, x = network(groups=2), images(40, size=6)
    before = tt.compress(net, x, **budget, **others).report
    result = tt.compress(net, x, **budget, **others, formats="all", effort=0.02)
    report = result.report
    assert report.error <= before.error
    (kind,) = budget
    pair = {"macs": report.macs, "bytes": report.memory, "parameters": report.parameters}[kind]
    assert pair[1] <= 0.6 * pair[0]
    if kind == "macs":
        assert sum(layer.macs[1] for layer in report.layers) == pytest.approx(report.macs[1])
    for layer in report.layers:
        if layer.name == "2" and "at_least" in others:
            assert layer.parameters[1] >= 0.3 * layer.parameters[0]
        if "multiple" in others and layer.state == "factorised" and layer.form != "linear | linear":
            channels = {3, 8, 6}
            assert all(rank % 2 == 0 or rank in channels for rank in layer.ranks)


class Rolled(nn.Module):
    """Two convs that a rollout calls three times."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        for _ in range(3):
            x = torch.tanh(self.outer(torch.tanh(self.inner(x))))
        return x


def test_formats_of_a_recurrent_network_compete_by_weighted_errors(monkeypatch):
    weights = {"inner": 20.0, "outer": 0.05}
    monkeypatch.setattr(network_analysis, "weigh", lambda *arguments: weights)
    net, x = Rolled().eval(), images(40, size=6).repeat(1, 3, 1, 1)[:, :8]
    before = tt.compress(net, x, parameters=0.5).report
    result = tt.compress(net, x, parameters=0.5, formats=["tucker2", "cttd"], effort=0.02)
    after = result.report
    for report in (before, after):
        errors = {layer.name: layer.predicted**2 for layer in report.layers}
        assert report.error == pytest.approx(sum(weights[name] * error for name, error in errors.items()))
        assert errors["inner"] < errors["outer"]
    assert after.bound <= after.error <= before.error
    assert count(result.model) <= 0.5 * count(net)


def test_without_inputs_formats_compete_by_their_frobenius_error():
    before = tt.compress(network(), parameters=0.5).report.error
    after = tt.compress(network(), parameters=0.5, formats="all", effort=0.05).report
    assert after.error < before
    for layer in after.layers:
        assert layer.frobenius is None or layer.frobenius == pytest.approx(layer.predicted, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_components_that_cancel_do_not_lose_the_digits_of_half_precision(dtype):
    """The kernel is the limit of sums of two components that cancel each other more and more."""
    generator = torch.Generator().manual_seed(0)
    (a, b), (c, d), (e, f) = (torch.randn(2, length, generator=generator) for length in (6, 6, 5))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(6, 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)).eval()
    with torch.no_grad():
        net[0].weight.copy_(sum(torch.einsum("p,q,k->pqk", *term) for term in ((a, c, f), (a, d, e), (b, c, e))) / 5)
    inputs = torch.randn(200, 6, 8, generator=generator)
    short = copy.deepcopy(net).to(dtype)
    result = tt.compress(short, inputs.to(dtype), parameters=0.47, formats=["cp"], effort=0.1)
    assert [layer.ranks for layer in result.report.layers] == [(2, 2), ()]
    assert {p.dtype for p in result.model.parameters()} == {dtype}
    with torch.no_grad():
        outputs = net(inputs)
        error = (result.model.float()(inputs) - outputs).norm() / outputs.norm()
    assert error < 10 * torch.finfo(dtype).eps


def test_a_time_limit_admits_all_formats_and_is_kept(closed):
    start = time.process_time()
    report = tt.compress(network(), images(60, size=6), parameters=0.5, seconds=0.05, effort=1e3).report
    assert time.process_time() - start < 5
    assert report.error <= closed.error


def timed(monkeypatch, faster):
    """Layers with such a kernel as a core are timed as faster than the dense ones, all others as slower."""
    raced = []

    def race(self, name, before, after, rounds=15):
        sizes = [tuple(core.weight.shape[2:]) for core in getattr(after, "cores", ())]
        raced.append(sizes)
        ratio = 0.5 if faster(sizes) else 1.5
        return Race((1.0, 1.0, 1.0), (ratio, ratio, ratio), ratio)

    monkeypatch.setattr(LayerTimer, "race", race)
    return raced


def test_the_objective_decides_among_forms_of_equal_cost(monkeypatch):
    net, x = network(), images(60, size=6)
    timed(monkeypatch, lambda sizes: (2, 2) in sizes)
    by_error = tt.compress(net, x, parameters=0.5, formats=["cttd", "cp"], effort=0.02).report
    for objective in ("speed", "both"):
        report = tt.compress(net, x, parameters=0.5, formats=["cttd", "cp"], effort=0.02, objective=objective).report
        convs = [layer for layer in report.layers if layer.state == "factorised" and layer.kind.startswith("Conv")]
        assert {layer.form for layer in convs} == {"2×2 | 2×2"}
        assert report.error >= by_error.error
        assert "faster" in str(report)
        assert report.parameters[1] <= 0.5 * report.parameters[0]
    timed(monkeypatch, lambda sizes: sizes[0] == (3, 3))  # a closed form
    report = tt.compress(net, x, parameters=0.5, objective="speed").report
    convs = [layer for layer in report.layers if layer.state == "factorised" and layer.kind.startswith("Conv")]
    assert {layer.form for layer in convs} == {"3×3 | 1×1"}


def test_a_budget_of_time_is_not_spent_on_slower_formats(monkeypatch):
    net, x = network(), images(60, size=6)
    raced = timed(monkeypatch, lambda sizes: len(sizes) == 2)  # no fitted format that is tried here
    report = tt.compress(net, x, milliseconds=1e3, formats=["cp"], effort=0.02).report
    assert all("1×3" not in layer.form for layer in report.layers)
    del raced


def test_multiples_are_of_total_ranks():
    from tensortrain.compression.layers.chains import layer_kernel
    from tensortrain.compression.layers.unfolding import PatchMap

    own = PatchMap.of(nn.Conv2d(8, 12, 3, groups=2))
    kernel = layer_kernel(own, own.matrix(), None)
    block = tt.formats.block_term((3, 3), 3, 1)
    assert fitted._in_multiples(block, kernel, (15, 5), 4) == (12, 4)
    assert fitted._in_multiples(block, kernel, (3, 1), 4) is None
    assert fitted._in_multiples(tt.formats.tucker2((3, 3)), kernel, (5, 3), 4) == (4, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": []}, "formats is empty"),
        ({"formats": ["svd"]}, "formats = 'svd' is unknown; legal: 'all', 'cttd'"),
        ({"objective": "fast"}, "objective = 'fast' is unknown; legal: 'error', 'speed', 'both'"),
        ({"effort": 0}, "effort = 0 is not a positive number"),
        ({"seconds": math.nan}, "seconds = nan is not a positive number"),
        ({"objective": "speed"}, "needs inputs, because the time of a layer depends on them"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(tt.TensorTrainError, match=message):
        tt.compress(network(), parameters=0.5, **arguments)


def test_interrupted_fits_go_on(tmp_path, monkeypatch):
    net, x, file = network(), images(60, size=6), tmp_path / "progress"
    options = {"parameters": 0.5, "formats": ["tucker2", "cttd"], "effort": 0.02}
    whole = tt.compress(net, x, **options)
    tried = []

    def interrupted(kernel, field, options):
        tried.append(kernel.size)
        if len(tried) == 2:
            raise KeyboardInterrupt
        return fit(kernel, field, options)

    fit = fitted.best_format
    monkeypatch.setattr(fitted, "best_format", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tt.compress(net, x, **options, resume=file)
    assert (tmp_path / "progress.fits").exists()
    with pytest.raises(tt.TensorTrainError, match="a decomposition of other weights or with other arguments"):
        tt.compress(net, x, **{**options, "effort": 0.03}, resume=file)
    result = tt.compress(net, x, **options, resume=file)
    assert len(tried) == 2 + 1  # of two layers, one was finished
    assert list(tmp_path.iterdir()) == []
    for name, value in result.model.state_dict().items():
        torch.testing.assert_close(value, whole.model.state_dict()[name], rtol=1e-5, atol=1e-6)

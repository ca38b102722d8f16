"""Whole networks to a budget: it is kept and used up, the model stays as it was, and the report says what was done."""

import copy
import json

import pytest
import torch
from torch import nn

import tensortrain as tt
from tensortrain.compression.analysis import costs
from tensortrain.compression.layers.modules import FACTORISED, outermost, plain
from tensortrain.compression.layers.unfolding import PatchMap
from tensortrain.pages.charts import interactive
from tests.support.networks import accuracy, digits, images, residual_network, trained_lenet


def count(net):
    return sum(p.numel() for p in net.parameters())


def room_for_no_rank_step(net, small, left):
    """Whether every further rank step of every factorised layer costs more than what is left of the parameters."""
    for name, layer in outermost(small):
        if not isinstance(layer, FACTORISED):
            continue
        own = PatchMap.of(net.get_submodule(name))
        ranks = [r // own.groups for r in getattr(layer, "ranks", ())[1:-1]] or [layer.rank]
        ones = len(own.size)
        if len(ranks) == 2:
            s, r = ranks
        elif ones and tuple(layer.cores[0].kernel_size) == own.size and own.taps > 1:
            s, r = own.outputs, ranks[0]
        else:
            s, r = ranks[0], own.inputs
        prices = costs.parameters(own, own.layer)
        steps = [(s + 1, r)] * (s < own.outputs) + [(s, r + 1)] * (r < own.inputs)
        present = prices.of(torch.tensor([[s, r]]), own)
        for step in steps:
            cost = prices.of(torch.tensor([step]), own)
            if cost < prices.present and cost - present <= left:
                return False
    return True


@pytest.mark.parametrize("budget", [0.7, 0.4, 0.25])
@pytest.mark.parametrize("with_inputs", [True, False])
def test_the_budget_is_kept_and_used_up(budget, with_inputs):
    net = residual_network()
    result = tt.compress(net, images(200) if with_inputs else None, parameters=budget)
    assert count(result.model) <= budget * count(net)
    assert room_for_no_rank_step(net, result.model, budget * count(net) - count(result.model))
    assert result.report.parameters == (count(net), count(result.model))
    assert result.report.bound <= result.report.error
    assert result.model(images(3)).shape == net(images(3)).shape


def test_a_large_network_uses_nearly_the_whole_budget():
    """One rank step of a layer with a thousand channels costs two thousand parameters."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1024, 768), nn.ReLU(), nn.Linear(768, 256), nn.ReLU(), nn.Linear(256, 10))
    assert count(net) > 900_000
    for budget in (0.5, 0.123):
        small = tt.compress(net, parameters=budget).model
        assert 0.98 * budget * count(net) <= count(small) <= budget * count(net)


def test_a_number_is_a_budget_too():
    net = residual_network()
    assert count(tt.compress(net, images(50), parameters=2000).model) <= 2000


@pytest.mark.parametrize("kind", ["macs", "bytes"])
def test_other_budgets(kind):
    net = residual_network()
    report = tt.compress(net, images(100), **{kind: 0.5}).report
    before, after = report.macs if kind == "macs" else report.memory
    assert 0.9 * 0.5 * before <= after <= 0.5 * before
    counted = sum(layer.macs[1] for layer in report.layers)
    assert counted == pytest.approx(report.macs[1])  # what the prices say is what the built network does


def test_the_model_stays_as_it_was():
    net = residual_network()
    net[0].weight.requires_grad_(False)
    net[1].train()
    net[5].weight.grad = torch.ones_like(net[5].weight)
    before, modes = copy.deepcopy(net), [m.training for m in net.modules()]
    state = torch.get_rng_state()
    result = tt.compress(net, images(100), parameters=0.4)
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), before.state_dict().values(), strict=True))
    assert torch.equal(net[5].weight.grad, torch.ones_like(net[5].weight))
    assert [(n, m._forward_hooks) for n, m in net.named_modules() if m._forward_hooks] == []
    small = result.model
    assert small[1].training
    assert small[1].conv1.training
    assert not small[2].training
    assert not any(p.requires_grad for p in small[0].parameters() if p is not small[0].bias)
    assert all(p.requires_grad for p in small[1].parameters())


def test_equal_seeds_give_equal_networks():
    first, second, other = (
        tt.compress(residual_network(), images(3000), parameters=0.4, samples=3000, seed=s).model for s in (1, 1, 2)
    )
    a, b, c = (torch.cat([v.flatten().float() for v in m.state_dict().values()]) for m in (first, second, other))
    assert torch.equal(a, b)
    assert a.shape != c.shape or not torch.equal(a, c)


def test_inputs_and_refit_each_lower_the_error():
    """Against truncation by weights alone, at equal parameters: the metric of the inputs, then the refit too."""
    net, x, fresh = residual_network(), images(500), images(500, seed=1)
    with torch.no_grad():
        y = net(fresh)

        def error(small):
            return float((small(fresh).detach() - y).norm() / y.norm())

        blind = error(tt.compress(net, parameters=0.3).model)
        result = tt.compress(net, x, parameters=0.3)
    seen = error(result.model)
    assert seen < 0.7 * blind
    assert result.report.outputs.error == pytest.approx(seen, rel=0.5)


def test_a_layer_that_is_exact_at_a_low_rank_costs_nothing():
    """Weights of rank 3 that are found to be so: half of the parameters, and the same outputs."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 4))
    with torch.no_grad():
        net[0].weight.copy_(torch.randn(20, 3) @ torch.randn(3, 20))
    x = torch.randn(300, 20)
    result = tt.compress(net, x, parameters=0.5)
    torch.testing.assert_close(result.model(x), net(x), rtol=1e-4, atol=1e-4)
    assert result.report.layers[0].error < 1e-5


def test_the_report_agrees_with_what_was_built():
    net = residual_network()
    x = images(1000)  # enough for predictions without much regularisation
    result = tt.compress(net, x, parameters=0.4)
    first = next(layer for layer in result.report.layers if layer.state == "factorised")
    assert first.error == pytest.approx(first.predicted, rel=0.1)  # nothing before it, so it is only truncated
    assert first.bound <= first.error + 1e-6
    inputs = {}
    handle = net.get_submodule(first.name).register_forward_hook(lambda m, a, y: inputs.update(x=a[0], y=y))
    with torch.no_grad():
        net(x)
        handle.remove()
        own, new = net.get_submodule(first.name), result.model.get_submodule(first.name)
        bias = 0 if own.bias is None else own.bias[:, None, None]
        error = (new(inputs["x"]) - inputs["y"]).norm() / (inputs["y"] - bias).norm()
    assert first.error == pytest.approx(float(error), rel=1e-3)
    weight = plain(new).weight
    assert first.frobenius == pytest.approx(
        float(((weight - own.weight).norm() / own.weight.norm()).detach()), rel=1e-5
    )
    assert result.report.outputs.agreement > 0.5
    text = str(result)
    assert all(layer.name in text for layer in result.report.layers)
    assert f"{count(result.model):,} of {count(net):,} parameters" in text


def test_the_bound_is_that_of_layers_which_may_shift_their_bias():
    """The inputs have a large mean, which a new bias absorbs; the error is below that of rank-1 layers without it."""
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    layer.weight.data = torch.eye(8)
    x = torch.randn(2000, 8) * torch.tensor([10.0, 1, 1, 1, 1, 1, 1, 1])
    x[:, 1:] += 30
    report = tt.compress(nn.Sequential(layer).eval(), x, parameters=24, samples=2000).report.layers[0]
    values = torch.linalg.eigvalsh(x.double().T.cov(correction=0))
    expected = (values[:-1].sum() / x.double().square().sum(1).mean()).sqrt()
    assert report.ranks == (1,)
    assert report.bound == pytest.approx(float(expected), rel=1e-6)
    assert report.bound <= report.error * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_that_of_all_outputs(seed):
    """The ranks are chosen from 4,096 of these outputs; the error is measured on all."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(8, 16, 1, bias=False)
    conv.weight.data *= torch.tensor([3.0, 2, 1, 1, 0.5, 0.5, 0.5, 0.5]).reshape(1, 8, 1, 1)
    x = torch.randn(64, 8, 32, 32) * torch.rand(64, 1, 1, 1)
    layer = tt.compress(nn.Sequential(conv, nn.ReLU()).eval(), x, parameters=0.8).report.layers[0]
    rows, weight = x.double().movedim(1, -1).reshape(-1, 8), conv.weight.detach().double().flatten(1)
    values = torch.linalg.eigvalsh(weight @ rows.T @ rows @ weight.T).clamp(min=0)
    assert layer.bound == pytest.approx(float((values[: -layer.ranks[0]].sum() / values.sum()).sqrt()), rel=1e-6)
    assert layer.bound <= layer.error


def test_a_layer_whose_bound_would_take_long_has_none(monkeypatch):
    monkeypatch.setattr("tensortrain.compression.reports.findings.BOUNDED", 8 * 16 * 16 - 1)
    net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8)).eval()
    wide, narrow = tt.compress(net, torch.randn(8, 16), parameters=0.3).report.layers
    assert wide.state == narrow.state == "factorised"
    assert wide.bound is None
    assert narrow.bound <= narrow.error * (1 + 1e-6)


class Scaled(nn.Module):
    """A linear layer whose outputs are multiplied by a number."""

    def __init__(self, scale):
        super().__init__()
        self.layer, self.scale = nn.Linear(16, 16, dtype=torch.float64), scale

    def forward(self, x):
        return self.layer(x) * self.scale


def test_errors_do_not_depend_on_the_scale_of_weights_or_outputs():
    def at(scale):
        torch.manual_seed(0)
        alone, scaled = nn.Linear(16, 16, bias=False, dtype=torch.float64), Scaled(scale).eval()
        alone.weight.data *= scale
        layer = tt.compress(alone, parameters=0.6).report.layers[0]
        outputs = tt.compress(scaled, torch.randn(64, 16, dtype=torch.float64), parameters=0.6).report.outputs
        return layer.predicted, layer.frobenius, outputs.error

    expected = at(1.0)
    assert min(expected) > 0.1
    for scale in (1e-170, 1e170):
        assert at(scale) == pytest.approx(expected, rel=1e-9)


def test_the_report_as_files(tmp_path):
    report = tt.compress(residual_network(), images(50), parameters=0.5).report
    for ending in ("json", "csv", "png", "html"):
        report.save(tmp_path / f"report.{ending}")
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["parameters"] == list(report.parameters)
    assert len((tmp_path / "report.csv").read_text().splitlines()) == len(report.layers) + 1
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "report.html").read_text()
    assert ("vegaEmbed(" if interactive() else "data:image/png;base64,") in page
    assert all(f"<td>{layer.name}</td>" in page for layer in report.layers)
    with pytest.raises(tt.TensorTrainError, match="legal"):
        report.save(tmp_path / "report.pdf")
    with pytest.raises(tt.TensorTrainError, match="path is a int"):
        report.save(3)


def test_a_curve_needs_one_calibration(tmp_path):
    net = residual_network()
    batches = iter([images(64)])  # which can be read once only
    curve = tt.compression_curve(net, batches, [0.6, 0.3], metric=lambda m: -float(m(images(9)).square().mean()))
    shares = [row["parameters"] for row in curve.rows()]
    assert 0.5 < shares[0] <= 0.6
    assert 0.2 < shares[1] <= 0.3
    assert curve.rows()[0]["error"] < curve.rows()[1]["error"]
    assert len(str(curve).splitlines()) == 3
    curve.save(tmp_path / "curve.png")
    curve.save(tmp_path / "curve.csv")
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 3


def test_the_smallest_network_within_a_drop():
    net, x = residual_network(), images(200)
    with torch.no_grad():
        labels = net(x).argmax(1)
    result = tt.compress(net, x, metric=lambda m: accuracy(m, x, labels), max_drop=0.05)
    original, value = result.report.metric
    assert original == 1
    assert value >= 0.95
    assert result.report.parameters[1] < 0.9 * result.report.parameters[0]


def test_gradual_compression_goes_on_from_a_compressed_network():
    net, x = residual_network(), images(300)
    half = tt.compress(net, x, parameters=0.5).model
    quarter = tt.compress(half, x, parameters=0.5).model
    assert count(quarter) <= 0.5 * count(half)
    assert sum(isinstance(m, FACTORISED) for m in quarter.modules()) >= 4
    assert not any(
        isinstance(core, FACTORISED) for m in quarter.modules() if isinstance(m, FACTORISED) for core in m.cores
    )
    with torch.no_grad():
        error = (quarter(x) - net(x)).norm() / net(x).norm()
        direct = (tt.compress(net, x, parameters=0.25).model(x) - net(x)).norm() / net(x).norm()
    assert error < 1.5 * direct + 0.02


def test_constraints_on_layers():
    net, x = residual_network(), images(100)
    result = tt.compress(net, x, parameters=0.8, exclude=["1.*"], at_least={"2.conv1": 0.6}, multiple=4)
    layers = {layer.name: layer for layer in result.report.layers}
    assert torch.equal(result.model[1].conv1.weight, net[1].conv1.weight)
    assert layers["1.conv1"].state == "left alone"
    assert layers["2.conv1"].parameters[1] >= 0.6 * layers["2.conv1"].parameters[0]
    assert all(rank % 4 == 0 or rank in (12, 5, 3) for layer in layers.values() for rank in layer.ranks)
    only = tt.compress(net, x, parameters=0.8, include="2.conv?", at_most={"2.conv1": 0.3})
    assert {layer.name for layer in only.report.layers if layer.state != "left alone"} == {"2.conv1", "2.conv2"}
    assert {layer.name: layer for layer in only.report.layers}["2.conv1"].parameters[1] <= 0.3 * 1296


def test_a_trained_lenet(data_root):
    """At 23 % of the parameters: 97.6 % of the test digits before, 96.8 % after (500 calibration digits: 96.6 %)."""
    net = trained_lenet(data_root)
    x, labels = digits(data_root, "t10k", 2000)
    calibration, _ = digits(data_root, "train", 500, seed=0)
    result = tt.compress(net, calibration, parameters=0.23)
    assert count(result.model) <= 0.23 * count(net)
    assert accuracy(result.model, x, labels) >= accuracy(net, x, labels) - 0.02

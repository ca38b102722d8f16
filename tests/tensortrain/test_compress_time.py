"""A budget of milliseconds: what is replaced must be faster, and a miss is said. Clocks are replaced by counts."""

import copy

import pytest
import torch
from torch import nn

import tensortrain as tt
from tensortrain.compression import analysed
from tensortrain.compression.analysis import costs, timing
from tensortrain.compression.analysis.calibration import Batch
from tensortrain.compression.analysis.timing import LayerTimer, Race, forms_to_time, race, stand_in
from tensortrain.compression.analysis.trial import observe
from tensortrain.compression.budget import time_budget
from tensortrain.compression.layers.unfolding import PatchMap
from tests.support.networks import images, residual_network


def count(net):
    return sum(p.numel() for p in net.parameters())


def counted(before, after, overhead=0.0, slowdown=1.0):
    """A race that a network wins by its parameters, a thousand of which take a millisecond."""
    first, second = slowdown * count(before) / 1000, slowdown * (count(after) / 1000 + overhead)
    return Race((first, first, first), (second, second, second), second / first)


@pytest.fixture
def parameters_as_time(monkeypatch):
    """Layers take time for parameters, and so do networks; what is added to factorised layers and to whole networks."""
    added = {"layer": 0.0, "network": 0.0}
    monkeypatch.setattr(LayerTimer, "race", lambda self, name, a, b, rounds=15: counted(a, b, added["layer"]))
    for module in (time_budget, analysed):
        monkeypatch.setattr(
            module, "time_whole", lambda analysis, model, batch: counted(analysis.model, model, added["network"])
        )
    return added


def test_the_budget_is_kept_and_nearly_used_up(parameters_as_time):
    net = residual_network()
    total = count(net) / 1000
    report = tt.compress(net, images(64), milliseconds=0.6 * total).report
    assert 0.5 * total < report.milliseconds[1][1] <= 0.6 * total
    assert report.milliseconds[0][1] == total
    assert not any("MISSED" in note for note in report.notes)
    for layer in report.layers:
        if layer.state == "factorised":
            assert layer.milliseconds[1] <= 0.95 * layer.milliseconds[0]
    assert any(f"({total:.3g} to {total:.3g})" in line for line in report.lines())


def test_layers_that_are_not_faster_stay_dense(parameters_as_time):
    parameters_as_time["layer"] = 10.0
    net = residual_network()
    with pytest.raises(tt.TensorTrainError, match=r"the smallest network that can be reached has 5\.681 \(100"):
        tt.compress(net, images(64), milliseconds=3.0)
    with pytest.raises(
        tt.TensorTrainError, match=r"^time = 0\.5: no network that fast .* takes 100\.0% of the original's"
    ):
        tt.compress(net, images(64), time=0.5)
    result = tt.compress(net, images(64), milliseconds=6.0)
    assert count(result.model) == count(net)


def test_no_network_is_said_to_be_slower_than_the_original_which_can_always_be_had(parameters_as_time):
    parameters_as_time["layer"], parameters_as_time["network"] = 10.0, 0.5
    for budget in ({"milliseconds": 3.0}, {"time": 0.5}):
        with pytest.raises(tt.TensorTrainError, match=r"100\.0%.*; raise the budget"):
            tt.compress(residual_network(), images(64), **budget)


def test_forms_that_only_seemed_faster_are_given_up(parameters_as_time, monkeypatch):
    """At first glance every form is faster; with all alternations those of one block are not."""

    def unsteady(self, name, before, after, rounds=15):
        slow = rounds == 15 and name.startswith("1.") and count(after) < count(before)
        return counted(before, after, 10.0 if slow else 0.0)

    monkeypatch.setattr(LayerTimer, "race", unsteady)
    report = tt.compress(residual_network(), images(64), milliseconds=4.5).report
    states = {layer.name: layer.state for layer in report.layers}
    assert "factorised" not in {states["1.conv1"], states["1.conv2"]}
    assert "factorised" in {states["2.conv1"], states["2.conv2"]}


def test_a_network_that_is_slower_than_its_layers_is_aimed_at_again(parameters_as_time):
    parameters_as_time["network"] = 0.5
    report = tt.compress(residual_network(), images(64), milliseconds=4.0).report
    assert report.milliseconds[1][1] <= 4.0


def test_a_miss_is_said(parameters_as_time):
    parameters_as_time["network"] = 50.0
    result = tt.compress(residual_network(), images(64), milliseconds=4.0)
    assert any("MISSED: the network takes" in note for note in result.report.notes)
    assert "MISSED" in str(result)


def test_a_part_of_the_time_is_kept_though_the_machine_gets_slower(parameters_as_time, monkeypatch):
    """Each time that networks are timed both take longer than before."""
    slowdown = [1.0]

    def slower(analysis, model, batch):
        slowdown[0] *= 1.1
        return counted(analysis.model, model, 0.3, slowdown[0])

    for module in (time_budget, analysed):
        monkeypatch.setattr(module, "time_whole", slower)
    net = residual_network()
    report = tt.compress(net, images(64), time=0.6).report
    assert 0.5 < report.milliseconds[1][1] / report.milliseconds[0][1] <= 0.6
    assert report.milliseconds[0][1] > 1.2 * count(net) / 1000
    assert not any("MISSED" in note for note in report.notes)


@pytest.mark.parametrize("budget", [{"time": 0.6}, {"milliseconds": 3.5}])
def test_a_network_that_misses_its_budget_when_it_is_built_is_built_again_for_less(
    parameters_as_time, monkeypatch, budget
):
    """Layers that only stand in for the new ones are faster."""
    stand_ins, built = set(), []

    def stand_in(*arguments):
        layer = timing.stand_in(*arguments)
        stand_ins.add(layer)
        return layer

    def whole(analysis, model, batch):
        trial = any(module in stand_ins for module in model.modules())
        built.append(model) if not trial and count(model) < count(net) else None
        return counted(analysis.model, model, 0.0 if trial else 0.5)

    monkeypatch.setattr(time_budget, "stand_in", stand_in)
    monkeypatch.setattr(time_budget, "time_whole", whole)
    net = residual_network()
    report = tt.compress(net, images(64), **budget).report
    wanted = budget.get("milliseconds", 0.6 * count(net) / 1000)
    assert 0.9 * wanted < report.milliseconds[1][1] <= wanted
    assert not any("MISSED" in note for note in report.notes)
    assert len(built) == 2


def test_a_budget_below_the_sum_of_the_layers_is_reached_if_the_network_is_faster(parameters_as_time):
    net = residual_network()
    with pytest.raises(tt.TensorTrainError, match="the smallest network that can be reached has") as error:
        tt.compress(net, images(64), milliseconds=1.0, at_least={"*": 0.5})
    least = float(str(error.value).split("has ")[1].split(" ")[0])
    parameters_as_time["network"] = -0.3
    report = tt.compress(net, images(64), milliseconds=least - 0.1, at_least={"*": 0.5}).report
    assert report.milliseconds[1][1] <= least - 0.1


@pytest.mark.parametrize(
    ("inputs", "budget", "message"),
    [
        (None, {"milliseconds": 3.0}, "milliseconds: the time of .* pass inputs"),
        (None, {"time": 0.5}, "time: the time of .* pass inputs"),
        (images(8), {"milliseconds": 0.0}, "milliseconds = 0.0; a positive number"),
        (images(8), {"milliseconds": float("inf")}, "milliseconds = inf"),
        (images(8), {"milliseconds": True}, "milliseconds = True"),
        (images(8), {"milliseconds": "3"}, "milliseconds = '3'"),
        (images(8), {"time": 1.5}, "time = 1.5; a share of the network's own time, above 0 and up to 1, is needed"),
        (images(8), {"time": 0}, "time = 0;"),
        (images(8), {"time": float("nan")}, "time = nan;"),
        (images(8), {"time": 0.5, "milliseconds": 3.0}, "exactly one budget .* milliseconds = 3.0 and time = 0.5"),
    ],
)
def test_bad_budgets(inputs, budget, message):
    with pytest.raises(tt.TensorTrainError, match=message):
        tt.compress(residual_network(), inputs, **budget)


@pytest.mark.parametrize(("groups", "multiple"), [(3, 4), (6, 4), (5, 1), (2, 8), (1, 8)])
def test_the_forms_to_time_have_the_multiples_that_a_call_admits(groups, multiple):
    """As totals over all groups, or else the allocation drops them, and a budget of time has few forms left."""
    own = PatchMap.of(nn.Conv2d(24 * groups, 24 * groups, 3, groups=groups))
    forms = forms_to_time(own, multiple)
    assert len({form for form in forms if 24 not in form}) >= 2
    assert all(rank * groups % (8 if multiple == 1 else multiple) == 0 for form in forms for rank in form if rank < 24)


def test_real_clocks():
    """A wide conv of low rank gets faster; the batch is timed as it is given.

    The budget is far from what can be reached (a quarter of the time), and it is a share, which does not depend on
    what else the machine does: a number of milliseconds that was measured before may be out of reach a second later.
    """
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 128, 3, padding=1), nn.ReLU(), nn.Conv2d(128, 128, 3, padding=1)).eval()
    x = images(6, size=16)
    report = tt.compress(net, [x[:2], x[2:]], milliseconds=1e9).report
    assert report.timed == 2
    low, middle, high = report.milliseconds[0]
    assert 0 < low <= middle <= high
    result = tt.compress(net, [x[:2], x[2:]], time=0.7)
    before, after = result.report.milliseconds
    missed = any("MISSED" in note for note in result.report.notes)
    assert missed is (after[1] > 0.7 * before[1])
    assert isinstance(result.model[2], tt.nn.ConvTT2d)
    assert result.report.layers[1].milliseconds[1] <= 0.95 * result.report.layers[1].milliseconds[0]


@pytest.mark.parametrize("layer", [nn.Conv2d(32, 48, 3), nn.Linear(40, 30), nn.ConvTranspose2d(32, 32, 3)])
@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_layers_that_stand_in_have_weights_as_large_as_those_of_the_layer(layer, size):
    """Others let activations overflow in a deep network."""
    layer = copy.deepcopy(layer)
    with torch.no_grad():
        layer.weight.mul_(size)
    own = PatchMap.of(layer)
    for ranks in ((8, own.inputs), (own.outputs, 8), (8, 8)) if own.size else ((8, own.inputs),):
        weight = timing.stand_in(own, ranks).weight.detach()
        assert 0.5 < float(weight.std() / layer.weight.detach().std()) < 2


def test_a_race_alternates_and_tells_quartiles():
    order = []

    class Clock:
        def repeats(self, run, least):
            return 3

        def seconds(self, run, times):
            assert times == 3
            run()
            return {"first": 0.002, "second": 0.001}[order[-1]]

    result = race(lambda: order.append("first"), lambda: order.append("second"), Clock())
    assert order == ["first", "second"] * 15
    assert result.ratio == pytest.approx(0.5)
    assert result.before == pytest.approx((2, 2, 2))


class Upsampled(nn.Module):
    """A transposed convolution of a batch or of its samples one by one, perhaps with an output size."""

    def __init__(self, layer, batched, output_size):
        super().__init__()
        self.layer, self.batched, self.output_size = layer, batched, output_size

    def forward(self, x):
        call = lambda x: self.layer(x, self.output_size)  # noqa: E731
        return call(x) if self.batched else torch.stack([call(sample) for sample in x])


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    ("settings", "output_size"),
    [
        ({"dilation": 2, "output_padding": 1}, None),
        ({"dilation": 2, "output_padding": 1}, 8),
        ({"stride": 2, "dilation": 3, "output_padding": 2}, None),
        ({"stride": 2}, None),
        ({"stride": 2}, 10),
    ],
)
def test_transposed_layers_are_called_with_the_sizes_that_the_network_has(settings, output_size, axes, batched):
    """An output padding that exceeds the stride cannot be passed as an output size."""
    layer = getattr(nn, f"ConvTranspose{axes}d")(4, 4, 3, **settings)
    net = Upsampled(layer, batched, None if output_size is None else [output_size] * axes).eval()
    x = torch.randn(3, 4, *[4] * axes)
    uses = observe(lambda: net(x), net, {"layer": layer}, len(x)).uses
    maps = PatchMap.of(layer)
    small = stand_in(maps, (2, 2))
    assert costs.macs(maps, layer, uses["layer"], len(x)).present == costs.layer_macs(
        maps, layer, uses["layer"], len(x)
    )
    before, after = [], []
    for module, seen in ((layer, before), (small, after)):
        module.register_forward_hook(lambda _, __, output, seen=seen: seen.append(tuple(output.shape)))
        costs.layer_macs(maps, module, uses["layer"], len(x))
    LayerTimer(uses, Batch((x,), {}, len(x))).race("layer", layer, small, rounds=2)
    assert set(before) == set(after) == set(uses["layer"].outputs)


@pytest.mark.parametrize("budget", [{"parameters": 0.6}, {"macs": 0.6}])
def test_a_network_with_transposed_layers_of_every_kind_is_compressed(budget):
    first = Upsampled(nn.ConvTranspose2d(8, 8, 3, dilation=2, output_padding=1), True, None)
    net = nn.Sequential(first, Upsampled(nn.ConvTranspose2d(8, 8, 3, stride=2), False, None)).eval()
    before, after = tt.compress(net, torch.randn(32, 8, 5, 5), **budget).report.parameters
    assert after < before

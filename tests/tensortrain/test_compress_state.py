"""Networks that change their inputs or themselves while they run: every pass of a compression must see the same."""

import collections
import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import tensortrain as tt
from tensortrain.compression.analysis import batch_norm
from tensortrain.compression.analysis.calibration import Batch, Calibration
from tensortrain.compression.analysis.state import KeptState


def vectors(count=256, seed=0):
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)) + 2


def two_layers():
    torch.manual_seed(0)
    return nn.Linear(16, 32), nn.Linear(32, 16)


def difference(small, net, batches):
    """The relative error of the outputs, each batch from the state that the networks have now."""
    with torch.no_grad():
        a, b = (torch.cat([copy.deepcopy(m)(*(x.clone() for x in batch)) for batch in batches]) for m in (net, small))
    return float((a - b).norm() / a.norm())


def agrees(result, net, batches):
    return difference(result.model, net, batches) == pytest.approx(result.report.outputs.error, rel=1e-4)


# ---- inputs ----------------------------------------------------------------------------------------------------


class InPlace(nn.Module):
    """Normalises its inputs in place, as some networks do, also those in containers."""

    def __init__(self):
        super().__init__()
        self.first, self.last = two_layers()

    def forward(self, x):
        x = x.pop() if isinstance(x, list) else x
        return self.last(self.first(x.sub_(2).mul_(3)).relu())


@pytest.mark.parametrize("kind", ["tensor", "batches", "lists", "inference"])
def test_inputs_that_the_network_changes_in_place(kind):
    net, x = InPlace().eval(), vectors()
    before = x.clone()
    inputs = x
    if kind == "batches":
        inputs = [(part,) for part in x.split(64)]
    if kind == "lists":
        inputs = [([part],) for part in x.split(64)]
    if kind == "inference":
        with torch.inference_mode():
            inputs = x.clone()
    result = tt.compress(net, inputs, parameters=0.5)
    assert torch.equal(x, before)
    assert kind != "lists" or all(len(item[0]) == 1 for item in inputs)
    assert agrees(result, net, [(before,)])


def test_a_generator_that_fills_the_same_memory_again():
    def reusing():
        memory = torch.empty(64, 16)
        for part in vectors().split(64):
            yield memory.copy_(part)

    calibration = Calibration.read(reusing(), nn.Linear(16, 2))
    assert torch.equal(torch.cat([batch.args[0] for batch in calibration.batches]), vectors())


def test_only_the_batch_that_runs_is_copied():
    x = vectors()
    net = nn.Linear(16, 2)
    calibration = Calibration.read(x, net).prepared(net, 256, None)
    assert calibration.batches[0].args[0].data_ptr() == x.data_ptr()
    seen = []
    calibration.run(lambda_module(lambda y: seen.append(y) or y), calibration.batches[0].rows(0, 8))
    assert seen[0].data_ptr() != x.data_ptr()
    assert seen[0].untyped_storage().nbytes() == 8 * 16 * 4


def lambda_module(function):
    module = nn.Module()
    module.forward = function
    return module


class OneRow(nn.Module):
    """Reads the first row of each batch only, as many detectors do."""

    def __init__(self):
        super().__init__()
        self.first, self.last = two_layers()

    def forward(self, x):
        return self.last(self.first(x[0]).relu())[None]


def test_batches_of_one_sample_are_joined_only_if_rows_are_independent():
    rows = list(vectors(40).split(1))
    net = OneRow().eval()
    result = tt.compress(net, rows, parameters=0.6)
    assert result.report.samples == 40
    assert agrees(result, net, [(row,) for row in rows])
    plain = nn.Sequential(*two_layers()).eval()
    assert len(Calibration.read(rows, plain).prepared(plain, 40, None).batches) == 1
    mixed = [vectors(1), torch.randn(1, 3, 16), vectors(4)]  # the first two cannot be joined
    assert Calibration.read(mixed, plain).prepared(plain, 6, None).independent
    assert not Calibration.read(mixed, net).prepared(net, 6, None).independent


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = two_layers()

    def forward(self, *xs):
        return self.last(sum(map(self.first, xs)).relu())


def test_a_forward_of_any_number_of_arguments_gets_all():
    net, pairs = Sum().eval(), list(zip(vectors().split(64), (5 * vectors(seed=1)).split(64), strict=True))
    result = tt.compress(net, pairs, parameters=0.8)
    assert agrees(result, net, pairs)


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory = nn.LSTM(16, 16)
        self.first, self.last = two_layers()

    def forward(self, x):
        assert isinstance(x, PackedSequence)
        return self.last(self.first(self.memory(x)[0].data).relu())


class Stepless(Packed):
    """The same without a memory, so that each step is independent of the others."""

    def forward(self, x):
        assert isinstance(x, PackedSequence)
        assert int(x.batch_sizes.sum()) == len(x.data)
        return self.last(self.first(x.data).relu())


@pytest.mark.parametrize("network", [Packed, Stepless])
@pytest.mark.parametrize("with_labels", [False, True])
def test_a_packed_sequence_is_one_argument(network, with_labels):
    torch.manual_seed(0)
    net = network().eval()
    packs = [pack_sequence([torch.randn(n, 16) for n in (9, 7, 4, 2)]) for _ in range(6)]
    result = tt.compress(net, [(x, torch.zeros(4)) for x in packs] if with_labels else packs, parameters=0.8)
    assert result.report.samples == 6 * 22
    with torch.no_grad():
        a, b = (torch.cat([m(x) for x in packs]) for m in (net, result.model))
    assert float((a - b).norm() / a.norm()) == pytest.approx(result.report.outputs.error, rel=1e-4)


def test_one_packed_sequence_is_a_batch():
    pack = pack_sequence([torch.ones(3, 16), torch.ones(2, 16)])
    assert Calibration.read(pack, Packed()).batches[0].args[0] is pack
    assert Batch((pack,), {}, 5).is_packed
    assert not Batch((pack.data,), {}, 5).is_packed


# ---- state -----------------------------------------------------------------------------------------------------


class Stream(nn.Module):
    """Subtracts a running mean of what it has seen, which it keeps in one of several ways."""

    def __init__(self, kind):
        super().__init__()
        self.first, self.last = two_layers()
        self.kind, self.steps, self.hidden, self.history = kind, 0, None, collections.deque()
        self.register_buffer("mean", torch.zeros(16))

    def forward(self, x):
        shift = self.mean if self.hidden is None else self.hidden
        y = self.last(self.first(x - shift - sum(self.history)).relu())
        mean = x.mean(0)
        if self.kind == "buffer":
            self.mean = 0.9 * self.mean + 0.1 * mean
        elif self.kind == "in place":
            self.mean.mul_(0.9).add_(mean, alpha=0.1)
        elif self.kind == "attribute":
            self.hidden = mean
        elif self.kind == "container":
            self.history.append(mean)
        self.steps += 1
        return y


@pytest.mark.parametrize("kind", ["buffer", "in place", "attribute", "container"])
def test_every_pass_starts_from_the_state_of_the_network(kind):
    net, x = Stream(kind).eval(), vectors()
    net.mean += 0.5
    result = tt.compress(net, x, parameters=0.8)
    for network in (net, result.model):
        assert (network.steps, network.hidden, len(network.history)) == (0, None, 0)
        assert network.mean.unique().tolist() == [0.5]
    assert agrees(result, net, [(x,)])
    parts = x.split(32)
    batches = [(part,) for part in parts]
    assert agrees(tt.compress(net, batches, parameters=0.8), net, batches)


def test_state_that_is_shared_or_returned():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("here", torch.zeros(2))
            self.register_buffer("there", self.here)
            self.cache = {"list": [self.here], "self": None}
            self.cache["self"] = self.cache

        def forward(self, x):
            self.here.add_(x)
            assert torch.equal(self.there, self.here)
            assert torch.equal(self.cache["self"]["list"][0], self.here)
            self.new = x
            return self.here

    net = Shared()
    kept = net.here, net.cache
    with KeptState(net) as state:
        output = net(torch.ones(2))
    assert state.changed
    assert (net.here, net.cache) == kept or (net.here is kept[0] and net.cache is kept[1])
    assert net.here.tolist() == [0, 0]
    assert output.tolist() == [1, 1]
    assert not hasattr(net, "new")


def test_a_network_without_state_is_not_copied_again():
    calibration = Calibration.read(vectors(), nn.Linear(16, 2))
    batch = calibration.batches[0]

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.ones(16))
            self.steps = []

        def forward(self, x):
            self.copied = [self.table * 1]  # computed anew, with equal values
            seen.append(self.table.data_ptr())
            return x * self.table

    seen: list[int] = []
    net = Constant()
    net.copied = [torch.ones(16)]
    for _ in range(2):
        calibration.run(net, batch)
    assert seen[0] != net.table.data_ptr() == seen[1]


# ---- batch norm and metrics ----------------------------------------------------------------------------------


class Auxiliary(nn.Module):
    """Has a head that runs in training only, as some classifiers have."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = (layer for _ in range(3) for layer in (nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU()))
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(16, 4), nn.BatchNorm1d(4))

    def forward(self, x):
        return self.body(x) if not self.training else (self.body(x), self.head(x))


@pytest.mark.filterwarnings("error")
def test_batch_norm_that_the_inputs_do_not_reach_keeps_its_statistics():
    net, x = Auxiliary().train(), vectors()
    with torch.no_grad():
        for _ in range(60):
            net(x)
    net.head[1].running_mean.fill_(10)
    net.head[1].running_var.fill_(300)
    tt.compress(net.eval(), x, parameters=0.4, exclude="head*")  # without a warning of unusual inputs
    before = copy.deepcopy(net.state_dict())
    estimated = batch_norm.estimate(net, Calibration.read(2 * x, net).prepared(net, 256, None))
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    for part in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(estimated[f"head.1.{part}"], before[f"head.1.{part}"])
        assert not torch.equal(estimated[f"body.7.{part}"], before[f"body.7.{part}"])


def test_a_metric_may_change_the_network_that_it_gets():
    def metric(model):
        assert not any(module.training for module in model.modules())
        with torch.no_grad():
            for parameter in model.train().parameters():
                parameter.zero_()
        model(x)
        return 1.0

    torch.manual_seed(0)
    first, last = two_layers()
    net, x = nn.Sequential(first, nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5), last).eval(), vectors()
    without, result = (tt.compress(net, x, parameters=0.6, metric=m) for m in (None, metric))
    assert result.report.metric == (1.0, 1.0)
    assert str(result.report).splitlines()[:3] == str(without.report).splitlines()[:3]
    for name, value in without.model.state_dict().items():
        assert torch.equal(result.model.state_dict()[name], value)
    assert agrees(result, net, [(x,)])


class Viewed(nn.Module):
    """Writes to views of its cache, as some recurrent networks do, and reads the cache."""

    def __init__(self, kind):
        super().__init__()
        self.first, self.last = two_layers()
        cache = torch.zeros(2, 64, 32)
        if kind == "buffer":
            self.register_buffer("cache", cache)
        else:
            self.cache = [cache]
        self.halves = cache[0], cache[1]

    def forward(self, x):
        cache = self.cache if isinstance(self.cache, torch.Tensor) else self.cache[0]
        for half, values in zip(self.halves, (self.first(x), torch.cat([x, x], 1)), strict=True):
            half[: len(x)] = values
        return self.last(cache[:, : len(x)].sum(0))


@pytest.mark.parametrize("kind", ["buffer", "attribute"])
def test_views_of_one_tensor_stay_views_of_one_tensor(kind):
    net, x = Viewed(kind).eval(), vectors(64)
    result = tt.compress(net, x, parameters=0.5)
    assert agrees(result, net, [(x,)])
    assert result.report.outputs.error > 1e-3
    assert not net.halves[0].any()


def test_copies_of_state_share_memory_as_the_state_does():
    net = nn.Identity()
    net.whole, net.spread = torch.arange(6.0).reshape(2, 3), torch.ones(1).expand(4)
    net.column, net.conjugate = net.whole[:, 1], torch.tensor([1j]).conj()
    before = dict(vars(net))
    with KeptState(net) as state:
        assert all(torch.equal(getattr(net, name), before[name]) for name in ("whole", "spread", "column", "conjugate"))
        assert net.spread.stride() == (0,)
        net.column.zero_()
        assert not net.whole[:, 1].any()
    assert state.changed
    assert torch.equal(net.whole, torch.arange(6.0).reshape(2, 3))

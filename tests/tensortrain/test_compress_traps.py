"""What real networks do that a compression has to survive, each with a small module."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

import tensortrain as tt
from tensortrain.compression.layers.modules import FACTORISED
from tests.support.networks import images, residual_network


def rows(result):
    return {layer.name: layer for layer in result.report.layers}


def features(count=300, size=24, seed=0):
    """Vectors near a subspace, so that layers can be compressed."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(6, size, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, 6, generator=generator) @ mix + 0.1 * torch.randn(count, size, generator=generator)


def mlp(size=24):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5)).eval()


def difference(small, net, x):
    with torch.no_grad():
        return float((small(x) - net(x)).norm() / net(x).norm())


# ---- which layers --------------------------------------------------------------------------------------------


class Shared(nn.Module):
    """A conv that runs three times, under two names, and one that never runs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Tanh())
        self.again = self.body[0]
        self.never = nn.Conv2d(8, 8, 3)
        self.last = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x):
        return self.last(torch.tanh(self.again(self.body(self.body(torch.tanh(self.first(x)))))))


def test_a_layer_that_runs_several_times_stays_one_and_is_refitted_on_all_calls():
    net, x = Shared().eval(), images(100)
    result = tt.compress(net, x, parameters=0.6)
    small = result.model
    assert small.again is small.body[0]
    assert isinstance(small.again, FACTORISED)
    assert rows(result)["never"].state == "left alone"
    assert "does not call it" in rows(result)["never"].note
    blind = tt.compress(net, parameters=0.6, exclude=["never"]).model
    assert difference(small, net, images(50, seed=1)) < difference(blind, net, images(50, seed=1))


class Recurrent(nn.Module):
    """A conv cell rolled out over time, its own outputs among its inputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.cell = nn.Conv2d(3 + 8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        h = x.new_zeros(len(x), 8, *x.shape[2:])
        for _ in range(4):
            h = torch.tanh(self.cell(torch.cat([x, h], 1)))
            x = self.head(h)
        return x


def test_a_recurrent_network_is_refitted_in_free_running_rollouts():
    net = Recurrent().eval()
    result = tt.compress(net, images(60), parameters=0.5)
    assert rows(result)["cell"].state == "factorised"
    assert rows(result)["cell"].following > 0
    fresh = images(40, seed=1)
    assert difference(result.model, net, fresh) < difference(tt.compress(net, parameters=0.5).model, net, fresh)


class Tied(nn.Module):
    """A head that shares its weight with an embedding, and two layers that share theirs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(40, 16), nn.Linear(16, 40, bias=False)
        self.a, self.b, self.c = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.head.weight, self.b.weight = self.embed.weight, self.a.weight

    def forward(self, tokens):
        return self.head(self.c(torch.relu(self.b(torch.relu(self.a(self.embed(tokens)))))))


def test_tied_parameters_stay_tied():
    net = Tied().eval()
    result = tt.compress(net, torch.randint(0, 40, (200, 3)), parameters=0.95)
    small = result.model
    assert small.head.weight is small.embed.weight
    assert small.a.weight is small.b.weight
    assert isinstance(small.c, tt.nn.LowRankLinear)
    assert "shares a parameter with 'embed'" in rows(result)["head"].note
    assert "shares a parameter with 'b'" in rows(result)["a"].note


class ReadsWeights(nn.Module):
    """A layer whose weight alone is used, one that is called and read as well, and one asked for its dtype."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.direct, self.both, self.asked = nn.Linear(24, 24), nn.Linear(24, 24), nn.Linear(24, 24)

    def forward(self, x):
        x = self.asked(x.to(self.asked.weight.dtype))
        x = F.linear(torch.relu(x), self.direct.weight)
        return self.both(torch.relu(x)) + 0.1 * x @ self.both.weight


def test_weights_that_other_code_reads():
    net, x = ReadsWeights().eval(), features()
    result = tt.compress(net, x, parameters=0.75)
    assert "other code reads its weight" in rows(result)["direct"].note
    assert rows(result)["direct"].state == "left alone"
    assert rows(result)["asked"].state == "factorised"
    assert "multiplies by the whole of it" in rows(result)["both"].note
    assert rows(result)["both"].state == "factorised"
    assert result.report.reached < 0.7
    assert difference(result.model, net, x) < 0.5
    by_macs = tt.compress(net, x, macs=0.9)
    assert rows(by_macs)["both"].state != "factorised"  # the product that reads it would cost what it did


class Standardised(nn.Conv2d):
    """A conv with a forward of its own, as timm's standardised ones."""

    def forward(self, x):
        return F.conv2d(x, self.weight / self.weight.std(), self.bias, padding=1)


def test_layers_that_cannot_be_replaced_are_named():
    torch.manual_seed(0)
    net = nn.Sequential(
        Standardised(3, 8, 3), parametrizations.weight_norm(nn.Conv2d(8, 8, 3)),
        parametrizations.spectral_norm(nn.Conv2d(8, 8, 3)),
        prune.random_unstructured(nn.Conv2d(8, 8, 3), "weight", 0.5),
        nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.LazyLinear(4),
    )  # fmt: skip
    x = images(80, size=16)
    net(x)
    net = net.eval()
    hooked = net[7].register_forward_hook(lambda *_: None)
    result = tt.compress(net, x, parameters=0.95)
    notes = {name: row.note for name, row in rows(result).items()}
    assert "its own forward" in notes["0"]
    assert "parametrized" in notes["1"]
    assert "parametrized" in notes["2"]
    assert "hooks, perhaps of weight_norm or pruning" in notes["3"]
    assert rows(result)["4"].state == "factorised"
    assert rows(result)["5"].state in ("refitted", "unchanged")  # depthwise: no form is smaller
    assert "hooks" in notes["7"]
    assert torch.equal(result.model[3].weight_mask, net[3].weight_mask)
    hooked.remove()


class SqueezeExcite(nn.Module):
    """1×1 convs on 1×1 maps."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.squeeze, self.excite = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)

    def forward(self, x):
        x = self.conv(x)
        scale = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return (x * scale).mean((2, 3))


def test_squeeze_excite():
    net, x = SqueezeExcite().eval(), images(100)
    result = tt.compress(net, x, parameters=0.6)
    assert result.report.reached > 0.9
    assert difference(result.model, net, x) < 0.3


# ---- attention -----------------------------------------------------------------------------------------------


def test_attention_is_exchanged_where_it_is_compressed():
    torch.manual_seed(0)
    layers = [nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(2)]
    net = nn.Sequential(*layers, nn.Linear(16, 4)).eval()
    x = features(200, 16).reshape(50, 4, 16)
    result = tt.compress(net, x, parameters=0.5)
    assert result.report.reached > 0.95
    assert isinstance(result.model[0].self_attn, tt.nn.MultiheadAttention)
    assert difference(result.model, net, x) < 0.5
    some = tt.compress(net, x, parameters=0.9, include=["0.*"]).model
    assert isinstance(some[0].self_attn, tt.nn.MultiheadAttention)
    assert isinstance(some[1].self_attn, nn.MultiheadAttention)
    feed_forward = tt.compress(net, x, parameters=0.9, include=["0.linear1"]).model
    assert isinstance(feed_forward[0].self_attn, tt.nn.MultiheadAttention)  # whose fast path reads linear1.weight


class CrossAttention(nn.Module):
    """Batches on the second axis, keys of another width, and two inputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(16, 4, kdim=24, vdim=24)
        self.out = nn.Linear(16, 16)

    def forward(self, query, memory):
        return self.out(self.attention(query, memory, memory)[0])


def test_two_inputs_and_batches_on_another_axis():
    net = CrossAttention().eval()
    query, memory = features(200, 16).reshape(5, 40, 16), features(280, 24).reshape(7, 40, 24)
    result = tt.compress(net, [(query, memory)], parameters=0.8)
    with torch.no_grad():
        expected, output = net(query, memory), result.model(query, memory)
    assert (output - expected).norm() < 0.5 * expected.norm()


class StepsFirst(nn.Module):
    """A recurrent network whose inputs have time on the first axis."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.recurrent, self.out = nn.Linear(24, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        h, outputs = x.new_zeros(x.shape[1], 16), []
        for step in x:
            h = torch.tanh(self.inner(step) + self.recurrent(h))
            outputs.append(self.out(h))
        return torch.stack(outputs)


def test_steps_in_time_are_not_taken_for_samples():
    """Joined along the first axis, three batches would be one long sequence, and cut they would be short ones."""
    net = StepsFirst().eval()
    batches = [features(60, seed=seed).reshape(10, 6, 24) for seed in range(3)]
    result = tt.compress(net, iter(batches), parameters=0.5, samples=25)
    assert result.report.samples == 30
    x = features(60, seed=5).reshape(10, 6, 24)
    assert difference(result.model, net, x) < difference(tt.compress(net, parameters=0.5).model, net, x)


# ---- inputs --------------------------------------------------------------------------------------------------


class Dictionaries(nn.Module):
    """Keyword arguments, of which some are optional, and a dict of outputs."""

    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, values, mask=None):
        logits = self.body(values if mask is None else values * mask)
        return {"step": 3, "loss": logits.square().mean(), "logits": logits, "pair": (logits[:, :2], logits[:, 2:])}


def test_dicts_in_and_out():
    net, x = Dictionaries().eval(), features()
    batches = [
        {"values": x[i : i + 100], "mask": torch.ones(100, 1), "labels": torch.zeros(100)} for i in (0, 100, 200)
    ]
    result = tt.compress(net, batches, parameters=0.5, output="logits")
    assert result.report.outputs.kl is not None
    assert result.report.samples == 300
    other = tt.compress(net, batches, parameters=0.5, output=lambda output: output["pair"][0])
    assert other.report.outputs.error != result.report.outputs.error
    with pytest.raises(tt.TensorTrainError, match="no floating tensor 'scores'; select one with output="):
        tt.compress(net, batches, parameters=0.5, output="scores")


def test_labels_are_left_out_and_a_generator_is_read_once():
    net, x = mlp(), features()
    pairs = ((part, torch.zeros(len(part), dtype=torch.long)) for part in x.split(64))
    result = tt.compress(net, pairs, parameters=0.5, samples=200)
    assert result.report.samples == 200
    assert next(pairs)[0].shape == (44, 24)  # 256 were read for 200
    with pytest.raises(tt.TensorTrainError, match="a generator can be read only once"):
        tt.compress(net, (x for _ in range(0)), parameters=0.5)


def test_batches_of_different_shapes_are_not_joined():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.AdaptiveAvgPool2d(1)).eval()
    result = tt.compress(net, [images(30), images(30, size=12), images(20, size=10)], parameters=0.4)
    assert result.report.samples == 80
    assert difference(result.model, net, images(20, seed=3)) < difference(
        tt.compress(net, parameters=0.4).model, net, images(20, seed=3)
    )


def test_one_image_one_class_dead_channels_and_constant_inputs():
    net = residual_network()
    with torch.no_grad():
        net[0].weight[:4] = 0
        net[0].bias[:4] = -1
        net[1].conv1.weight[3] = 0
    blind = difference(tt.compress(net, parameters=0.4).model, net, images(50, seed=1))
    for x in (images(1), images(1).expand(30, -1, -1, -1), torch.zeros(5, 3, 8, 8), torch.ones(9, 3, 8, 8)):
        result = tt.compress(net, x.clone(), parameters=0.4)
        assert all(torch.isfinite(p).all() for p in result.model.parameters())
        assert difference(result.model, net, images(50, seed=1)) < 2 * blind + 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    """Activations of 300 overflow float16 when they are squared; their moments must not."""
    net, x = mlp().to(dtype), (300 * features()).to(dtype)
    result = tt.compress(net, x, parameters=0.5)
    assert {p.dtype for p in result.model.parameters()} == {dtype}
    assert difference(result.model.double(), net.double(), x.double()) < 0.2


def test_dropout_and_batch_norm_in_training_mode():
    net = residual_network()
    net.insert(5, nn.Dropout(0.5))
    evaluated = tt.compress(net.eval(), images(100), parameters=0.5).model
    trained = tt.compress(copy.deepcopy(net).train(), images(100), parameters=0.5).model
    assert trained.training
    assert trained[5].training
    assert torch.equal(trained.eval()(images(5)), evaluated(images(5)))


def test_new_batch_norm_statistics_are_kept_only_where_they_help():
    net, x = residual_network(), images(300)
    result = tt.compress(net, x, parameters=0.3)
    same = torch.equal(result.model[1].bn1.running_mean, net[1].bn1.running_mean)
    assert result.report.batch_norm is not same
    assert tt.compress(mlp(), features(), parameters=0.5).report.batch_norm is None


def test_inputs_unlike_the_training_data_are_noticed():
    with pytest.warns(UserWarning, match="are they normalised as in training"):
        tt.compress(residual_network(), 255 * images(50) + 100, parameters=0.5)


# ---- layouts, wrappers -----------------------------------------------------------------------------------------


def test_channels_last_is_kept():
    net = residual_network().to(memory_format=torch.channels_last)
    x = images(50).to(memory_format=torch.channels_last)
    small = tt.compress(net, x, parameters=0.4).model
    kernels = [p for p in small.parameters() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


def test_wrappers_are_taken_off():
    net, x = mlp(), features()
    plain = tt.compress(net, x, parameters=0.5).model
    for wrapped in (nn.DataParallel(net), torch.compile(net, backend="eager")):
        small = tt.compress(wrapped, x, parameters=0.5).model
        assert type(small) is nn.Sequential
        assert torch.equal(small(x), plain(x))


def test_regression_is_compared_by_the_error_of_the_outputs():
    net = nn.Sequential(*mlp()[:-1], nn.Linear(32, 1)).eval()
    report = tt.compress(net, features(), parameters=0.5).report
    assert report.outputs.kl is None
    assert report.outputs.error < 0.5
    values = tt.compress(mlp(), features(), parameters=0.5, logits=False).report.outputs
    assert values.agreement is None


class Detector(nn.Module):
    """As many rows as there are places above a threshold."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 5, 3, padding=1)

    def forward(self, x):
        rows = self.head(torch.relu(self.body(x))).flatten(2).mT.flatten(0, 1)
        return {"boxes": rows[rows[:, 0] > 0.1]}


def test_detections_that_differ_in_number_are_not_compared():
    net, x = Detector().eval(), images(60)
    result = tt.compress(net, x, parameters=0.5)
    report = result.report
    assert result.model(x)["boxes"].shape != net(x)["boxes"].shape
    assert report.outputs is None
    assert any("outputs differ in shape" in line for line in report.lines())
    assert all(layer.error < 0.9 for layer in report.layers)


def test_a_model_may_be_a_single_layer():
    torch.manual_seed(0)
    net = nn.Linear(24, 24)
    result = tt.compress(net, features(), parameters=0.7)
    assert isinstance(result.model, tt.nn.LowRankLinear)
    assert difference(result.model, net, features()) < 0.2

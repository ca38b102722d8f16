"""Compressed networks in files: rebuilt in the original architecture, and verified against the original."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import tensortrain as tt
from tensortrain import storage
from tensortrain.compression.state_dicts.records import read_changes, read_network
from tensortrain.compression.verify import verify_network
from tensortrain.compression.verify_outputs import verify_outputs
from tests.support.command import run
from tests.support.networks import images, residual_network


class Transformer(nn.Module):
    """Attention, which `compress` exchanges, between linear layers."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(6, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x)).mean(1))


@pytest.fixture(scope="module", params=["convs", "attention"])
def compressed(request, tmp_path_factory):
    """A network's class, the network, what became of it, inputs, and the file."""
    torch.manual_seed(0)
    make, x = (residual_network, images(200)) if request.param == "convs" else (Transformer, torch.randn(100, 5, 6))
    net = make().eval()
    result = tt.compress(net, x, parameters=0.5)
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    result.save(path)
    return make, net, result, x, path


def test_load_rebuilds_the_network(compressed):
    make, _, result, x, path = compressed
    fresh = make().eval()
    loaded = tt.nn.load(fresh, path)
    assert loaded is fresh
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), result.model(x), rtol=0, atol=0)


def test_a_file_that_does_not_fit_leaves_the_model_as_it_is(compressed):
    make, *_, path = compressed
    other = make().eval()
    other.add_module("extra", nn.Linear(2, 2))
    before = [type(m) for m in other.modules()]
    with pytest.raises(tt.TensorTrainError, match="does not fit the model"):
        tt.nn.load(other, path)
    assert [type(m) for m in other.modules()] == before


def test_the_file_tells_errors_and_changes(compressed):
    _, net, result, x, path = compressed
    tensors, records = read_network(path)
    changes = read_changes(path)
    by_name = {layer.name: layer for layer in result.report.layers}
    for record in records:
        assert record.error == by_name[record.name].frobenius
        assert record.data_error == by_name[record.name].error
    assert changes.calibration["samples"] == len(x)
    refitted = {layer.name for layer in result.report.layers if layer.state == "refitted"}
    assert {f"{name}.weight" for name in refitted} <= changes.changed.keys()
    result_of_check = verify_network(tensors, records, net.state_dict(), changes)
    assert result_of_check.failures == []
    assert result_of_check.changed == len(changes.changed)
    without = verify_network(tensors, records, net.state_dict(), type(changes)(exchanged=changes.exchanged))
    assert len(without.failures) == len(changes.changed) > 0


def test_verify_notices_every_other_change(compressed):
    _, net, _, _, path = compressed
    tensors, records = read_network(path)
    changes = read_changes(path)
    for name in (
        records[0].core_keys[0],
        *list(changes.changed)[:1],
        *list(tensors.keys() - changes.changed.keys())[:1],
    ):
        damaged = {**tensors, name: tensors[name] + 1}
        assert verify_network(damaged, records, net.state_dict(), changes).failures != []


def test_the_command_verifies_the_file(compressed, tmp_path, capsys):
    _, net, _, _, path = compressed
    torch.save(net.state_dict(), tmp_path / "net.pt")
    assert run("verify", path, "--against", tmp_path / "net.pt") == 0
    text = capsys.readouterr().out
    assert "changed as the file says" in text
    assert "the errors of the layers' outputs were not checked" in text
    assert run("info", path) == 0
    assert "parameters" in capsys.readouterr().out


def test_what_is_trained_further_has_no_errors(tmp_path):
    net, x = residual_network(), images(100)
    result = tt.compress(net, x, parameters=0.4)
    first, *others = [layer.name for layer in result.report.layers if layer.state == "factorised"]
    with torch.no_grad():
        result.model.get_submodule(first).cores[0].weight.add_(0.1)
        result.model[1].bn1.bias.add_(0.1)
    result.save(tmp_path / "small.safetensors")
    records = {record.name: record for record in read_network(tmp_path / "small.safetensors")[1]}
    assert (records[first].error, records[first].data_error) == (None, None)
    assert all(records[name].error is not None for name in others)
    assert "1.bn1.bias" in read_changes(tmp_path / "small.safetensors").changed
    loaded = tt.nn.load(residual_network().eval(), tmp_path / "small.safetensors")
    assert torch.equal(loaded(x), result.model(x))


def test_gradual_compression_in_a_file(tmp_path):
    net, x = residual_network(), images(200)
    result = tt.compress(tt.compress(net, x, parameters=0.6).model, x, parameters=0.6)
    result.save(tmp_path / "small.safetensors")
    loaded = tt.nn.load(residual_network().eval(), tmp_path / "small.safetensors")
    assert torch.equal(loaded(x), result.model(x))
    records = read_network(tmp_path / "small.safetensors")[1]
    assert any(record.error is None for record in records)  # against the original, which nobody knows any more


def test_nothing_factorised_is_nothing_to_save(tmp_path):
    result = tt.compress(residual_network(), images(20), parameters=1.0)
    with pytest.raises(tt.TensorTrainError, match=r"without any layer of tensortrain\.nn that a file can hold"):
        result.save(tmp_path / "small.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_header_with_a_linear_layer_is_checked(compressed, tmp_path):
    tensors, header = storage.read(compressed[-1])
    header = {name: value for name, value in header.items() if name not in ("version", "digest")}
    layers = [dict(layer) for layer in header["layers"]]
    layers[0]["ranks"] = [*layers[0]["ranks"][:-1], layers[0]["ranks"][-1] + 1]
    storage.write(tmp_path / "bad.safetensors", tensors, {**header, "layers": layers})
    with pytest.raises(tt.TensorTrainError, match="do not have the shapes in the header"):
        tt.nn.load(compressed[0](), tmp_path / "bad.safetensors")


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.last = nn.Linear(16, 16)

    def forward(self, x):
        return self.last(self.attention(x, x, x)[0]).mean(1)


class Named(nn.Module):
    """A network under the attribute `model`, whose name wrappers also use, with or without a head beside it."""

    def __init__(self, inner, head):
        super().__init__()
        self.model = inner
        self.head = nn.Linear(16, 3) if head else nn.Identity()

    def forward(self, x):
        return self.head(self.model(x))


def convs():
    layers = [nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize(("inner", "shape"), [(Attentive, (40, 5, 16)), (convs, (40, 8, 7, 7))])
def test_a_part_that_is_called_model_is_no_wrapper(tmp_path, inner, shape, head):
    torch.manual_seed(0)
    net, x = Named(inner(), head).eval(), torch.randn(shape)
    result = tt.compress(net, x, parameters=0.7, exclude="head" if head else ())
    result.save(tmp_path / "small.safetensors")
    torch.save(net.state_dict(), tmp_path / "net.pt")
    loaded = tt.nn.load(Named(inner(), head).eval(), tmp_path / "small.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded(x), result.model(x))
    assert run("verify", tmp_path / "small.safetensors", "--against", tmp_path / "net.pt") == 0


def test_layers_that_were_fitted_to_outputs_have_no_upper_bound(compressed):
    _, net, _, _, path = compressed
    tensors, records = read_network(path)
    result = verify_network(tensors, records, net.state_dict(), read_changes(path))
    assert [layer.upper_bound for layer in result.layers] == [None] * len(records)
    assert not result.failures


def test_values_of_other_programs_come_back_as_they_were(tmp_path):
    result = tt.compress(nn.Sequential(nn.Linear(8, 8)), parameters=0.7)
    path = tmp_path / "small.safetensors"
    result.save(path, about={"accuracy": np.float64(0.91), "shape": (1, 2)})
    tt.nn.load(nn.Sequential(nn.Linear(8, 8)), path)
    assert read_changes(path).about == {"accuracy": 0.91, "shape": [1, 2]}
    for about in ({"epochs": {1: 0.5}}, {"when": object()}):
        with pytest.raises(tt.TensorTrainError, match="a file can hold"):
            result.save(tmp_path / "other.safetensors", about=about)
    assert not (tmp_path / "other.safetensors").exists()


def test_linear_layers_that_were_trained_have_no_error_in_their_file(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 16, bias=False), nn.ReLU(), nn.Conv1d(8, 8, 3, bias=False))
    small = tt.nn.decompose(net, (2, 2), ranks=4)
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    tt.nn.save(small, tmp_path / "small.safetensors")
    torch.save(net.state_dict(), tmp_path / "net.pt")
    assert [record.error for record in read_network(tmp_path / "small.safetensors")[1]] == [None, None]
    assert run("verify", tmp_path / "small.safetensors", "--against", tmp_path / "net.pt") == 0


class Words(nn.Module):
    """Two embeddings, a bag, and linear layers."""

    def __init__(self):
        super().__init__()
        self.words, self.tags = nn.Embedding(50, 16, padding_idx=3), nn.EmbeddingBag(11, 16, mode="sum")
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 12, bias=False)

    def forward(self, words):
        return self.second(self.first(self.words(words).mean(1) + self.tags(words % 11)))


def with_matrices(net):
    """A copy whose layers have TT-matrices, and one has two thin factors. They are trained a little."""
    small = copy.deepcopy(net)
    small.words = tt.nn.TTEmbedding.from_embedding(net.words, (7, 8), (4, 4), ranks=5)
    small.tags = tt.nn.TTEmbeddingBag.from_embedding(net.tags, (3, 4), (2, 8), ranks=3)
    small.first = tt.nn.TTLinear.from_linear(net.first, (2, 8), (4, 4), ranks=3)
    small.second = tt.nn.decompose(net.second, ranks=3)
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return small


WORDS = torch.tensor([[0, 3, 49], [7, 7, 10]])


def test_layers_with_tt_matrices_are_saved_and_rebuilt(tmp_path):
    torch.manual_seed(0)
    net = Words()
    small = with_matrices(net)
    tt.nn.save(small, tmp_path / "small.safetensors")
    rebuilt = tt.nn.load(Words().requires_grad_(False), tmp_path / "small.safetensors")
    assert torch.equal(rebuilt(WORDS), small(WORDS))
    for name in ("words", "tags", "first", "second"):
        ours, theirs = getattr(rebuilt, name), getattr(small, name)
        assert type(ours) is type(theirs)
        assert ours.extra_repr().split(", error")[0] == theirs.extra_repr().split(", error")[0]
    assert [layer.error for layer in (rebuilt.words, rebuilt.first)] == [small.words.error, small.first.error]
    assert not any(parameter.requires_grad for parameter in rebuilt.parameters())
    # into a model that has such layers already, and one whose names have a prefix
    again = with_matrices(net)
    again.second = nn.Linear(16, 12, bias=False)
    assert tt.nn.load(again, tmp_path / "small.safetensors") is again
    assert torch.equal(again(WORDS), small(WORDS))
    wrapped = tt.nn.load(nn.ModuleDict({"module": Words()}), tmp_path / "small.safetensors")
    assert torch.equal(wrapped["module"](WORDS), small(WORDS))


def test_compression_keeps_layers_with_tt_matrices(tmp_path):
    torch.manual_seed(0)
    make = lambda: nn.Sequential(  # noqa: E731
        nn.Conv2d(3, 16, 3), nn.Flatten(), tt.nn.TTLinear(tt.TensorTrainMatrix.random((4, 8), (24, 24), 3))
    )
    net = make().eval()
    result = tt.compress(net, torch.randn(64, 3, 8, 8), parameters=0.8)
    result.save(tmp_path / "small.safetensors")
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(tt.nn.load(make().eval(), tmp_path / "small.safetensors")(x), result.model(x))


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        ("first", nn.Linear(16, 8), "'first' is a Linear with a weight (8, 16) in the model; the file has a TTLinear"),
        ("first", nn.Conv1d(16, 16, 1), "'first' is a Conv1d"),
        ("words", nn.Embedding(49, 16), "'words' is a Embedding with a weight (49, 16) in the model; the file"),
        ("tags", nn.Embedding(11, 16), "'tags' is a Embedding"),
        ("first", None, "'first' is a Identity in the model"),
        ("words", nn.Embedding(50, 16, max_norm=1.0), "embedding has max_norm = 1.0"),
    ],
)
def test_architectures_that_do_not_fit_a_tt_matrix_are_refused(tmp_path, name, layer, message):
    torch.manual_seed(0)
    net = Words()
    tt.nn.save(with_matrices(net), tmp_path / "small.safetensors")
    setattr(net, name, layer or nn.Identity())
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(tt.TensorTrainError) as error:
        tt.nn.load(net, tmp_path / "small.safetensors")
    assert message in str(error.value)
    assert before.keys() == net.state_dict().keys()


def test_commands_say_what_they_do_with_tt_matrices(tmp_path, capsys):
    net = Words()
    tt.nn.save(with_matrices(net), tmp_path / "small.safetensors")
    torch.save(net.state_dict(), tmp_path / "net.pt")
    assert run("info", tmp_path / "small.safetensors") == 0
    assert "first.weight: TTLinear 2·8 × 4·4, ranks (1, 3, 1), 120 parameters" in " ".join(
        capsys.readouterr().out.split()
    )
    assert run("verify", tmp_path / "small.safetensors", "--against", tmp_path / "net.pt") == 2
    assert "layers with TT-matrices (words, tags, first), which verify does not compare" in capsys.readouterr().err


def test_other_layers_with_a_tt_matrix_are_not_saved(tmp_path):
    class Own(tt.nn.TTLinear):
        pass

    net = nn.Sequential(Own.from_linear(nn.Linear(16, 16), ranks=2), tt.nn.decompose(nn.Linear(16, 16), ranks=3))
    with pytest.raises(tt.TensorTrainError, match="is a Own, which the file format"):
        tt.nn.save(net, tmp_path / "small.safetensors")
    assert not list(tmp_path.iterdir())


class TwoOutputs(nn.Module):
    """Its rows are independent of each other, but not in the first of its outputs; it draws random numbers."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 8)

    def forward(self, x):
        hidden = self.first(x + torch.rand(16)).relu()
        return {"hidden": hidden.T, "logits": self.last(hidden)}


class WholeBatches(nn.Module):
    """Runs on batches of 16 rows only."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x):
        if len(x) != 16:
            raise ValueError("16 rows are needed")
        return self.layer(x)


def test_errors_of_outputs_are_verified_for_a_network_that_needs_whole_batches(tmp_path):
    torch.manual_seed(0)
    net, batches = WholeBatches().eval(), [torch.randn(16, 16) for _ in range(4)]
    tt.compress(net, batches, parameters=0.7).save(tmp_path / "small.st")
    assert verify_outputs(net, WholeBatches, tmp_path / "small.st", batches) == (1, [])
    checked, failures = verify_outputs(net, WholeBatches, tmp_path / "small.st", [batch + 1 for batch in batches])
    assert checked == 0
    assert "the inputs are not those" in failures[0]


@pytest.mark.parametrize("output", ["logits", "hidden"])
def test_errors_of_outputs_are_verified_whatever_output_was_selected(output, tmp_path):
    torch.manual_seed(0)
    net, batches = TwoOutputs().eval(), [torch.randn(16, 16) for _ in range(4)]
    tt.compress(net, batches, parameters=0.7, output=output, seed=3).save(tmp_path / "small.st")
    for inputs in (batches, iter(batches)):
        assert verify_outputs(net, TwoOutputs, tmp_path / "small.st", inputs) == (1, [])
    checked, failures = verify_outputs(net, TwoOutputs, tmp_path / "small.st", [batch + 1 for batch in batches])
    assert checked == 0
    assert "the inputs are not those" in failures[0]

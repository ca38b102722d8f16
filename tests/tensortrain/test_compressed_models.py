"""Whole models: every conv replaced, saved, and rebuilt in the original architecture."""

import pytest
import torch
from torch import nn

import tensortrain as tt
from tensortrain import TensorTrainError
from tensortrain.compression import model
from tests.support.layers import hooked, lazily, normal, own_forward, parametrized


class Network(nn.Module):
    """Convs of every kind that a network file must tell apart, one of them used twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, padding="same", padding_mode="reflect")
        self.body = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False))
        self.again = self.body[2]
        self.point = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 4, 5, stride=2, output_padding=1)

    def forward(self, x):
        return self.up(self.point(self.again(self.body(self.stem(x)))))


@pytest.fixture(scope="module")
def decomposed(tmp_path_factory):
    """A network, its decomposition, and the file that holds it."""
    torch.manual_seed(0)
    net = Network().eval()
    small = tt.nn.decompose(net, "separable", ranks=2, exclude=["point"])
    with torch.no_grad():
        small.stem.cores[0].bias.add_(1)
    path = tmp_path_factory.mktemp("network") / "small.safetensors"
    tt.nn.save(small, path)
    return net, small, path


def test_decompose_replaces_the_convs_of_a_copy(decomposed):
    net, small, _ = decomposed
    assert isinstance(net.stem, nn.Conv2d)
    assert [type(m).__name__ for m in (small.stem, small.again, small.point, small.up)] == [
        "ConvTT2d", "ConvTT2d", "Conv2d", "ConvTransposeTT2d",
    ]  # fmt: skip
    assert small.again is small.body[2]
    assert small(normal(0, 2, 3, 9, 9)).shape == net(normal(0, 2, 3, 9, 9)).shape


def test_load_rebuilds_the_network(decomposed):
    _, small, path = decomposed
    fresh = Network().eval()
    loaded = tt.nn.load(fresh, path)
    assert loaded is fresh
    assert loaded.again is loaded.body[2]
    x = normal(0, 2, 3, 9, 9)
    assert torch.equal(loaded(x), small(x))


def test_a_model_may_be_a_single_conv(tmp_path):
    small = tt.nn.decompose(nn.Conv1d(4, 4, 5), (3, 3), ranks=2)
    tt.nn.save(small, tmp_path / "small.safetensors")
    loaded = tt.nn.load(nn.Conv1d(4, 4, 5), tmp_path / "small.safetensors")
    x = normal(0, 1, 4, 9)
    assert torch.equal(loaded(x), small(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: delattr(n, "up"), "no module 'up'"),
        (lambda n: setattr(n, "up", nn.Conv2d(8, 4, 5)), "needs a transposed conv"),
        (lambda n: setattr(n, "stem", nn.Conv2d(3, 8, 3)), "has shape"),
        (lambda n: setattr(n, "again", nn.Conv2d(4, 8, 3, bias=False)), "and 1 groups in the model"),
        (lambda n: setattr(n, "point", nn.Conv2d(8, 8, 1, bias=False)), "missing nothing, unexpected .'point.bias'"),
        (lambda n: setattr(n, "extra", nn.Linear(2, 2)), "missing .'extra.bias', 'extra.weight'., unexpected nothing"),
        (lambda n: setattr(n, "point", nn.Conv2d(8, 9, 1)), "point.* has shape"),
    ],
)
def test_load_refuses_another_architecture_and_leaves_the_model_alone(decomposed, change, message):
    other = Network()
    change(other)
    keys = list(other.state_dict())
    with pytest.raises(TensorTrainError, match=message):
        tt.nn.load(other, decomposed[2])
    assert list(other.state_dict()) == keys


def test_decompose_says_which_convs_it_takes():
    net = nn.Sequential(nn.Conv2d(4, 4, 5), nn.Conv2d(4, 4, 5))
    small = tt.nn.decompose(net, (3, 3), ranks=2, exclude=["0"])
    assert [type(m).__name__ for m in small] == ["Conv2d", "ConvTT2d"]
    for make in (lazily, own_forward, hooked, parametrized):
        odd = nn.Sequential(nn.Conv2d(4, 4, 5), make(nn.Conv2d(4, 4, 5)))
        assert isinstance(tt.nn.decompose(odd, (3, 3), ranks=2, exclude=["1"])[0], tt.nn.ConvTT2d)
        with pytest.warns(UserWarning, match=r"1 of 2 layers stay as they are. 1: conv "):
            small = tt.nn.decompose(odd, (3, 3), ranks=2)
        assert isinstance(small[0], tt.nn.ConvTT2d)
        assert type(small[1]) is type(odd[1])
    for arguments, message in [
        ({"include": ["9"]}, "include = '9'"),
        ({"budget": -1.0}, "budget"),
        ({"rtol": 1.0}, "rtol"),
    ]:
        with pytest.raises(TensorTrainError, match=message):
            tt.nn.decompose(net, (3, 3), **{"ranks": 2, **arguments})
    with pytest.raises(TensorTrainError, match="without any conv or linear layer"):
        tt.nn.decompose(nn.ReLU(), budget=0.5)
    with pytest.raises(TensorTrainError, match="no layer can be decomposed"):
        tt.nn.decompose(nn.Conv2d(4, 4, 1), (1,), ranks=2)
    with pytest.raises(TensorTrainError, match=r"without any layer of tensortrain\.nn"):
        tt.nn.save(nn.Linear(2, 2), "unused.safetensors")


@pytest.mark.parametrize(
    ("progress", "terminal", "shown"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_decompose_shows_a_bar_for_a_conv_that_takes_long(monkeypatch, capsys, progress, terminal, shown):
    """By default if a person is watching."""
    monkeypatch.setattr("tensortrain.conv.fit.progress.PATIENCE", 0.0)
    monkeypatch.setattr("tensortrain.conv.fit.progress.LONG", 1e9)  # a busy machine makes it long
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # so that rich draws a bar although stderr is no terminal
    tt.nn.decompose(nn.Conv2d(4, 4, 5), (3, 3), ranks=2, progress=progress)
    assert ("decompose" in capsys.readouterr().err) == shown


def test_linear_layers_and_projections_of_attention_are_decomposed(tmp_path):
    def architecture():
        torch.manual_seed(0)
        return nn.ModuleDict({"attention": nn.MultiheadAttention(16, 2, batch_first=True), "head": nn.Linear(16, 12)})

    net, x = architecture().eval(), normal(0, 2, 5, 16)
    small = tt.nn.decompose(net, budget={"head": 0.5, "attention.*": 1.0}, ranks={"attention.*": 16})
    head = small["head"]
    assert isinstance(head, tt.nn.LowRankLinear)
    assert head.weight.numel() == 192
    assert sum(core.weight.numel() for core in head.cores) <= 96
    u, s, v = torch.linalg.svd(net["head"].weight.detach().double())
    best = (u[:, : head.rank] * s[: head.rank]) @ v[: head.rank]
    torch.testing.assert_close(head.weight.detach().double(), best, rtol=1e-4, atol=1e-5)
    small = tt.nn.decompose(net, budget=0.5)
    tt.nn.save(small, tmp_path / "small.safetensors")
    again = tt.nn.load(architecture().eval(), tmp_path / "small.safetensors")
    outputs = [m["head"](m["attention"](x, x, x)[0]) for m in (small, again)]
    torch.testing.assert_close(*outputs)
    assert isinstance(small["attention"].q_proj, tt.nn.LowRankLinear)


def test_the_seed_reaches_every_conv():
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, 5)
    first, again, other = (tt.nn.decompose(conv, "depthwise", ranks=5, seed=seed).chain.cores[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_three_functions_are_attributes_of_nn():
    for name in ("decompose", "save", "load"):
        assert getattr(tt.nn, name) is getattr(model, name)
        assert name in dir(tt.nn)
        assert name in tt.nn.__all__
    with pytest.raises(AttributeError, match=r"module 'tensortrain\.nn' has no attribute 'compress'"):
        tt.nn.compress  # noqa: B018

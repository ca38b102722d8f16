"""Convs that share a weight stay tied, those that stay dense are named, and a decomposed model goes further."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import tensortrain as tt
from tensortrain import TensorTrainError
from tensortrain.compression.state_dicts.decomposition import decompose_kernels
from tensortrain.compression.state_dicts.kernels import ConvKernel
from tensortrain.compression.state_dicts.limits import LayerLimits
from tests.support.command import run


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Tied(nn.Module):
    """Two convs of one weight, with settings and biases of their own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=2, stride=2, bias=False)
        self.second.weight = self.first.weight
        self.other = nn.Conv2d(8, 8, 3)

    def forward(self, x):
        return self.other(self.second(self.first(x)))


def tied():
    torch.manual_seed(0)
    return Tied()


def test_two_convs_of_one_weight_share_their_cores(tmp_path):
    net = tied()
    small = tt.nn.decompose(net, "tucker2", ranks=3)
    assert all(a.weight is b.weight for a, b in zip(small.first.cores, small.second.cores, strict=True))
    assert small.first.cores[0].weight is not small.other.cores[0].weight
    assert (small.first.cores[0].bias is None, small.second.cores[0].bias is None) == (False, True)
    expected = sum(layer.chain.n_parameters for layer in (small.first, small.other)) + 16
    assert sum(parameter.numel() for parameter in small.parameters()) == expected
    small(normal(0, 1, 8, 9, 9)).sum().backward()
    assert small.second.cores[1].weight.grad is not None

    tt.nn.save(small, tmp_path / "small.st")
    loaded = tt.nn.load(tied(), tmp_path / "small.st")
    assert all(a.weight is b.weight for a, b in zip(loaded.first.cores, loaded.second.cores, strict=True))
    x = normal(0, 1, 8, 9, 9)
    assert torch.equal(loaded(x), small(x))


def test_one_weight_is_decomposed_once():
    weight = normal(0, 8, 8, 3, 3)
    kernels = [ConvKernel(name, weight) for name in ("a", "b")] + [ConvKernel("c", weight.clone())]
    kernels += [ConvKernel("d", weight, groups=2), ConvKernel("e", weight, transposed=True)]
    limits = LayerLimits("tucker2", ranks={"b": 3, "*": 3})
    chains = {outcome.kernel.name: outcome.chain for outcome in decompose_kernels(kernels, limits)}
    assert chains["a"] is chains["b"]
    assert len({id(chain) for chain in chains.values()}) == 4
    limits = LayerLimits("tucker2", ranks={"b": 2, "*": 3})
    chains = [outcome.chain for outcome in decompose_kernels(kernels[:2], limits)]
    assert chains[0] is not chains[1]


@pytest.mark.parametrize(
    ("change", "arguments", "named"),
    [
        (lambda n: None, {"exclude": ["second"]}, "second.weight"),
        (lambda n: n.register_parameter("alias", n.first.weight), {}, "alias"),
        (
            lambda n: setattr(n, "up", nn.ConvTranspose2d(8, 8, 3)) or setattr(n.up, "weight", n.first.weight),
            {},
            "up.weight",
        ),
        (lambda n: setattr(n, "head", nn.Linear(3, 3)) or setattr(n.head, "weight", n.first.weight), {}, "head.weight"),
    ],
)
def test_a_weight_that_another_part_needs_stays(change, arguments, named):
    net = tied()
    change(net)
    with pytest.warns(UserWarning, match=f"first: it shares its weight with {named}, which stays as it is"):
        small = tt.nn.decompose(net, "tucker2", ranks=3, **arguments)
    assert isinstance(small.first, nn.Conv2d)
    assert small.first.weight is small.second.weight
    assert isinstance(small.other, tt.nn.ConvTT2d)


@pytest.mark.parametrize("limits", [{"ranks": 3}, {"budget": {"first": 0.4, "second": 0.4, "other": 0.3}}])
def test_tied_layers_stay_tied_when_they_are_decomposed_again(limits):
    once = tt.nn.decompose(tied(), "tucker2", ranks=5)
    twice = tt.nn.decompose(once, "tucker2", **limits)
    assert all(a.weight is b.weight for a, b in zip(twice.first.cores, twice.second.cores, strict=True))
    assert twice.first.chain.n_parameters < once.first.chain.n_parameters
    merged = tt.nn.merge(twice)
    assert merged.first.weight is merged.second.weight


def test_one_of_two_tied_layers_of_this_library_stays():
    once = tt.nn.decompose(tied(), "tucker2", ranks=5)
    with pytest.warns(UserWarning, match=r"first: it shares its weight with second\.cores\.\d\.weight, which stays"):
        twice = tt.nn.decompose(once, "tucker2", ranks=3, exclude="second")
    assert twice.first.cores[0].weight is twice.second.cores[0].weight
    assert twice.other.chain.n_parameters < once.other.chain.n_parameters


def test_layers_that_share_one_core_only_stay():
    """They are not one weight; decomposed again, each would get cores of its own, and the model would grow."""
    once = tt.nn.decompose(tied(), "tucker2", ranks=5)
    once.other.cores[1].weight = once.first.cores[1].weight
    with pytest.raises(
        TensorTrainError, match=r"first: it shares its weight with other\.cores\.1\.weight, which stays"
    ):
        tt.nn.decompose(once, "tucker2", ranks=3)


def test_tied_layers_need_equal_limits():
    with pytest.warns(UserWarning, match=r"first: it shares its weight with second\.weight, which has other limits"):
        small = tt.nn.decompose(tied(), "tucker2", ranks={"first": 3, "second": 2, "other": 3})
    assert small.first.weight is small.second.weight
    assert isinstance(small.other, tt.nn.ConvTT2d)


def test_convs_that_stay_dense_are_named_with_the_reason():
    net = nn.ModuleDict({"wide": nn.Conv2d(8, 8, 3), "thin": nn.Conv2d(1, 1, 3), "stem": nn.Conv2d(1, 4, 3)})
    with pytest.warns(
        UserWarning, match=r"1 of 2 layers stay as they are. thin: .* = 3 is below the smallest chain"
    ) as caught:
        small = tt.nn.decompose(net, "tucker2", budget=0.4, exclude=["stem"])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert isinstance(small["thin"], nn.Conv2d)


def test_no_warning_where_none_is_needed():
    net = nn.ModuleDict({"wide": nn.Conv2d(8, 8, 3), "thin": nn.Conv2d(1, 1, 3)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tt.nn.decompose(net, "tucker2", ranks={"wide": 3})
        tt.nn.decompose(net, "tucker2", ranks=3, exclude=["thin"])


# ---- a second decomposition ----------------------------------------------------------------------------------


@pytest.mark.parametrize("conv", [nn.Conv2d(8, 8, 5, stride=2, groups=2), nn.ConvTranspose2d(8, 8, 5, bias=False)])
def test_a_decomposed_model_is_decomposed_further(conv, tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(conv, nn.Conv2d(8, 8, 3))
    once = tt.nn.decompose(net, "separable", ranks=8, exclude=["1"])
    twice = tt.nn.decompose(once, "separable", ranks=4, exclude=["1"])
    assert type(twice[0]) is type(once[0])
    assert twice[0].ranks == (8, 4, 8)
    assert twice[0].chain.n_parameters < once[0].chain.n_parameters
    kernel, again = (model[0].chain.reconstruct().detach() for model in (once, twice))
    assert float((kernel - again).norm() / kernel.norm()) == pytest.approx(twice[0].error, rel=1e-4)
    tt.nn.save(twice, tmp_path / "small.st")
    x = normal(0, 1, 8, 11, 11)
    assert torch.equal(tt.nn.load(net, tmp_path / "small.st")(x), twice(x))


def test_a_layer_that_would_not_get_smaller_stays():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(8, 8, 5), nn.Conv2d(8, 8, 5))
    once = tt.nn.decompose(net, "separable", ranks={"0": 4})
    with pytest.warns(UserWarning, match="0: the chain would store 320 entries, but the kernel has only 320"):
        twice = tt.nn.decompose(once, "separable", ranks=4)
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(once[0].cores, twice[0].cores, strict=True))
    assert isinstance(twice[1], tt.nn.ConvTT2d)
    with pytest.raises(TensorTrainError, match="no layer can be decomposed; 0: the chain would store 320 entries"):
        tt.nn.decompose(twice, "separable", ranks=4)


def test_a_layer_with_parametrized_cores_is_refused():
    torch.manual_seed(0)
    once = tt.nn.decompose(nn.Sequential(nn.Conv2d(8, 8, 5)), "separable", ranks=4)
    parametrizations.weight_norm(once[0].cores[1])
    with pytest.raises(TensorTrainError, match=r"0: .* parametrizations; remove them first"):
        tt.nn.decompose(once, "separable", ranks=2)


def test_a_checkpoint_of_tied_weights_is_decomposed_and_rebuilt(tmp_path):
    torch.save(tied().state_dict(), tmp_path / "net.pt")
    small = tmp_path / "small.st"
    assert run("decompose", tmp_path / "net.pt", "--kernel-sizes", "tucker2", "--ranks", "3", "-o", small) == 0
    assert run("verify", small, "--against", tmp_path / "net.pt") == 0
    loaded = tt.nn.load(tied(), small)
    assert all(a.weight is b.weight for a, b in zip(loaded.first.cores, loaded.second.cores, strict=True))


def test_a_shared_bias_stays_shared(tmp_path):
    net = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(16, 8), nn.Linear(16, 8))
    net[1].bias = net[3].bias = net[0].bias
    small = tt.nn.decompose(net, (2, 2), ranks=3)
    assert all(small[at].cores[0].bias is small[0].cores[0].bias for at in (1, 3))
    assert not torch.equal(small[1].cores[0].weight, small[0].cores[0].weight)
    tt.nn.save(small, tmp_path / "small.safetensors")
    again = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(16, 8), nn.Linear(16, 8))
    again[1].bias = again[3].bias = again[0].bias
    loaded = tt.nn.load(again, tmp_path / "small.safetensors")
    assert all(loaded[at].cores[0].bias is loaded[0].cores[0].bias for at in (1, 3))

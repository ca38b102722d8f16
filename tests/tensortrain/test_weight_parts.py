"""Weights that a checkpoint holds in parts: never taken for kernels, and put together on demand."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import tensortrain as tt
from tensortrain import TensorTrainError
from tensortrain.compression.state_dicts.checkpoints import read_checkpoint
from tensortrain.compression.state_dicts.kernels import find_kernels
from tensortrain.compression.state_dicts.parts import fold
from tests.support.command import run

MAKERS = {
    "weight norm": weight_norm,
    "weight norm of all": lambda conv: weight_norm(conv, dim=None),
    "weight norm of inputs": lambda conv: weight_norm(conv, dim=1),
    "parametrized weight norm": parametrizations.weight_norm,
    "spectral norm": spectral_norm,
    "parametrized spectral norm": parametrizations.spectral_norm,
    "pruned": lambda conv: prune.l1_unstructured(conv, "weight", 0.5),
    "pruned direction": lambda conv: prune.l1_unstructured(weight_norm(conv), "weight_v", 0.5),
}
CONVS = {
    "conv": lambda: nn.Conv2d(8, 8, 3),
    "wide conv": lambda: nn.Conv2d(8, 12, 3),
    "transposed": lambda: nn.ConvTranspose2d(8, 12, 3),
    "linear": lambda: nn.Linear(8, 8),
}


def state(make, conv):
    """The `state_dict` of a conv in parts, its power iterations settled, and the weight that it convolves with."""
    torch.manual_seed(0)
    module = make(conv())
    x = torch.randn(2, 8) if isinstance(module, nn.Linear) else torch.randn(2, 8, 5, 5)
    for _ in range(20):
        module(x)
    module.eval()(x)
    return {name: value.detach() for name, value in module.state_dict().items()}, module.weight.detach()


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("make", MAKERS)
def test_parts_are_put_together_to_what_the_module_uses(make, conv):
    tensors, weight = state(MAKERS[make], CONVS[conv])
    folded = fold({f"net.0.{name}": value for name, value in tensors.items()})
    assert set(folded.tensors) == {"net.0.weight", "net.0.bias"}
    torch.testing.assert_close(folded.tensors["net.0.weight"], weight)
    assert set(folded.parts["net.0.weight"]) == {f"net.0.{name}" for name in tensors} - {"net.0.bias"}


def nested(conv):
    return parametrize.register_parametrization(parametrizations.spectral_norm(conv), "weight", nn.PReLU())


@pytest.mark.parametrize(
    "tensors",
    [
        state(parametrizations.orthogonal, CONVS["conv"])[0],
        state(nested, CONVS["conv"])[0],
        {"weight_orig": torch.ones(4, 4, 3)},
        {"weight_v": torch.ones(4, 4, 3)},
        {"weight_v": torch.ones(4, 4, 3), "weight_g": torch.ones(2, 1, 1)},
        {"weight_v": torch.ones(4, 4, 3), "weight_g": torch.ones(4)},
        {"weight_orig": torch.ones(4, 4, 3), "weight_mask": torch.ones(4, 4)},
        {"weight_orig": torch.ones(4, 4, 3), "weight_u": torch.ones(5), "weight_v": torch.ones(12)},
        {"weight_orig": torch.ones(4, 4, 3), "weight_u": torch.ones(4), "weight_v": torch.ones(12)},
        {"parametrizations.weight.original0": torch.ones(4, 1, 1)},
    ],
)
def test_parts_that_do_not_fit_stay_and_are_no_kernels(tensors):
    """Of the ninth, u could belong to the first axis or to the second."""
    folded = fold(tensors)
    assert folded.tensors.keys() == tensors.keys()
    assert folded.parts == {}
    with pytest.raises(TensorTrainError, match=r"no conv kernel among .* is a part of a weight"):
        find_kernels(tensors)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("make", ["weight norm", "parametrized weight norm", "pruned", "spectral norm"])
def test_the_command_leaves_parts_alone_and_says_so_or_folds_them(tmp_path, capsys, make):
    net = nn.ModuleDict({"odd": MAKERS[make](nn.Conv2d(8, 8, 3)), "plain": nn.Conv2d(8, 8, 3)})
    net["odd"](torch.ones(1, 8, 5, 5))
    weights, small = tmp_path / "net.pt", tmp_path / "small.st"
    torch.save(net.eval().state_dict(), weights)
    options = ("--kernel-sizes", "tucker2", "--ranks", "3", "-o", small)
    assert run("decompose", weights, *options) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "a part of a weight and stays as it is; decompose with --fold" in said
    assert {name for name in load_file(small) if name.startswith("odd")} == {n for n in net.state_dict() if "odd" in n}
    assert run("verify", small, "--against", weights) == 0
    capsys.readouterr()

    assert run("decompose", weights, *options, "--fold") == 0
    assert "odd.weight was computed from odd." in capsys.readouterr().out
    assert {name for name in load_file(small) if name.startswith("odd")} == {
        f"odd.cores.{l}.weight" for l in range(3)
    } | {"odd.cores.0.bias"}
    assert run("verify", small, "--against", weights) == 0
    bare = nn.ModuleDict({"odd": nn.Conv2d(8, 8, 3), "plain": nn.Conv2d(8, 8, 3)})
    chain = tt.nn.load(bare, small)["odd"].chain
    folded = read_checkpoint(weights).folded().tensors["odd.weight"]
    assert torch.linalg.vector_norm(chain.reconstruct() - folded) < 0.9 * torch.linalg.vector_norm(folded)


def test_parts_alone_are_refused(tmp_path, capsys):
    torch.save({"a.weight_g": torch.ones(8, 1, 1, 1), "a.weight_v": torch.randn(8, 8, 3, 3)}, tmp_path / "net.pt")
    assert run("decompose", tmp_path / "net.pt", "--ranks", "3", "-o", tmp_path / "small.st") == 2
    assert (
        "no conv kernel among 2 tensors: none is floating with 3 to 5 axes; a.weight_g is a part"
        in capsys.readouterr().err
    )

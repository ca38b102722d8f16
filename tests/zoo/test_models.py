"""What every registered model must do, and the published counts and outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import zoo
from tests.support import reference as zoo_reference
from zoo.cells import ConvLSTMCell, ConvTTLSTMCell
from zoo.errors import ZooError
from zoo.networks.stack import RecurrentStack
from zoo.registry import find_model
from zoo.video_model import VideoModel

# sizes at which every model is quick
TINY: dict[str, dict[str, Any]] = {
    "causal-lstm": {"hidden": [2, 4, 3], "kernel": 3, "patch": 1},
    "causal-lstm-s2t": {"hidden": [2, 4, 3], "kernel": 3, "patch": 1},
    "conv-lstm": {"hidden": [2, 3, 2], "layers": [1, 1, 1], "kernel": 3},
    "conv-tt-lstm-fw": {"hidden": [2, 3, 2], "layers": [1, 1, 1], "kernel": 3, "order": 2, "steps": 2, "rank": 2},
    "conv-tt-lstm-sw": {"hidden": [2, 3, 2], "layers": [1, 1, 1], "kernel": 3, "order": 2, "steps": 3, "rank": 2},
    "predrnn": {"hidden": [2, 4, 3], "kernel": 3, "patch": 1},
    "predrnn-ghu": {"hidden": [2, 4, 3], "kernel": 3, "patch": 1},
    "predrnn-pp": {"hidden": [2, 4, 3], "kernel": 3, "patch": 1},
}


@pytest.fixture(params=zoo_reference.shipped_models())
def make(request: pytest.FixtureRequest) -> Callable[..., VideoModel]:
    """Makes one registered model at tiny size, its weights of unit scale and always the same."""
    name = request.param

    def build(**options: Any) -> VideoModel:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = zoo.create_model(name, **TINY[name] | options)
            for parameter in model.parameters():
                if parameter.dim() == 1:  # biases begin at zero, which would hide them
                    torch.nn.init.normal_(parameter)
        return model

    return build


def clips(frames: int, batch: int = 2, channels: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, frames, channels, 8, 8, generator=generator, dtype=dtype)


@pytest.mark.parametrize(("channels", "patch"), [(1, 1), (3, 2)])
def test_shapes(make: Callable[..., VideoModel], channels: int, patch: int) -> None:
    model = make(channels=channels, patch=patch)
    assert model(clips(3, channels=channels), 4).shape == (2, 6, channels, 8, 8)
    assert model(clips(1, channels=channels), 1).shape == (2, 1, channels, 8, 8)


def test_every_parameter_receives_a_gradient(make: Callable[..., VideoModel]) -> None:
    model = make()
    model(clips(3), 3).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.count_nonzero() > 0, name


def test_deterministic_and_without_state_of_its_own(make: Callable[..., VideoModel]) -> None:
    model = make()
    first = model(clips(3), 3)
    model(clips(5), 1)
    assert torch.equal(model(clips(3), 3), first)
    assert torch.equal(make()(clips(3), 3), first)
    assert [name for name, _ in model.named_buffers()] == []


def test_saved_and_loaded(make: Callable[..., VideoModel], tmp_path: Path) -> None:
    model, other = make(), make()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other(clips(3), 2), model(clips(3), 2))


def test_a_clip_does_not_depend_on_its_batch(make: Callable[..., VideoModel]) -> None:
    model, x = make().double(), clips(3, batch=3, dtype=torch.float64)
    together = model(x, 3)
    for at in range(3):
        torch.testing.assert_close(model(x[at : at + 1], 3)[0], together[at], rtol=0, atol=1e-10)


def test_a_longer_horizon_adds_frames(make: Callable[..., VideoModel]) -> None:
    model, x = make().double(), clips(3, dtype=torch.float64)
    torch.testing.assert_close(model(x, 6)[:, :4], model(x, 2), rtol=0, atol=1e-12)


def test_a_prediction_knows_no_later_frame(make: Callable[..., VideoModel]) -> None:
    model, x = make().double(), clips(4, dtype=torch.float64)
    changed = x.clone()
    changed[:, 3] = 0
    before, after = model(x, 2), model(changed, 2)
    torch.testing.assert_close(after[:, :3], before[:, :3], rtol=0, atol=1e-12)
    assert not torch.allclose(after[:, 3:], before[:, 3:])


def test_gradients_are_those_of_the_values(make: Callable[..., VideoModel]) -> None:
    model = make().double()
    x = torch.rand(1, 2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    names, values = zip(*model.named_parameters(), strict=True)

    def call(x: Tensor, *parameters: Tensor) -> Tensor:
        predictions = torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x, 2))
        assert isinstance(predictions, Tensor)
        return predictions

    assert torch.autograd.gradcheck(call, (x, *values), fast_mode=True)


def test_bfloat16_autocast(make: Callable[..., VideoModel]) -> None:
    model = make()
    exact = model(clips(3), 2)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(clips(3), 2)
    rough.float().sum().backward()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
    assert not torch.equal(rough.float(), exact)


def test_compiles_as_one_graph(make: Callable[..., VideoModel]) -> None:
    model, x = make(), clips(2)
    torch.compiler.reset()  # dynamo gives up on code that it has compiled for many other models
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, 2), model(x, 2))


# ---- what is published ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("conv-lstm", {}, 3_973_201),
        ("conv-tt-lstm-sw", {}, 2_687_281),
        ("conv-tt-lstm-fw", {}, 2_648_497),
        ("conv-tt-lstm-fw", {"order": 3}, 3_263_281),
        ("conv-lstm", {"kernel": 3}, 1_431_633),
        ("conv-tt-lstm-sw", {"kernel": 3}, 969_009),
        ("conv-lstm", {"channels": 3}, 3_979_763),
        ("conv-tt-lstm-sw", {"channels": 3}, 2_693_843),
    ],
)
def test_published_parameter_counts(name: str, options: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        model = zoo.create_model(name, **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize("name", zoo_reference.shipped_models())
def test_the_counts_that_are_listed(name: str) -> None:
    with torch.device("meta"):
        model = zoo.create_model(name)
    assert find_model(name).parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["net_conv_lstm", "net_conv_tt_lstm_sw"])
def test_published_network_outputs(name: str) -> None:
    meta, weights, data = zoo_reference.read(name)

    def cell(inputs: int, hidden: int) -> ConvLSTMCell | ConvTTLSTMCell:
        if meta["cell"] == "convlstm":
            return ConvLSTMCell(inputs, hidden, meta["kernel_size"])
        return ConvTTLSTMCell(inputs, hidden, meta["kernel_size"], meta["order"], meta["steps"], meta["rank"])

    network = RecurrentStack(
        cell, meta["hidden_channels"], meta["layers_per_block"], 1, 1, meta["output_sigmoid"]
    ).double()
    zoo_reference.load_network(network, weights)
    y = network(data["x"], meta["future_frames"])[:, -meta["future_frames"] :]
    torch.testing.assert_close(y, data["y"], rtol=0, atol=1e-10 * float(data["y"].abs().max()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": [], "layers": []}, "hidden = \\[\\]"),
        ({"hidden": [2], "layers": [1, 1]}, "each block"),
        ({"hidden": [2], "layers": [0]}, "each block"),
        ({"patch": 0}, "patch = 0"),
        ({"channels": 0}, "channels = 0"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        zoo.create_model("conv-lstm", **options)

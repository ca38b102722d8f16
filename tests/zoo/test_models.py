"""What every registered model must do, and the published counts and outputs."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import zoo
from tests.support import reference as zoo_reference
from tests.support.deep import deep
from tests.support.tiny import FAMILIES, build, clips, leave_others_to_deep_tests
from zoo.cells import ConvLSTMCell, ConvTTLSTMCell
from zoo.cells.causal_lstm import Cascade
from zoo.cells.conv_gru import ConvGRUCell
from zoo.errors import ZooError
from zoo.networks.stack import RecurrentStack
from zoo.predictors.recurrent import RecurrentPredictor
from zoo.predictors.video_model import VideoModel
from zoo.registry import find_model


@pytest.fixture(params=zoo_reference.shipped_models())
def make(request: pytest.FixtureRequest) -> Callable[..., VideoModel]:
    """Makes one registered model at tiny size, its weights of unit scale and always the same."""

    def make(**options: Any) -> VideoModel:
        return build(request.param, **options)

    make.__name__ = request.param
    return make


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(make: Callable[..., VideoModel], channels: int) -> None:
    model = make(channels=channels).eval()
    predicts_observed = isinstance(model, RecurrentPredictor)  # an encoder-forecaster predicts the horizon alone
    assert model(clips(3, channels=channels), 4).shape == (2, 6 if predicts_observed else 4, channels, 16, 16)
    assert model(clips(2, channels=channels), 1).shape == (2, 2 if predicts_observed else 1, channels, 16, 16)


def test_shapes_with_patches(make: Callable[..., VideoModel]) -> None:
    if "patch" not in find_model(make.__name__).options:
        pytest.skip("this model has no option patch")
    model = make(channels=3, patch=4)
    assert model(clips(2, channels=3), 3)[:, -3:].shape == (2, 3, 3, 16, 16)


def test_tiny_models_are_tiny(make: Callable[..., VideoModel]) -> None:
    assert sum(parameter.numel() for parameter in make().parameters()) <= 20_000


def test_every_parameter_receives_a_gradient(make: Callable[..., VideoModel]) -> None:
    assert without_gradient(make()) == set()


@pytest.mark.parametrize("name", ["causal-lstm", "causal-lstm-s2t", "predrnn", "predrnn-ghu", "predrnn-pp"])
def test_no_parameter_is_dead_by_the_released_form_of_predrnn(name: str) -> None:
    assert without_gradient(build(name, form="released")) == set()


def test_parameters_that_are_dead_by_the_released_form_of_e3d_lstm() -> None:
    """The authors' code hands the old memory on, so that it stays zero: its kernels see nothing."""
    model = build("e3d-lstm", form="released")
    assert without_gradient(model) == {f"layers.{layer}.from_m.weight" for layer in range(2)}


@pytest.mark.parametrize(("form", "dead"), [("paper", []), ("released", [1])])
def test_kernels_that_are_dead_by_the_released_form_of_cdna(form: str, dead: list[int]) -> None:
    """The authors' code has no mask for the last kernel."""
    model = build("cdna", form=form)
    assert without_gradient(model) == set()
    gradient = model.get_parameter("draw.bias").grad
    assert gradient is not None
    assert [j for j, kernel in enumerate(gradient.unflatten(0, (2, 25))) if not kernel.any()] == dead


def test_the_loss_falls(make: Callable[..., VideoModel]) -> None:
    model, x = make(), clips(6)
    horizon = 3
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        loss = model.loss(model(x[:, :-horizon], horizon), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]
    assert min(losses) == min(losses[-5:])


def without_gradient(model: VideoModel) -> set[str]:
    """The parameters without influence on the predictions, of three frames after three."""
    model(clips(3), 3).square().sum().backward()
    return {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}


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
    model, x = make().double().eval(), clips(3, dtype=torch.float64)
    torch.testing.assert_close(model(x, 6)[:, :-4], model(x, 2), rtol=0, atol=1e-12)


def test_a_prediction_knows_no_later_frame(make: Callable[..., VideoModel]) -> None:
    model, x = make().double(), clips(4, dtype=torch.float64)
    if not isinstance(model, RecurrentPredictor):
        pytest.skip("an encoder-forecaster predicts after the last observed frame only")
    changed = x.clone()
    changed[:, 3] = 0
    before, after = model(x, 2), model(changed, 2)
    torch.testing.assert_close(after[:, :3], before[:, :3], rtol=0, atol=1e-12)
    assert not torch.allclose(after[:, 3:], before[:, 3:])


def test_gradients_are_those_of_the_values(make: Callable[..., VideoModel]) -> None:
    model = make().double()
    side = 16 if "canvas" in find_model(make.__name__).options else max(4, model.multiple)
    x = torch.rand(1, 2, 1, side, side, dtype=torch.float64, requires_grad=True)
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
    leave_others_to_deep_tests(make.__name__)
    model, x = make(), clips(2)
    torch.compiler.reset()  # dynamo gives up on code that it has compiled for many other models
    compiled = torch.compile(model, backend="aot_eager" if deep() else "eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, 2), model(x, 2))


def test_a_model_of_each_family_of_cells_is_compiled() -> None:
    """Every cell, or one of its nearest kin: with the same base class, or that base class itself."""

    def families(names: Iterable[str]) -> set[type]:
        cells = {type(module) for name in names for module in build(name).modules()}
        cells = {cell for cell in cells if cell.__module__.startswith("zoo.cells") and cell.__name__.endswith("Cell")}
        return {next((base for base in cell.__mro__[1:-1] if base in ROOTS), cell) for cell in cells}

    ROOTS = {Cascade, ConvGRUCell}
    assert families(FAMILIES) == families(zoo_reference.shipped_models())


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


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("fc-lstm", 142_667_776),
        ("conv-lstm-2015", 7_585_296),
        ("traj-gru", 4_000_173),
        ("conv-gru", 4_767_281),
        ("dfn", 637_361),
        ("e3d-lstm", 12_069_136),
        ("cdna", 8_309_607),
        ("vpn-baseline", 29_652_225),
        ("mcnet", 14_093_953),
    ],
)
def test_counts_of_the_systems_that_the_papers_compare_with(name: str, count: int) -> None:
    assert find_model(name).parameters == count  # which is that of the model, as the next test shows


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

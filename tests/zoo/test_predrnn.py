"""The networks of PredRNN and PredRNN++: published outputs and sizes, the zigzag memory, the highway, bad options."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import zoo
from tests.support import reference as zoo_reference
from tests.support.deep import leave_to_deep_tests
from tests.support.predrnn import CELLS, SIZE, fill
from zoo.cells import PAPER, PREDRNN, RELEASED, CausalLSTMCell, DualMemoryCell, SpatialToTemporalCell, STLSTMCell
from zoo.errors import ZooError
from zoo.networks.zigzag import Zigzag

MODELS = {
    "causal-lstm": CausalLSTMCell,
    "causal-lstm-s2t": SpatialToTemporalCell,
    "predrnn": STLSTMCell,
    "predrnn-ghu": STLSTMCell,
    "predrnn-pp": CausalLSTMCell,
}


@pytest.mark.parametrize(("reference", "name"), [("predrnn", "predrnn"), ("predrnn_pp", "predrnn-pp")])
def test_published_outputs(reference: str, name: str) -> None:
    meta, weights, data = zoo_reference.read(reference)
    network = zoo.create_model(
        name,
        hidden=[meta["channels"]] * meta["layers"],
        kernel=meta["kernel_size"],
        form="released",
        overrides={"bias": meta["bias"], "layer_norm": meta["layer_norm"]},
        channels=meta["patch_size"] ** 2,  # its frames are folded already
        patch=1,
    ).double()
    assert isinstance(network, Zigzag)
    zoo_reference.load_zigzag(network, weights)
    x, y = (data[name].permute(0, 1, 4, 2, 3) for name in "xy")
    predictions = network(x[:, : meta["input_frames"]], meta["future_frames"])
    torch.testing.assert_close(predictions.detach(), y, rtol=0, atol=1e-10 * float(y.abs().max()))


@pytest.mark.parametrize("name", MODELS)
def test_what_a_name_stands_for(name: str) -> None:
    model = zoo.create_model(name, hidden=[2, 3, 4], kernel=3)
    assert isinstance(model, Zigzag)
    assert [type(cell) for cell in model.cells] == [MODELS[name]] * 3
    assert model.slot == (1 if name in ("predrnn-ghu", "predrnn-pp") else None)


def count(name: str, **options: Any) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in zoo.create_model(name, **options).parameters())


def test_published_parameter_counts() -> None:
    assert count("predrnn-pp", form="released") == 15_390_160
    assert count("predrnn-pp", form="released", overrides={"layer_norm": False}) == 15_375_056


def test_sizes_of_the_family() -> None:
    """128, 64, 64, 64 channels, 5×5 filters, patches of 4×4 pixels; ST-LSTM has one bias in each gate besides."""
    highway, output = 4 * 25 * 128 * 128, 64 * 16 + 16
    causal, spatial, parallel = output, output, output
    for X, C, M in [(16, 128, 64), (128, 64, 128), (64, 64, 64), (64, 64, 64)]:
        carry = C * M if C != M else 0
        joint = 3 * C * (X + 2 * C) + 3 * C * (X + C + M) + C * (X + 2 * C)
        causal += 25 * joint + C * M + C * 2 * C
        spatial += 25 * (3 * C * (X + C + M) + 3 * C * (X + 2 * C) + C * (X + 2 * C)) + carry + C * C + C * 2 * C
        parallel += 25 * (7 * C * X + 4 * C * C + 3 * C * M + C * 2 * C) + 7 * C + carry + C * 2 * C
    assert count("causal-lstm") == causal
    assert count("predrnn-pp") == causal + highway
    assert count("causal-lstm-s2t") == spatial
    assert count("predrnn") == parallel
    assert count("predrnn-ghu") == parallel + highway


@pytest.mark.parametrize("form", ["paper", "released"])
@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_receives_the_right_gradient(name: str, form: str) -> None:
    torch.manual_seed(0)
    model = zoo.create_model(name, hidden=[2, 4, 3], kernel=3, form=form, patch=1)
    fill(model)
    names, values = zip(*model.named_parameters(), strict=True)
    x = torch.rand(1, 2, 1, 2, 3, dtype=torch.float64, requires_grad=True)

    def call(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        predictions = torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x, 2))
        assert isinstance(predictions, torch.Tensor)
        return predictions

    assert torch.autograd.gradcheck(call, (x, *values), fast_mode=True)
    call(x, *values).square().sum().backward()
    for name, value in zip(names, values, strict=True):
        assert value.grad is not None, name
        assert value.grad.count_nonzero() > 0, name


@pytest.mark.parametrize("highway", [None, 1, 2, 3])
@pytest.mark.parametrize("make", CELLS)
def test_the_spatial_memory_climbs_and_the_highway_is_where_it_should_be(
    make: Callable[..., DualMemoryCell], highway: int | None
) -> None:
    hidden = [2, 5, 3, 4]
    network = Zigzag(make, hidden, 3, RELEASED, 1, 1, False, highway)
    fill(network)
    frames = torch.randn(3, 2, 1, *SIZE, dtype=torch.float64)
    at = (2, SIZE, frames.device, frames.dtype)
    predictions, last = network.read(frames, network.initial_state(*at))

    m = torch.zeros(2, 4, *SIZE, dtype=torch.float64)
    states = [cell.initial_state(*at) for cell in network.cells]
    z = None if network.highway is None else network.highway.initial_state(*at)
    for frame, expected in zip(frames, predictions, strict=True):
        h = frame
        for k, cell in enumerate(network.cells):
            h, m, states[k] = cell(h, m, states[k])
            assert m.shape[1] == hidden[k]
            if network.highway is not None and k + 1 == highway:
                h, z = network.highway(h, z)
                assert h.shape[1] == hidden[k]
        frame = torch.nn.functional.conv2d(h, network.output.weight, network.output.bias)
        torch.testing.assert_close(expected, frame, rtol=0, atol=1e-12)
    torch.testing.assert_close(last.m, m, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("layers", "slots"),
    [
        (2, {"bottom": 1, "middle": 1, "top": 1}),
        (4, {"bottom": 1, "middle": 2, "top": 3, 3: 3}),
        (5, {"bottom": 1, "middle": 2, "top": 4}),
    ],
)
@pytest.mark.parametrize("name", ["predrnn-ghu", "predrnn-pp"])
def test_highway_by_name(name: str, layers: int, slots: dict[str | int, int]) -> None:
    for highway, slot in slots.items():
        model = zoo.create_model(name, hidden=[2] * layers, kernel=3, highway=highway)
        assert isinstance(model, Zigzag)
        assert model.slot == slot


@pytest.mark.parametrize("name", MODELS)
def test_first_predictions_are_not_nothing(name: str) -> None:
    """Output weights begin by Glorot's initialiser; with the sigmoid predictions lie around a half."""
    torch.manual_seed(0)
    x = torch.rand(1, 3, 1, 8, 8)
    model = zoo.create_model(name, hidden=[4, 4], kernel=3)
    assert model.output.weight.detach().abs().max() > 0.9 * (6 / (16 + 4)) ** 0.5
    squashed = zoo.create_model(name, hidden=[4, 4], kernel=3, sigmoid=True)
    squashed.load_state_dict(model.state_dict())
    torch.testing.assert_close(squashed(x, 1), torch.sigmoid(model(x, 1)))


def test_one_layer_hands_the_memory_to_itself() -> None:
    """A frame changes what the memory alone brings to the next step."""
    torch.manual_seed(0)
    model = zoo.create_model("causal-lstm", hidden=[3], kernel=3)
    assert isinstance(model, Zigzag)
    x = torch.rand(1, 3, 1, 8, 8)
    assert model(x, 2).shape == (1, 4, 1, 8, 8)
    frames = torch.nn.functional.pixel_unshuffle(x.transpose(0, 1), 4)
    start = model.initial_state(1, (2, 2), x.device, x.dtype)
    _, after = model.read(frames[:1], start)
    assert not torch.equal(model.read(frames[1:2], start._replace(m=after.m))[0], model.read(frames[1:2], start)[0])


def test_the_released_form_compiles_as_one_graph() -> None:
    leave_to_deep_tests("the form of the paper is compiled; this one")
    torch.manual_seed(0)
    model = zoo.create_model("predrnn-pp", hidden=[2, 4, 3], kernel=3, form="released")
    x = torch.rand(2, 2, 1, 8, 8)
    torch.compiler.reset()  # dynamo gives up on code that it has compiled for many other models
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, 2), model(x, 2))


def test_only_st_lstm_has_a_forget_bias_in_the_papers_form() -> None:
    assert [make(1, 1, 1).form for make in CELLS] == [PREDRNN, PAPER, PAPER]
    for name, bias in {"predrnn": 1, "predrnn-ghu": 1, "causal-lstm": 0, "causal-lstm-s2t": 0, "predrnn-pp": 0}.items():
        for form, expected in (("paper", bias), ("released", 1)):
            model = zoo.create_model(name, hidden=[1, 1], kernel=1, form=form)
            assert isinstance(model, Zigzag)
            assert [cell.form.forget_bias for cell in model.cells] == [expected] * 2
        model = zoo.create_model(name, hidden=[1, 1], kernel=1, overrides={"forget_bias": 0.5})
        assert isinstance(model, Zigzag)
        assert model.cells[0].form.forget_bias == 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": []}, "hidden = \\[\\] must list the channels of at least one layer"),
        ({"hidden": [2, 0]}, "hidden = \\[2, 0\\] must .* each at least 1"),
        ({"kernel": 0}, "kernel = 0"),
        ({"highway": 2}, "highway = 2 is not a place between two of 2 layer"),
        ({"highway": "botom"}, "'botom' is not a place"),
        ({"hidden": [2]}, "highway = 'bottom' is not a place between two of 1 layer"),
        ({"form": "release"}, "did you mean 'released'"),
        ({"highway": True}, "highway = True is not a place"),
        ({"highway": 1.5}, "highway = 1.5 is not a place"),
        ({"overrides": ["bias"]}, "overrides = \\['bias'\\] must map options"),
        ({"overrides": {"uniform": -1.0}}, "uniform = -1.0 of a form must be finite and at least 0"),
        ({"overrides": {"forget_bias": float("nan")}}, "forget_bias = nan of a form must be finite"),
        ({"overrides": {"layernorm": True}}, "no option 'layernorm'; did you mean 'layer_norm'"),
        ({"overrides": {"layer_norm": "yes"}}, "layer_norm = 'yes' of a form must be true or false"),
        ({"overrides": {"layer_norm": 1}}, "layer_norm = 1 of a form must be true or false"),
        ({"overrides": {"forget_bias": True}}, "forget_bias = True of a form must be a number"),
        ({"overrides": {"forget_bias": "1"}}, "forget_bias = '1' of a form must be a number"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        zoo.create_model("predrnn-pp", **{"hidden": [2, 2], "kernel": 3, **options})

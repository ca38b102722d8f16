"""PredRNN and PredRNN++: cells against their equations written out in NumPy, networks against published ones."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.support import reference as zoo_reference
from zoo.cells import (
    PAPER,
    PREDRNN,
    RELEASED,
    CausalLSTMCell,
    DualMemoryCell,
    DualState,
    Form,
    GradientHighway,
    SpatialToTemporalCell,
    STLSTMCell,
    find_form,
)
from zoo.errors import ZooError
from zoo.networks.zigzag import Zigzag

Array = np.ndarray[Any, np.dtype[np.float64]]

MODELS = {
    "causal-lstm": CausalLSTMCell,
    "causal-lstm-s2t": SpatialToTemporalCell,
    "predrnn": STLSTMCell,
    "predrnn-ghu": STLSTMCell,
    "predrnn-pp": CausalLSTMCell,
}
CELLS = [STLSTMCell, CausalLSTMCell, SpatialToTemporalCell]
INPUTS, HIDDEN, MEMORY, SIZE = 3, 2, 4, (2, 3)  # every width differs
OPTIONS = [field.name for field in fields(Form)]
FORMS = {"paper": PAPER, "released": RELEASED}
FORMS |= {name: replace(PAPER, **{name: getattr(RELEASED, name)}) for name in OPTIONS}
FORMS |= {f"released but {name}": replace(RELEASED, **{name: getattr(PAPER, name)}) for name in OPTIONS}


# ---- the equations, entry by entry ------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def conv(x: Array, weight: Array) -> Array:
    """`(C, H, W)` with `(O, C, k, k)` to `(O, H, W)`, zero beyond the border."""
    outputs, inputs, k, _ = weight.shape
    made = np.zeros((outputs, *x.shape[1:]))
    for o, row, column, c, a, b in np.ndindex(outputs, *x.shape[1:], inputs, k, k):
        y, z = row + a - (k - 1) // 2, column + b - (k - 1) // 2
        if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
            made[o, row, column] += weight[o, c, a, b] * x[c, y, z]
    return made


def source(cell: torch.nn.Module, name: str, x: Array, letters: str) -> dict[str, Array]:
    """What one convolution of a cell adds to each of the named gates, with its bias and layer norm if it has them."""
    values = {key.removeprefix("conv."): value.numpy() for key, value in cell.get_submodule(name).state_dict().items()}
    made = conv(x, values["weight"])
    if "bias" in values:
        made = made + values["bias"][:, None, None]
    if "norm.weight" in values:
        mean = made.sum() / made.size
        variance = ((made - mean) ** 2).sum() / made.size
        made = (made - mean) / np.sqrt(variance + 1e-5)
        made = made * values["norm.weight"][:, None, None] + values["norm.bias"][:, None, None]
    return dict(zip(letters, np.split(made, len(letters)), strict=True))


def gate(letter: str, *sources: dict[str, Array]) -> Any:
    return sum(parts[letter] for parts in sources if letter in parts)


def st_lstm(cell: STLSTMCell, x: Array, m: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
    """Capital letters are the primed gates, of the spatial memory."""
    bias = cell.form.forget_bias
    both = [source(cell, "from_x", x, "ifgIFGo"), source(cell, "from_h", h, "ifgo"), source(cell, "from_m", m, "IFG")]
    kept = m if cell.memory == cell.hidden else source(cell, "carry", m, ".")["."]
    c = sigmoid(gate("f", *both) + bias) * c + sigmoid(gate("i", *both)) * np.tanh(gate("g", *both))
    m = sigmoid(gate("F", *both) + bias) * kept + sigmoid(gate("I", *both)) * np.tanh(gate("G", *both))
    memories = np.concatenate([c, m])
    o = sigmoid(gate("o", *both, source(cell, "from_memories", memories, "o")))
    return o * np.tanh(source(cell, "mix", memories, ".")["."]), m, c


def cascade(
    cell: CausalLSTMCell | SpatialToTemporalCell, x: Array, h: Array, first: Array, second: Array
) -> tuple[Array, Array, Array]:
    """Any form of the causal LSTM: h, the first and the second memory. w is W3's part."""
    form = cell.form
    from_x = source(cell, "from_x", x, "ifgIFGo")
    from_h = source(cell, "from_h", h, "ifgo" if form.output_reads_h else "ifg")
    from_first = source(cell, "from_first", first, "ifg")
    reached = "IF" + ("G" if form.modulation_reads_m else "") + ("w" if form.wide_w3 else "")
    from_second = source(cell, "from_second", second, reached)
    kept = first if first.shape[0] == cell.hidden else source(cell, "carry", first, ".")["."]
    w3 = from_second["w"] if form.wide_w3 else source(cell, "reshape", second, ".")["."]

    early = [from_x, from_h, from_first]
    f = sigmoid(gate("f", *early) + form.forget_bias)
    first = f * kept + sigmoid(gate("i", *early)) * np.tanh(gate("g", *early))
    late = [from_x, from_second, source(cell, "from_new_first", first, "IFGo")]
    f = sigmoid(gate("F", *late) + form.forget_bias)
    second = f * np.tanh(w3) + sigmoid(gate("I", *late)) * np.tanh(gate("G", *late))
    o = np.tanh(gate("o", *late, from_h, source(cell, "from_new_second", second, "o")))
    return o * np.tanh(source(cell, "mix", np.concatenate([first, second]), ".")["."]), first, second


def written_out(cell: DualMemoryCell, x: Array, m: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
    """h, m and c after a step."""
    if isinstance(cell, STLSTMCell):
        return st_lstm(cell, x, m, h, c)
    if isinstance(cell, CausalLSTMCell):
        h, c, m = cascade(cell, x, h, c, m)
        return h, m, c
    assert isinstance(cell, SpatialToTemporalCell)
    return cascade(cell, x, h, m, c)


def equation_1(weights: list[Array], x: Array, m: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
    """The paper's eq. (1), with W1 to W5 as it has them: h, m and c."""
    _, w1, w2, w3, w4, w5 = weights
    g, i, f = np.split(conv(np.concatenate([x, h, c]), w1), 3)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    g, i, f = np.split(conv(np.concatenate([x, c, m]), w2), 3)
    m = sigmoid(f) * np.tanh(conv(m, w3)) + sigmoid(i) * np.tanh(g)
    o = np.tanh(conv(np.concatenate([x, c, m]), w4))
    return o * np.tanh(conv(np.concatenate([c, m]), w5)), m, c


# ---- the cells --------------------------------------------------------------------------------------------


def fill(module: torch.nn.Module) -> torch.nn.Module:
    """Random weights, biases and norms in double precision."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.double().parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return module


def tensors(*channels: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, count, *SIZE, generator=generator, dtype=torch.float64) for count in channels]


def assert_equal(made: torch.Tensor, expected: list[Array]) -> None:
    torch.testing.assert_close(made.detach(), torch.as_tensor(np.stack(expected)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("make", CELLS)
def test_a_step_equals_the_equations(make: Callable[..., DualMemoryCell], name: str) -> None:
    cell = make(INPUTS, HIDDEN, MEMORY, 3, FORMS[name])
    fill(cell)
    x, m, h, c = tensors(INPUTS, MEMORY, HIDDEN, HIDDEN)
    made = cell(x, m, DualState(h, c))
    clips = zip(*(t.numpy() for t in (x, m, h, c)), strict=True)
    hs, ms, cs = zip(*(written_out(cell, *clip) for clip in clips), strict=True)
    assert_equal(made[0], list(hs))
    assert_equal(made[1], list(ms))
    assert_equal(made[2].h, list(hs))
    assert_equal(made[2].c, list(cs))


@pytest.mark.parametrize("make", CELLS)
def test_a_step_where_memories_are_equally_wide_and_the_kernel_is_even(make: Callable[..., DualMemoryCell]) -> None:
    cell = make(INPUTS, HIDDEN, HIDDEN, 2, RELEASED)
    fill(cell)
    x, m, h, c = tensors(INPUTS, HIDDEN, HIDDEN, HIDDEN)
    made, memory, _ = cell(x, m, DualState(h, c))
    clips = zip(*(t.numpy() for t in (x, m, h, c)), strict=True)
    hs, ms, _ = zip(*(written_out(cell, *clip) for clip in clips), strict=True)
    assert_equal(made, list(hs))
    assert_equal(memory, list(ms))


def test_the_default_is_equation_1_of_the_paper() -> None:
    """The joint filters of the paper are put where the table in zoo/cells/causal_lstm.py says."""
    random = np.random.default_rng(0)
    X, C, M = INPUTS, HIDDEN, MEMORY
    shapes = [(0,), (3 * C, X + 2 * C, 3, 3), (3 * C, X + C + M, 3, 3), (C, M, 1, 1), (C, X + 2 * C, 3, 3)]
    weights = [random.normal(size=shape) for shape in (*shapes, (C, 2 * C, 1, 1))]
    _, w1, w2, w3, w4, w5 = (torch.as_tensor(weight) for weight in weights)

    def ifg(weight: torch.Tensor) -> torch.Tensor:
        g, i, f = weight.chunk(3)
        return torch.cat([i, f, g])

    cell = CausalLSTMCell(X, C, M, 3).double()
    cell.load_state_dict(
        {
            "from_x.conv.weight": torch.cat([ifg(w1[:, :X]), ifg(w2[:, :X]), w4[:, :X]]),
            "from_h.conv.weight": ifg(w1[:, X : X + C]),
            "from_first.conv.weight": ifg(w1[:, X + C :]),
            "from_second.conv.weight": ifg(w2[:, X + C :]),
            "from_new_first.conv.weight": torch.cat([ifg(w2[:, X : X + C]), w4[:, X : X + C]]),
            "from_new_second.conv.weight": w4[:, X + C :],
            "reshape.weight": w3,
            "mix.weight": w5,
        }
    )
    x, m, h, c = tensors(X, M, C, C)
    made, memory, state = cell(x, m, DualState(h, c))
    clips = zip(*(t.numpy() for t in (x, m, h, c)), strict=True)
    hs, ms, cs = zip(*(equation_1(weights, *clip) for clip in clips), strict=True)
    assert_equal(made, list(hs))
    assert_equal(memory, list(ms))
    assert_equal(state.c, list(cs))


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


@pytest.mark.parametrize("make", [*CELLS, GradientHighway])
def test_the_released_form_normalises_wide_convolutions_and_gives_each_a_bias(make: Callable[..., Any]) -> None:
    cell = make(INPUTS, HIDDEN, *([MEMORY] if make in CELLS else []), 3, RELEASED)
    convolutions = {name: value for name, value in cell.named_parameters() if name.endswith("weight")}
    names = {name for name, _ in cell.named_parameters()}
    wide = {name.removesuffix(".weight") for name, value in convolutions.items() if value.dim() == 4}
    assert {f"{name}.bias" for name in wide} <= names
    three = {name.removesuffix(".conv") for name in wide if convolutions[f"{name}.weight"].shape[-1] == 3}
    assert {name.removesuffix(".norm.weight") for name in names if name.endswith("norm.weight")} == three
    assert len(three) >= 2


def test_only_st_lstm_has_biases_in_the_papers_form() -> None:
    """The equations of PredRNN++ write none; that ST-LSTM has them, one in every gate, is our choice."""
    biases = [[name for name, _ in make(1, 1, 1).named_parameters() if "bias" in name] for make in CELLS]
    assert biases == [["from_x.conv.bias"], [], []]


@pytest.mark.parametrize("form", [PAPER, RELEASED])
def test_the_highway_equals_equation_2(form: Form) -> None:
    highway = GradientHighway(INPUTS, HIDDEN, 3, form)
    fill(highway)
    x, z = tensors(INPUTS, HIDDEN)
    made, state = highway(x, highway.initial_state(2, SIZE)._replace(z=z))
    expected = []
    for one, before in zip(x.numpy(), z.numpy(), strict=True):
        parts = [source(highway, "from_x", one, "ps"), source(highway, "from_z", before, "ps")]
        s = sigmoid(gate("s", *parts))
        expected.append(s * np.tanh(gate("p", *parts)) + (1 - s) * before)
    assert_equal(made, expected)
    assert_equal(state.z, expected)


@pytest.mark.parametrize("make", CELLS)
def test_memories_keep_single_precision_under_autocast(make: Callable[..., DualMemoryCell]) -> None:
    torch.manual_seed(0)
    cell = make(INPUTS, HIDDEN, MEMORY, 3, RELEASED)
    with torch.autocast("cpu", torch.bfloat16):
        _, m, state = cell(torch.randn(1, INPUTS, *SIZE), torch.randn(1, MEMORY, *SIZE), cell.initial_state(1, SIZE))
    assert m.dtype == state.c.dtype == torch.float32


def test_the_highway_keeps_single_precision_under_autocast() -> None:
    torch.manual_seed(0)
    highway = GradientHighway(INPUTS, HIDDEN, 3, RELEASED)
    with torch.autocast("cpu", torch.bfloat16):
        _, state = highway(torch.randn(1, INPUTS, *SIZE), highway.initial_state(1, SIZE))
    assert state.z.dtype == torch.float32


@pytest.mark.parametrize("make", [*CELLS, GradientHighway])
def test_first_weights(make: Callable[..., Any]) -> None:
    """Glorot's uniform ones; ±0.001 in the released form, but for 1×1 convolutions; biases are zero."""
    torch.manual_seed(0)
    for form in (PAPER, RELEASED):
        cell = make(8, 16, *([24] if make in CELLS else []), 5, form)
        convolutions = [module for module in cell.modules() if isinstance(module, torch.nn.Conv2d)]
        assert len(convolutions) >= 2
        for conv in convolutions:
            outputs, inputs, k, _ = conv.weight.shape
            glorot = (6 / (k * k * (inputs + outputs))) ** 0.5
            bound = 1e-3 if form is RELEASED and k > 1 else glorot
            assert 0.97 * bound < conv.weight.detach().abs().max().item() <= bound
            assert conv.bias is None or conv.bias.detach().count_nonzero() == 0


# ---- the networks -----------------------------------------------------------------------------------------


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
    made = network(x[:, : meta["input_frames"]], meta["future_frames"])
    torch.testing.assert_close(made.detach(), y, rtol=0, atol=1e-10 * float(y.abs().max()))


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
        made = torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x, 2))
        assert isinstance(made, torch.Tensor)
        return made

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
    made, last = network.read(frames, network.initial_state(*at))

    m = torch.zeros(2, 4, *SIZE, dtype=torch.float64)
    states = [cell.initial_state(*at) for cell in network.cells]
    z = None if network.highway is None else network.highway.initial_state(*at)
    for frame, expected in zip(frames, made, strict=True):
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
    torch.manual_seed(0)
    model = zoo.create_model("predrnn-pp", hidden=[2, 4, 3], kernel=3, form="released")
    x = torch.rand(2, 2, 1, 8, 8)
    torch.compiler.reset()  # dynamo gives up on code that it has compiled for many other models
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, 2), model(x, 2))


# ---- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": []}, "hidden = \\[\\]: give the channels of at least one layer"),
        ({"hidden": [2, 0]}, "hidden = \\[2, 0\\]: .* each at least 1"),
        ({"kernel": 0}, "kernel = 0"),
        ({"highway": 2}, "highway = 2 is no slot between 2 layer"),
        ({"highway": "botom"}, "'botom' is no slot"),
        ({"hidden": [2]}, "highway = 'bottom' is no slot between 1 layer"),
        ({"form": "release"}, "did you mean 'released'"),
        ({"highway": True}, "highway = True is no slot"),
        ({"highway": 1.5}, "highway = 1.5 is no slot"),
        ({"overrides": ["bias"]}, "overrides = \\['bias'\\] must name options"),
        ({"overrides": {"uniform": -1.0}}, "uniform = -1.0 of a form must be finite, at least 0"),
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


@pytest.mark.parametrize("make", CELLS)
@pytest.mark.parametrize("name", ["inputs", "hidden", "memory", "kernel"])
def test_bad_sizes(make: Callable[..., DualMemoryCell], name: str) -> None:
    with pytest.raises(ZooError, match=f"{name} = 0 must be at least 1"):
        make(**{"inputs": 1, "hidden": 1, "memory": 1, "kernel": 1, name: 0})


def test_forms_by_name() -> None:
    assert find_form("paper") == PAPER == Form()
    assert find_form("released") == RELEASED
    assert find_form("released", {"layer_norm": False}) == replace(RELEASED, layer_norm=False)

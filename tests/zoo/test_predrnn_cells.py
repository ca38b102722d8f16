"""The cells of PredRNN and PredRNN++ against their equations written out in NumPy."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.predrnn import CELLS, SIZE, fill
from zoo.cells import (
    PAPER,
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

Array = np.ndarray[Any, np.dtype[np.float64]]

INPUTS, HIDDEN, MEMORY = 3, 2, 4  # every width differs
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
    y = np.zeros((outputs, *x.shape[1:]))
    for o, row, column, c, a, b in np.ndindex(outputs, *x.shape[1:], inputs, k, k):
        i, j = row + a - (k - 1) // 2, column + b - (k - 1) // 2
        if 0 <= i < x.shape[1] and 0 <= j < x.shape[2]:
            y[o, row, column] += weight[o, c, a, b] * x[c, i, j]
    return y


def source(cell: torch.nn.Module, name: str, x: Array, letters: str) -> dict[str, Array]:
    """What one convolution of a cell adds to each of the named gates, with its bias and layer norm if it has them."""
    values = {key.removeprefix("conv."): value.numpy() for key, value in cell.get_submodule(name).state_dict().items()}
    y = conv(x, values["weight"])
    if "bias" in values:
        y = y + values["bias"][:, None, None]
    if "norm.weight" in values:
        mean = y.sum() / y.size
        variance = ((y - mean) ** 2).sum() / y.size
        y = (y - mean) / np.sqrt(variance + 1e-5)
        y = y * values["norm.weight"][:, None, None] + values["norm.bias"][:, None, None]
    return dict(zip(letters, np.split(y, len(letters)), strict=True))


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


def tensors(*channels: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, count, *SIZE, generator=generator, dtype=torch.float64) for count in channels]


def assert_equal(values: torch.Tensor, expected: list[Array]) -> None:
    torch.testing.assert_close(values.detach(), torch.as_tensor(np.stack(expected)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("make", CELLS)
def test_a_step_equals_the_equations(make: Callable[..., DualMemoryCell], name: str) -> None:
    cell = make(INPUTS, HIDDEN, MEMORY, 3, FORMS[name])
    fill(cell)
    x, m, h, c = tensors(INPUTS, MEMORY, HIDDEN, HIDDEN)
    new_h, new_m, state = cell(x, m, DualState(h, c))
    clips = zip(*(t.numpy() for t in (x, m, h, c)), strict=True)
    hs, ms, cs = zip(*(written_out(cell, *clip) for clip in clips), strict=True)
    assert_equal(new_h, list(hs))
    assert_equal(new_m, list(ms))
    assert_equal(state.h, list(hs))
    assert_equal(state.c, list(cs))


@pytest.mark.parametrize("make", CELLS)
def test_a_step_where_memories_are_equally_wide_and_the_kernel_is_even(make: Callable[..., DualMemoryCell]) -> None:
    cell = make(INPUTS, HIDDEN, HIDDEN, 2, RELEASED)
    fill(cell)
    x, m, h, c = tensors(INPUTS, HIDDEN, HIDDEN, HIDDEN)
    new_h, memory, _ = cell(x, m, DualState(h, c))
    clips = zip(*(t.numpy() for t in (x, m, h, c)), strict=True)
    hs, ms, _ = zip(*(written_out(cell, *clip) for clip in clips), strict=True)
    assert_equal(new_h, list(hs))
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
    new_h, memory, state = cell(x, m, DualState(h, c))
    clips = zip(*(t.numpy() for t in (x, m, h, c)), strict=True)
    hs, ms, cs = zip(*(equation_1(weights, *clip) for clip in clips), strict=True)
    assert_equal(new_h, list(hs))
    assert_equal(memory, list(ms))
    assert_equal(state.c, list(cs))


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
    y, state = highway(x, highway.initial_state(2, SIZE)._replace(z=z))
    expected = []
    for one, before in zip(x.numpy(), z.numpy(), strict=True):
        parts = [source(highway, "from_x", one, "ps"), source(highway, "from_z", before, "ps")]
        s = sigmoid(gate("s", *parts))
        expected.append(s * np.tanh(gate("p", *parts)) + (1 - s) * before)
    assert_equal(y, expected)
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


@pytest.mark.parametrize("make", CELLS)
@pytest.mark.parametrize("name", ["inputs", "hidden", "memory", "kernel"])
def test_bad_sizes(make: Callable[..., DualMemoryCell], name: str) -> None:
    with pytest.raises(ZooError, match=f"{name} = 0 must be at least 1"):
        make(**{"inputs": 1, "hidden": 1, "memory": 1, "kernel": 1, name: 0})


def test_forms_by_name() -> None:
    assert find_form("paper") == PAPER == Form()
    assert find_form("released") == RELEASED
    assert find_form("released", {"layer_norm": False}) == replace(RELEASED, layer_norm=False)

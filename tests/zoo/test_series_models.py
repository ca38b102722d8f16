"""What every model of series must do; counts, reference outputs, and what is refused."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import zoo
from tests.support import baselines, reference
from tests.support.deep import leave_to_deep_tests
from zoo.cells.tt_recurrent import TTRecurrentCell
from zoo.cells.vector import LSTMCell, LSTMState
from zoo.errors import ZooError
from zoo.networks.sequence import SequenceToSequence
from zoo.predictors.losses import mean_error
from zoo.predictors.series_model import SeriesModel
from zoo.registry import find_model, register
from zoo.training.checks import check_steps
from zoo.training.compiled import compile_model, compiling

TINY: dict[str, dict[str, Any]] = {
    "lstm": {"hidden": 5, "columns": 2},
    "tt-lstm": {"hidden": 4, "lags": 2, "ranks": [2, 3], "columns": 2},
    "tt-rnn": {"hidden": 4, "lags": 3, "ranks": [2], "columns": 2},
}
names = pytest.mark.parametrize("name", reference.shipped_models("series"))
forms = pytest.mark.parametrize("form", [{}, {"shared": True, "first": "zero"}], ids=["paper", "released"])


def build(name: str, **options: Any) -> SequenceToSequence:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = zoo.create_model(name, **TINY[name] | options)
    assert isinstance(model, SequenceToSequence)
    return model


def series(steps: int, batch: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(batch, steps, 2, generator=torch.Generator().manual_seed(1), dtype=dtype)


@names
@forms
def test_shapes_and_range(name: str, form: dict[str, Any]) -> None:
    model = build(name, **form)
    y = model(series(3), 4)
    assert y.shape == (2, 4, 2)
    assert 0 < y.min() < y.max() < 1
    assert model(series(1), 1).shape == (2, 1, 2)


@names
@forms
def test_every_parameter_receives_a_gradient(name: str, form: dict[str, Any]) -> None:
    model = build(name, **form)
    model(series(3), 3).square().sum().backward()
    assert {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()} == set()


@names
@forms
def test_gradients_are_those_of_the_values(name: str, form: dict[str, Any]) -> None:
    model = build(name, **form).double()
    parameters = dict(model.named_parameters())
    x = series(3, dtype=torch.float64).requires_grad_()

    def call(x: Tensor, *values: Tensor) -> Tensor:
        y = torch.func.functional_call(model, dict(zip(parameters, values, strict=True)), (x, 3))
        assert isinstance(y, Tensor)
        return y

    assert torch.autograd.gradcheck(call, (x, *parameters.values()), fast_mode=True)


@names
def test_the_loss_falls(name: str) -> None:
    model, x = build(name), series(8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        loss = model.loss(model(x[:, :5], 3), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]
    assert min(losses) == min(losses[-5:])


@names
def test_clips_do_not_touch_each_other_and_a_longer_horizon_adds_steps(name: str) -> None:
    model, x = build(name).double(), series(4, batch=3, dtype=torch.float64)
    y = model(x, 5)
    for at in range(3):
        torch.testing.assert_close(model(x[at : at + 1], 5)[0], y[at], rtol=0, atol=1e-12)
    torch.testing.assert_close(model(x, 2), y[:, :2], rtol=0, atol=0)
    assert torch.equal(model(x, 5), y)
    assert [buffer for buffer, _ in model.named_buffers()] == []


@names
def test_true_values_are_read_where_the_mask_says_so(name: str) -> None:
    """With the true values throughout, the horizon is what one would predict from step to step."""
    model, x = build(name).double(), series(8, dtype=torch.float64)
    own, true = (model(x[:, :4], 4, x[:, 4:], torch.full((2, 3), flag)) for flag in (False, True))
    assert torch.equal(own, model(x[:, :4], 4))
    state = model.encode(x[:, :4].transpose(0, 1))
    stepwise = []
    for before in (None, x[:, 4], x[:, 5], x[:, 6]):
        step, state = model.forecast(state, before)
        stepwise.append(step)
    torch.testing.assert_close(true, torch.stack(stepwise, 1), rtol=0, atol=0)
    mixed = model(x[:, :4], 4, x[:, 4:], torch.tensor([[True, False, False], [False, True, True]]))
    assert torch.equal(mixed[0, :2], true[0, :2])
    assert not torch.allclose(mixed[0, 2:], true[0, 2:])
    reverse = torch.tensor([[False] * 3 + [True] * 3] * 2)  # observed values are always true
    assert torch.equal(model(x[:, :4], 4, x[:, 4:], reverse), true)


@names
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model, other = build(name), build(name)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other(series(3), 2), model(series(3), 2))


@names
def test_recomputed_gradients_are_the_same(name: str) -> None:
    gradients = []
    for recompute in (False, True):
        model = build(name)
        model.recompute = recompute
        model.loss(model(series(6)[:, :3], 3), series(6)).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))  # type: ignore[arg-type]


@names
def test_bfloat16_autocast_and_compilation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = build(name), series(2)
    exact = model(x, 2)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(x, 2)
    assert (rough - exact).abs().max() < 0.05
    if name != "tt-lstm":
        leave_to_deep_tests("one series model is compiled; all of them")
    graphs = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    compile_model(model)
    with compiling():
        torch.testing.assert_close(model(x, 2), exact)
    assert len(graphs) == 1  # of all steps of all layers


# ---- what is published --------------------------------------------------------------------------------------


@names
def test_the_counts_that_are_listed(name: str) -> None:
    count = sum(parameter.numel() for parameter in zoo.create_model(name).parameters())
    assert find_model(name).parameters == count


@pytest.mark.parametrize(("name", "options"), [("tt-lstm", {}), ("tt-rnn", {"hidden": 14})])
def test_the_lstm_is_as_large_as_what_it_is_compared_with(name: str, options: dict[str, Any]) -> None:
    """No other number of hidden units comes nearer to the count of the whole model."""
    wanted = find_model(name).parameters
    assert wanted is not None
    hidden = {**find_model("lstm").options, **options}["hidden"]
    difference = {
        units: abs(sum(p.numel() for p in zoo.create_model("lstm", hidden=units).parameters()) - wanted)
        for units in range(hidden - 2, hidden + 3)
    }
    assert min(difference, key=lambda units: difference[units]) == hidden


@pytest.mark.parametrize(
    ("hidden", "lags", "ranks", "count"),
    [(8, 2, [2], 1250), (16, 2, [2], 4546), (16, 3, [2, 2], 6822), (16, 4, [4, 4], 18196)],
)
def test_a_layer_has_the_published_count(hidden: int, lags: int, ranks: list[int], count: int) -> None:
    model = zoo.create_model("tt-lstm", hidden=hidden, lags=lags, ranks=ranks, layers=1)
    assert sum(p.numel() for p in model.get_submodule("encoder.0").parameters()) == count


@pytest.mark.parametrize("first", ["zero", "last"])
@pytest.mark.parametrize("shared", [False, True])
def test_outputs_of_an_independent_implementation(first: str, shared: bool) -> None:
    meta, weights, data = baselines.read("tt_lstm_seq2seq")
    model = SequenceToSequence(
        lambda inputs: TTRecurrentCell(inputs, meta["hidden"], meta["lags"], meta["ranks"], lstm=True),
        meta["layers"],
        meta["input"],
        first,  # type: ignore[arg-type]
        shared,
    ).double()
    parts = {"U": "from_x.weight", "b": "from_x.bias", "A.0": "cores.0", "A.1": "cores.1"}
    state = {"output.weight": weights["decoder.output.W"], "output.bias": weights["decoder.output.b"]}
    for coder in ("encoder",) if shared else ("encoder", "decoder"):
        for layer in range(meta["layers"]):
            for theirs, ours in parts.items():
                state[f"{coder}.{layer}.{ours}"] = weights[f"{coder}.{layer}.{theirs}"]
    model.load_state_dict(state)
    x = data["x"].requires_grad_()
    y = model(x, meta["horizon"])
    expected = data[f"y_{'shared_' if shared else ''}start_{first}"]
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))
    if first == "zero" and not shared:
        (0.5 * y.square().sum()).backward()
        assert x.grad is not None
        torch.testing.assert_close(x.grad, data["grad_x"], rtol=1e-8, atol=1e-12)


def test_the_outer_product_is_never_formed() -> None:
    """A train of order 12 over 33 entries: its tensor would have 33¹² of them."""
    model = zoo.create_model("tt-rnn", ranks=[2] * 11, layers=1)
    assert model(torch.rand(1, 4, 3), 2).isfinite().all()


def test_a_step_of_the_lstm_against_its_equations() -> None:
    cell = LSTMCell(inputs=3, hidden=4).double()
    x, h, c = torch.rand(2, 3).double(), torch.rand(2, 4).double(), torch.rand(2, 4).double()
    u, b, w = (p.detach().numpy() for p in (cell.from_x.weight, cell.from_x.bias, cell.from_h.weight))
    i, g, f, o = np.split(x.numpy() @ u.T + b + h.numpy() @ w.T, 4, axis=1)
    new_c = 1 / (1 + np.exp(-f - 1)) * c.numpy() + 1 / (1 + np.exp(-i)) * np.tanh(g)
    new_h = 1 / (1 + np.exp(-o)) * np.tanh(new_c)
    output, state = cell(x, LSTMState(h, c))
    for ours, theirs in ((output, new_h), (state.h, new_h), (state.c, new_c)):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-12)


# ---- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("tt-lstm", {"patch": 2}, "'patch'; it is an option of video models, and this model reads series"),
        ("tt-rnn", {"canvas": [8, 8]}, "'canvas'; it is an option of video models"),
        ("lstm", {"channels": 3}, "'channels'; it is an option of video models"),
        ("lstm", {"lags": 2}, "no option 'lags'"),
        ("lstm", {"layers": 0}, "layers = 0 must be at least 1"),
        ("lstm", {"hidden": 0}, "hidden = 0"),
        ("lstm", {"columns": 0}, "columns = 0"),
        ("lstm", {"first": "mean"}, "first = 'mean'"),
        ("tt-lstm", {"lags": 0}, "lags = 0"),
        ("tt-lstm", {"ranks": [2, 0]}, r"ranks = \[2, 0\]"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        zoo.create_model(name, **options)


@pytest.mark.parametrize(
    ("x", "horizon", "words"),
    [
        (torch.rand(2, 3, 1, 8, 8), 2, r"but must be \(B, T_in ≥ 1, 2\)"),
        (torch.rand(2, 3, 3), 2, r"but must be \(B, T_in ≥ 1, 2\)"),
        (torch.rand(2, 0, 2), 2, r"but must be \(B, T_in ≥ 1, 2\)"),
        (torch.rand(2, 3, 2), 0, "horizon = 0"),
    ],
)
def test_bad_input(x: Tensor, horizon: int, words: str) -> None:
    with pytest.raises(ZooError, match=words):
        build("lstm")(x, horizon)


def test_the_loss_is_one_of_values() -> None:
    model, x = build("lstm"), series(6)
    y = model(x[:, :2], 4)
    assert torch.equal(model.loss(y, x, l1=0.5, l2=2), mean_error(y, x[:, 2:], 0.5, 2))
    for term in ("cross_entropy", "gradient"):
        with pytest.raises(ZooError, match=f"{term} = 1: this loss is defined for frames"):
            model.loss(y, x, **{term: 1})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "tt-lstm", "dataset": "moving-mnist"}, "tt-lstm reads series, but moving-mnist is video; .* lorenz"),
        ({"model": "conv-lstm", "dataset": "lorenz"}, "conv-lstm reads video, but lorenz is series; .* moving-mnist"),
        ({"model": "lstm", "preset": "brief"}, "brief is for moving-mnist"),
        ({"model": "lstm", "data": {"size": 32}}, "no setting 'size' in data"),
        ({"model": "lstm", "training": {"gradient": 1.0}}, "training.gradient is a loss of frames"),
        ({"model": "lstm", "training": {"cross_entropy": 1.0}}, "training.cross_entropy is a loss of frames"),
        ({"model": "lstm", "preset": "paper", "protocol": "predrnn-pp"}, "no settings are published for lorenz"),
    ],
)
def test_recipes_of_series(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        zoo.recipe(**arguments)


def test_presets_of_series() -> None:
    for name in reference.shipped_models("series"):
        for preset in ("paper", "small", "demo"):
            recipe = zoo.recipe(name, preset)
            assert (recipe.data.name, recipe.training.precision, recipe.training.l1) == ("lorenz", "32-true", 0)
            assert (recipe.data.observed, recipe.data.length, recipe.data.endless) == (10, 40, True)
    paper = zoo.recipe("tt-lstm", "paper")
    assert (paper.optimizer.method, paper.learning_rate.base, paper.learning_rate.schedule) == ("rmsprop", 0.01, "step")
    assert (paper.training.steps, paper.training.batch_size, paper.training.clip_norm) == (5000, 50, 10)


def test_a_model_must_read_what_it_is_registered_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.registry._MODELS", {**zoo.registry._MODELS})

    @register("test-still", paper="none", reads="video")
    class Still(SeriesModel):
        """Says that it reads video."""

        def __init__(self) -> None:
            super().__init__(3)

        def forward(self, x: Tensor, horizon: int, truth: Any = None, use_truth: Any = None) -> Tensor:
            return x[:, -1:].expand(-1, horizon, -1)

    with pytest.raises(ZooError, match="test-still is registered as a model of video, but it makes a Still"):
        check_steps(zoo.recipe("test-still"), Still())
    with pytest.raises(ZooError, match=r"lorenz has 3 columns, but lstm reads 2; set options\.columns to 3"):
        check_steps(zoo.recipe("lstm", options={"columns": 2}), build("lstm"))

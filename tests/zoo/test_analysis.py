"""The analyses against numbers found by other means."""

import csv
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from tests.support.reference import shipped_models
from tests.support.tiny import build
from zoo.data import MovingMNIST
from zoo.errors import ZooError
from zoo.evaluation.analysis import INK, Series, entanglement, gradient_norms
from zoo.predictors.forecaster import Forecaster
from zoo.predictors.normalizing import normalize
from zoo.registry import find_model

TINY: dict[str, Any] = {"hidden": [2, 2], "layers": [1, 1], "kernel": 3, "patch": 4}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> MovingMNIST:
    root = tmp_path_factory.mktemp("empty")
    return MovingMNIST("test", source="embedded", size=32, length=6, root=root)


def test_gradients_of_frames_and_states_are_those_of_autograd(clips: MovingMNIST) -> None:
    torch.manual_seed(0)
    model = zoo.create_model("conv-lstm", sigmoid=True, **TINY).double()
    model.output.weight.data *= 5  # so that the sigmoid matters
    series = gradient_norms({"mine": model}, clips, 3, observed=2, count=3, batch=2)

    x = clips.clips(range(3)).double()
    seen = x[:, :2].clone().requires_grad_()
    error = (model(seen, 3)[:, -1] - x[:, 4]).square().sum()
    (gradient,) = torch.autograd.grad(error, seen)
    expected = gradient.flatten(2).norm(dim=2).mean(0)
    torch.testing.assert_close(torch.as_tensor(series.values["observed frames"]["mine"]), expected)

    # the top layer's h after the first frame, on which nothing else of that step depends
    norms = series.values["mine: states"]
    assert set(norms) == {
        f"block {block}, layer 1: {part}" for block in (1, 2) for part in ("hidden state h", "cell state c")
    }
    frames = torch.nn.functional.pixel_unshuffle(x.transpose(0, 1), 4)
    _, state = model.read(frames[:1], model.initial_state(3, (8, 8), x.device, x.dtype))
    h = state[1][0].h.detach().requires_grad_()
    predicted, state = model.predict(frames[1:2], (state[0], (state[1][0]._replace(h=h),)))
    for _ in range(2):
        predicted, state = model.predict(predicted[-1:], state)
    (slope,) = torch.autograd.grad((predicted[-1] - frames[4]).square().sum(), h)
    assert norms["block 2, layer 1: hidden state h"][0] == pytest.approx(slope.flatten(1).norm(dim=1).mean().item())


@pytest.mark.parametrize("sigmoid", [False, True])
def test_gradients_of_normalised_frames_are_those_of_frames(clips: MovingMNIST, sigmoid: bool) -> None:
    model = build("conv-lstm", sigmoid=sigmoid).double()
    normalize(model, [0.4], [0.25])
    series = gradient_norms({"m": model}, clips, 2, observed=2, count=2)
    x = clips.clips(range(2)).double()
    seen = x[:, :2].clone().requires_grad_()
    (gradient,) = torch.autograd.grad((model(seen, 2)[:, -1] - x[:, 3]).square().sum(), seen)
    expected = gradient.flatten(2).norm(dim=2).mean(0)
    torch.testing.assert_close(torch.as_tensor(series.values["observed frames"]["m"]), expected)


def test_gradients_reach_two_memories_and_a_highway(clips: MovingMNIST) -> None:
    """Each found again from the loss as a function of that state alone."""
    torch.manual_seed(0)
    model = zoo.create_model("predrnn-pp", hidden=[2, 3], kernel=3).double()
    norms = gradient_norms({"m": model}, clips, 2, observed=2, count=2, batch=2).values["m: states"]
    frames = torch.nn.functional.pixel_unshuffle(clips.clips(range(2)).double().transpose(0, 1), 4)
    _, after = model.read(frames[:1], model.initial_state(2, (8, 8), frames.device, frames.dtype))

    def last_error(state: Any) -> Tensor:
        predicted, state = model.read(frames[1:2], state)
        predicted, _ = model.read(predicted, state)
        return (predicted[-1] - frames[3]).square().sum()

    # nothing else of the first step depends on the top layer's h
    h = after.layers[1].h.detach().requires_grad_()
    (slope,) = torch.autograd.grad(
        last_error(after._replace(layers=(after.layers[0], after.layers[1]._replace(h=h)))), h
    )
    assert norms["layer 2: hidden state h"][0] == pytest.approx(slope.flatten(1).norm(dim=1).mean().item(), rel=1e-9)
    assert set(norms) == {
        *(f"layer {layer}: {part}" for layer in (1, 2) for part in ("hidden state h", "cell state c")),
        "spatial memory m",
        "highway z",
    }
    assert all(values[0] > 0 for values in norms.values())


@pytest.mark.parametrize("name", shipped_models())
def test_every_model_has_gradients_of_all_its_state(clips: MovingMNIST, name: str) -> None:
    model = build(name, **({"canvas": [32, 32]} if "canvas" in find_model(name).options else {}))
    if isinstance(model, Forecaster):  # it has no state that goes on from observed to predicted frames
        with pytest.raises(ZooError, match=f"{name} has no state that passes from frame to frame"):
            gradient_norms({name: model}, clips, 2, observed=2, count=1)
        return
    values = gradient_norms({name: model}, clips, 2, observed=2, count=1).values
    assert (values["observed frames"][name] > 0).all()
    used = [line for line, norms in values[f"{name}: states"].items() if norms.any()]
    assert used
    assert all(used)  # each has a name


def test_conv_tt_lstm_has_gradients_of_hidden_states_that_it_does_not_keep(clips: MovingMNIST) -> None:
    torch.manual_seed(0)
    model = zoo.create_model("conv-tt-lstm-sw", order=2, steps=2, rank=2, **TINY).double()
    norms = gradient_norms({"m": model}, clips, 2, observed=2, count=1, batch=1).values["m: states"]
    names = [f"block {block}, layer 1: {part}" for block in (1, 2) for part in ("hidden state h", "cell state c")]
    windows = ["window 1, 1 step ahead", "window 2, 1 step ahead", "window 2, 2 steps ahead"]
    assert set(norms) == {*names, *(f"block {block}, layer 1: {window}" for block in (1, 2) for window in windows)}

    # the top layer's h of the second frame, shifted by hand: output and windows follow
    cell, shift = model.blocks[1][0], torch.zeros(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    step, frame = cell.step, iter(range(3))

    def shifted(projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, after = step(projected, state)
        if next(frame) == 1:
            h = h + shift
            after = after._replace(pending=cell._advance(state.pending, h))
        return h, after

    cell.step = shifted
    truth = torch.nn.functional.pixel_unshuffle(clips.clips([0]).double().transpose(0, 1), 4)
    state = model.initial_state(1, (8, 8), truth.device, truth.dtype)
    for t in range(2):
        predicted, state = model.predict(truth[t : t + 1], state)
    predicted, _ = model.predict(predicted[-1:], state)
    (slope,) = torch.autograd.grad((predicted[-1] - truth[3]).square().sum(), shift)
    assert norms["block 2, layer 1: hidden state h"][1] == pytest.approx(slope.norm().item(), rel=1e-9)


@pytest.mark.parametrize(("models", "columns"), [(2, 1), (3, 2), (5, 2)])
def test_many_panels_stand_in_two_columns(models: int, columns: int) -> None:
    """In their order, the maps with one scale of colours."""
    lines = {"line": np.ones(4)}
    panels = {"observed frames": lines} | {f"m{n}": lines for n in range(models)}
    figure = Series(panels, "norm", "", maps=[name for name in panels if name != "observed frames"]).figure()
    *axes, bar = figure.axes
    assert [each.get_title() for each in axes] == list(panels)
    assert bar.get_ylabel() == "norm"
    figure.draw_without_rendering()
    assert len({round(each.get_position().x0, 2) for each in axes}) == columns


def test_norms_do_not_depend_on_the_batch(clips: MovingMNIST) -> None:
    torch.manual_seed(0)
    model = zoo.create_model("conv-tt-lstm-sw", **TINY)
    one, many = (gradient_norms({"m": model}, clips, 2, observed=3, count=5, batch=b) for b in (1, 5))
    for panel, lines in one.values.items():
        for line, values in lines.items():
            np.testing.assert_allclose(values, many.values[panel][line], rtol=1e-4, atol=1e-9)


def test_memory_does_not_grow_with_the_clips(clips: MovingMNIST) -> None:
    model, drawn, alive = zoo.create_model("conv-lstm", **TINY), [], []

    class Watched(MovingMNIST):
        def __init__(self, of: MovingMNIST) -> None:
            self.__dict__.update(vars(of))

        def render(self, batch: Any) -> Tensor:
            frames = super().render(batch)
            drawn.append(weakref.ref(frames))
            alive.append(sum(ref() is not None for ref in drawn))
            return frames

        def layers(self, plan: Any) -> Tensor:
            frames = super().layers(plan)
            drawn.append(weakref.ref(frames))
            alive.append(sum(ref() is not None for ref in drawn))
            return frames

    gradient_norms({"m": model}, Watched(clips), 2, observed=2, count=24, batch=2)
    assert len(drawn) == 24  # digits, and frames made of them
    entanglement(Watched(clips), count=24, batch=2)
    assert len(drawn) == 36
    assert max(alive) <= 3


def test_entanglement_counts_shared_bright_pixels(clips: MovingMNIST) -> None:
    plan = clips.fetch(range(40))
    expected = np.zeros(6)
    for images, corners in zip(plan.images.numpy(), plan.corners.numpy(), strict=True):
        for t, places in enumerate(corners):
            count = np.zeros((32, 32), int)
            for image, (row, column) in zip(images, places, strict=True):
                count[row : row + 28, column : column + 28] += image > INK
            expected[t] += (count > 1).any()
    frequency = entanglement(clips, count=40, batch=7).values["entangled digits"]["frequency"]
    np.testing.assert_array_equal(frequency, expected / 40)
    assert frequency.min() > 0


def test_one_digit_is_never_entangled(tmp_path: Path) -> None:
    alone = MovingMNIST("test", source="embedded", digits=1, size=32, length=3, root=tmp_path)
    assert entanglement(alone, count=10).values["entangled digits"]["frequency"].tolist() == [0, 0, 0]


def test_a_series_is_written_as_table_and_picture(clips: MovingMNIST, tmp_path: Path) -> None:
    series = entanglement(clips, count=3)
    series.to_csv(tmp_path / "e.csv")
    rows = list(csv.DictReader((tmp_path / "e.csv").open()))
    assert [row["frame"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [float(row["value"]) for row in rows] == series.values["entangled digits"]["frequency"].tolist()
    assert [axes.get_title() for axes in series.figure().axes] == ["entangled digits"]


def test_bad_input_is_refused(clips: MovingMNIST) -> None:
    with pytest.raises(ZooError, match="no models"):
        gradient_norms({}, clips)
    with pytest.raises(ZooError, match="too short"):
        gradient_norms({"m": zoo.create_model("conv-lstm", **TINY)}, clips, 10)
    with pytest.raises(ZooError, match="count = 0"):
        entanglement(clips, count=0)
    with pytest.raises(ZooError, match="blocks of 3×3"):
        gradient_norms({"m": zoo.create_model("conv-lstm", **{**TINY, "patch": 3})}, clips, 2, observed=2, count=1)
    with pytest.raises(ZooError, match="frames = 7 must be from 1 to 6"):
        entanglement(clips, frames=7)
    assert len(entanglement(clips, frames=1, count=2).values["entangled digits"]["frequency"]) == 1

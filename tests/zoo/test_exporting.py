"""Exported networks give the model's numbers in other programs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from tests.support.deep import leave_to_deep_tests
from tests.support.runs import run_command
from tests.support.tiny import OPTIONS, build, leave_others_to_deep_tests
from zoo.errors import ZooError
from zoo.model_files.exporting import export_rollout, export_step
from zoo.predictors.predictor import Predictor
from zoo.predictors.recurrent import RecurrentPredictor
from zoo.settings import LorenzData, MovingMNISTData, PythonData, Recipe

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
TINY: dict[str, dict[str, Any]] = {
    "conv-lstm": {"hidden": [2], "layers": [1], "kernel": 3, "patch": 2},
    "conv-tt-lstm-sw": {"hidden": [2], "layers": [1], "kernel": 3, "order": 2, "steps": 3, "rank": 2},
}


def made(name: str, size: int = 16) -> tuple[Predictor, Recipe]:
    torch.manual_seed(0)
    model = zoo.create_model(name, **TINY[name]).eval()
    return model, Recipe(name, TINY[name], MovingMNISTData(size=size, observed=2, length=4))


def clips(batch: int, frames: int = 2, size: int = 16) -> Tensor:
    return torch.rand(batch, frames, 1, size, size, generator=torch.Generator().manual_seed(1))


def session(path: Path) -> Any:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_onnx_predicts_for_any_number_of_clips_of_any_size(tmp_path: Path) -> None:
    model, recipe = made("conv-lstm")
    said = export_rollout(tmp_path / "x.onnx", model, recipe, 2)
    assert said == "x (batch, 2, 1, H, W, multiples of 2) to predictions (batch, 2, 1, H, W, multiples of 2)"
    run = session(tmp_path / "x.onnx")
    for batch, size in [(1, 16), (5, 22)]:
        x = clips(batch, size=size)
        (predictions,) = run.run(None, {"x": x.numpy()})
        with torch.no_grad():
            expected = model(x, 2)[:, -2:]
        np.testing.assert_allclose(predictions, expected, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


@pytest.mark.parametrize("name", ["tt-rnn", "tt-lstm", "lstm"])
def test_onnx_predicts_any_number_of_series(name: str, tmp_path: Path) -> None:
    if name != "lstm":
        leave_to_deep_tests("one network for series is exported; the others")
    torch.manual_seed(0)
    model = zoo.create_model(name, hidden=3).eval()
    export_rollout(tmp_path / "x.onnx", model, Recipe(name, {"hidden": 3}, LorenzData(observed=2, length=4)), 2)
    run = session(tmp_path / "x.onnx")
    for batch in (1, 5):
        x = torch.rand(batch, 2, 3, generator=torch.Generator().manual_seed(1))
        (predictions,) = run.run(None, {"x": x.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(predictions, model(x, 2)[:, -2:], atol=1e-5)


def test_the_step_rolls_out_over_a_longer_horizon(tmp_path: Path) -> None:
    model, recipe = made("conv-tt-lstm-sw")
    export_step(tmp_path / "x.onnx", model, recipe)
    run, x, horizon = session(tmp_path / "x.onnx"), clips(3), 9
    with np.load(tmp_path / "x.npz") as first:
        axes = {each.name: [type(side) for side in each.shape].index(str) for each in run.get_inputs()}
        state = {key: np.repeat(first[key], 3, axes[key]) for key in first.files}
    predictions: list[Any] = []
    for t in range(2 + horizon - 1):
        frame = x[:, t].numpy() if t < 2 else predictions[-1]
        prediction, *after = run.run(None, {"frame": frame, **state})
        state = dict(zip(state, after, strict=True))
        predictions.append(prediction)
    with torch.no_grad():
        expected = model(x, horizon)[:, -horizon:]
    np.testing.assert_allclose(np.stack(predictions[-horizon:], 1), expected, atol=1e-4)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_the_step_of_every_recurrent_model_is_written(name: str, tmp_path: Path) -> None:
    """Also of models in whose state a part is missing, such as the highway of a zigzag without one."""
    model = build(name).eval()
    if not isinstance(model, RecurrentPredictor):
        pytest.skip("it does not read frame after frame")
    if name not in ("causal-lstm", "predrnn", "e3d-lstm"):  # a part of the state is missing, or the state grows
        leave_others_to_deep_tests(name)
    if name == "e3d-lstm":
        with pytest.raises(ZooError, match="the state of E3DNetwork grows from step to step"):
            export_step(tmp_path / "x.pt2", model, Recipe(name, OPTIONS[name], MovingMNISTData(size=16)))
        return
    export_step(tmp_path / "x.pt2", model, Recipe(name, OPTIONS[name], MovingMNISTData(size=16, observed=2, length=4)))
    step, x = torch.export.load(tmp_path / "x.pt2").module(), clips(1)
    with np.load(tmp_path / "x.npz") as first:
        state = [torch.from_numpy(first[key]) for key in first.files]
    frame = x[:, 0]
    with torch.no_grad():
        for t in range(3):
            frame, *state = step(x[:, t] if t < 2 else frame, *state)
        np.testing.assert_allclose(frame, model(x, 2)[:, -1], atol=1e-4)


def test_a_state_with_a_number_that_changes_is_refused(tmp_path: Path) -> None:
    class Counting(RecurrentPredictor):
        def initial_state(self, batch: int, size: Any, device: Any, dtype: Any) -> tuple[Tensor, int]:
            return torch.zeros(batch, self.channels, *size), 0

        def read(self, frames: Tensor, state: tuple[Tensor, int]) -> tuple[Tensor, tuple[Tensor, int]]:
            return frames + state[0], (frames[-1], state[1] + 1)

    recipe = Recipe("counting", {}, MovingMNISTData(size=16, observed=2, length=4))
    with pytest.raises(ZooError, match="parts that are no tensors and change from step to step"):
        export_step(tmp_path / "x.pt2", Counting(), recipe)
    assert list(tmp_path.iterdir()) == []


def test_pt2_is_loaded_in_another_process(tmp_path: Path) -> None:
    model, recipe = made("conv-lstm")
    export_rollout(tmp_path / "x.pt2", model, recipe, 2)
    np.save(tmp_path / "x.npy", clips(5).numpy())
    code = (
        "import numpy as np, sys, torch\n"
        "network = torch.export.load('x.pt2').module()\n"
        "np.save('y.npy', network(torch.from_numpy(np.load('x.npy'))).detach().numpy())\n"
        "assert 'zoo' not in sys.modules\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
    with torch.no_grad():
        expected = model(clips(5), 2)[:, -2:]
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-5)


@pytest.mark.parametrize("sigmoid", [False, True])
def test_normalisation_is_a_part_of_the_network(sigmoid: bool, tmp_path: Path) -> None:
    if not sigmoid:
        leave_to_deep_tests("a network with a sigmoid is exported; one without")
    from zoo.model_files.building import build_model

    options = {"hidden": [2], "layers": [1], "kernel": 3, "sigmoid": sigmoid, "patch": 2}
    data = PythonData(size=16, observed=3, length=6, mean=[0.25], std=[0.5])
    recipe = Recipe("conv-lstm", options, data)
    model = build_model(recipe).eval()
    export_step(tmp_path / "s.pt2", model, recipe)
    export_rollout(tmp_path / "x.onnx", model, recipe, 2)
    x = clips(1, frames=3)
    with torch.no_grad():
        expected = model(x, 2)[:, -2:]
    (predictions,) = session(tmp_path / "x.onnx").run(None, {"x": x.numpy()})
    np.testing.assert_allclose(predictions, expected, atol=1e-5)
    step = torch.export.load(tmp_path / "s.pt2").module()
    with np.load(tmp_path / "s.npz") as first:
        state = [torch.from_numpy(first[key]) for key in first.files]
    frame = x[:, 0]
    for t in range(4):
        frame, *state = step(x[:, t] if t < 3 else frame, *state)
    np.testing.assert_allclose(frame.detach(), expected[:, -1], atol=1e-5)


def test_the_case_of_a_suffix_does_not_matter(tmp_path: Path) -> None:
    model, recipe = made("conv-lstm")
    export_rollout(tmp_path / "x.PT2", model, recipe, 2)
    torch.export.load(tmp_path / "x.PT2")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("conv-lstm:moving-mnist-brief -o x.onn", "legal are .safetensors, .onnx, .pt2"),
        ("conv-lstm:moving-mnist-brief -o x.safetensors --step", "--step and --horizon are for .onnx and .pt2"),
        ("conv-lstm:moving-mnist-brief -o x.onnx --step --horizon 3", "leave one out"),
        ("conv-lstm:moving-mnist-brief -o x.onnx --horizon 0", "horizon = 0"),
        ("conv-lstm-2015:moving-mnist-brief -o x.onnx --step", "has no single step"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    line: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not zoo.pretrained_names(line.partition(":")[0]):
        pytest.skip("no weights ship for this model")
    monkeypatch.chdir(tmp_path)
    assert run_command("export", *line.split()) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_an_exporter_that_fails_leaves_nothing(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **named: Any) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.export, "save", fail)
    monkeypatch.setattr(torch.onnx, "export", fail)
    model, recipe = made("conv-lstm")
    with pytest.raises(ZooError, match=r"cannot be written .*no such operator"):
        export_rollout(tmp_path / f"x{suffix}", model, recipe, 1)
    assert list(tmp_path.iterdir()) == []

"""What makes a training step faster or smaller gives the numbers of the plain loop."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config as inductor
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager
from torch._inductor.exc import TritonMissing
from torch.utils.checkpoint import checkpoint

import zoo
from tensortrain.profiling.memory import peak_bytes
from tests.support.deep import leave_to_deep_tests
from tests.support.reference import shipped_models
from tests.support.runs import RECIPE, last, with_training
from tests.support.tiny import build, clips
from zoo.errors import ZooError
from zoo.predictors.forecaster import Forecaster
from zoo.predictors.recurrent import RecurrentPredictor
from zoo.predictors.video_model import VideoModel
from zoo.settings import ConstantRate
from zoo.training import fit
from zoo.training.compiled import compile_model, compiling
from zoo.training.metrics_log import Meter
from zoo.training.nonfinite import FirstNonFinite
from zoo.training.step import StepInputs, TrainState, train_step

OBSERVED, HORIZON = 3, 3
MODELS = shipped_models()
UNCOMPILED = {"dfn", "e3d-lstm"}  # recurrences of which no part is a cell's step


def loss_and_gradients(model: VideoModel) -> list[Tensor]:
    """Of a clip that is read by truth and by prediction, with later frames that depend on earlier predictions."""
    frames = clips(OBSERVED + HORIZON, dtype=torch.float64)
    use_truth = torch.tensor([[True, False], [False, False]])
    predictions = model(frames[:, :OBSERVED], HORIZON, frames[:, OBSERVED:], use_truth)
    loss = (predictions - frames[:, -predictions.shape[1] :]).square().sum()
    return [predictions.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


def assert_near(results: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(results, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_recomputed_frames(name: str) -> None:
    model = build(name).double()
    assert isinstance(model, RecurrentPredictor | Forecaster)
    expected = loss_and_gradients(model)
    model.recompute = True
    assert_near(loss_and_gradients(model), expected)
    with torch.no_grad():
        assert model(clips(2, dtype=torch.float64), 1)[:, -1:].shape == (2, 1, 1, 16, 16)


@pytest.mark.parametrize(
    ("name", "options", "observed"),
    [
        ("conv-tt-lstm-sw", {"hidden": (16, 16), "layers": (2, 2), "kernel": 3}, 6),
        ("traj-gru", {"first": 4, "hidden": (8, 8), "links": 5}, 11),  # most of it in the encoder
    ],
)
def test_recomputed_frames_take_little_memory(name: str, options: dict[str, Any], observed: int) -> None:
    model = zoo.create_model(name, **options)
    assert isinstance(model, RecurrentPredictor | Forecaster)
    frames = torch.rand(2, 12, 1, 24, 24)

    def step() -> None:
        model(frames[:, :observed], 12 - observed).square().mean().backward()
        model.zero_grad()

    plain = peak_bytes(step, torch.device("cpu"))
    model.recompute = True
    assert peak_bytes(step, torch.device("cpu")) < 0.4 * plain


def test_predicting_takes_no_more_memory_than_frame_by_frame() -> None:
    model = zoo.create_model("conv-lstm", hidden=(16,), layers=(2,), kernel=3)
    frames = torch.rand(2, 12, 1, 24, 24)
    with torch.inference_mode():
        few, many = (peak_bytes(lambda n=n: model(frames[:, :n], 1), torch.device("cpu")) for n in (2, 12))
    assert many < few + 2 * frames.nbytes


@pytest.fixture
def no_code(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Compile up to the graphs, without a compiler of code; the runs of those graphs, as they come."""
    runs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        run = aot_eager(graph, inputs)

        def counted(*values: Any) -> Any:
            runs.append(graph)
            return run(*values)

        return counted

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    return runs


@pytest.mark.parametrize("name", [name for name in MODELS if name not in UNCOMPILED])
def test_compiled_cells(name: str, no_code: list[Any]) -> None:
    if name not in ("conv-tt-lstm-sw", "predrnn-ghu"):
        leave_to_deep_tests("the cells of two models are compiled; those of all")
    model = build(name).double()
    expected = loss_and_gradients(model)
    compile_model(model)
    with compiling():
        assert_near(loss_and_gradients(model), expected)
    assert no_code


def test_training_with_either(tmp_path: Path, no_code: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    recomputed = []
    monkeypatch.setattr(
        "zoo.predictors.rollout.checkpoint", lambda *args, **how: recomputed.append(args) or checkpoint(*args, **how)
    )
    recipe = replace(
        with_training(steps=3, validate_every=3, precision="64-true"),
        model="conv-lstm",
        options={"hidden": [3], "layers": [2], "kernel": 3, "patch": 4},
    )
    fit(recipe, tmp_path / "plain", progress=False)
    for name in ("compile", "recompute"):
        changed = replace(recipe, training=replace(recipe.training, **{name: True}))
        fit(changed, tmp_path / name, progress=False)
        for key, weight in last(tmp_path / "plain")["weights"].items():
            torch.testing.assert_close(last(tmp_path / name)["weights"][key], weight, rtol=0, atol=1e-10)
        assert bool(no_code) == (name == "compile")
        assert bool(recomputed) == (name == "recompute")
        no_code.clear()


def test_the_cause_is_looked_for_in_the_model_as_written(
    tmp_path: Path, no_code: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(
        with_training(steps=3, compile=True),
        model="conv-lstm",
        options={"hidden": [3], "layers": [2], "kernel": 3, "patch": 4},
        learning_rate=ConstantRate(base=1e20),
    )
    seen = []

    class Watched(FirstNonFinite):
        def __exit__(self, *error: Any) -> None:
            seen.append((len(no_code) - self.before, self.cause))
            super().__exit__(*error)

        def __enter__(self) -> Any:
            self.before = len(no_code)
            return super().__enter__()

    monkeypatch.setattr("zoo.training.nonfinite.FirstNonFinite", Watched)
    with pytest.raises(ZooError, match=r"step 1 gave .* not finite, first "):
        fit(recipe, tmp_path / "run", progress=False)
    assert no_code
    ((runs, cause),) = seen
    assert runs == 0
    assert cause


def test_compiled_cells_record_no_graphs_of_their_own() -> None:
    """Not even where the environment asks for it: the whole step is recorded as one."""
    with inductor.patch({"triton.cudagraphs": True}):
        with compiling():
            assert not inductor.triton.cudagraphs
        assert inductor.triton.cudagraphs


@pytest.mark.parametrize("deterministic", [True, False])
def test_algorithms_repeat_or_are_the_fastest(
    deterministic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cudnn, seen = torch.backends.cudnn, set()
    before = cudnn.deterministic, cudnn.benchmark

    def noting(state: TrainState, inputs: StepInputs) -> None:
        seen.add((cudnn.deterministic, cudnn.benchmark))
        train_step(state, inputs)

    monkeypatch.setattr("zoo.training.graph.train_step", noting)
    fit(with_training(steps=2, deterministic=deterministic), tmp_path, progress=False)
    assert seen == {(deterministic, not deterministic)}
    assert (cudnn.deterministic, cudnn.benchmark) == before


def test_nothing_to_compile(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="this model has no cell with a step"):
        fit(replace(RECIPE, training=replace(RECIPE.training, compile=True)), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    for name in UNCOMPILED:
        with pytest.raises(ZooError, match="this model has no cell with a step"):
            compile_model(build(name))


@pytest.mark.parametrize(
    ("error", "words"), [(RuntimeError("no C++ compiler"), r"no C\+\+ compiler"), (TritonMissing(None), "triton")]
)
def test_a_compiler_that_fails(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(*args: Any) -> None:
        raise error

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    model = build("conv-lstm")
    compile_model(model)
    with pytest.raises(ZooError, match=rf"{words}.*leave training.compile off"), compiling():
        model(clips(2), 1)


def test_the_meter_keeps_its_tensors() -> None:
    """A recorded CUDA graph finds them where they were."""
    meter = Meter(torch.device("cpu"), torch.float32)
    places = [value.data_ptr() for value in (meter.steps, meter.loss, meter.norm, meter.bad)]
    for step, norm in enumerate((2.0, 3.0, 1.0)):
        meter.update(torch.tensor(step), torch.tensor(0.5), torch.tensor(norm), torch.tensor(step != 1))
    assert [value.data_ptr() for value in (meter.steps, meter.loss, meter.norm, meter.bad)] == places
    assert [float(value) for value in (meter.steps, meter.loss, meter.norm, meter.bad)] == [3.0, 1.5, 3.0, 1.0]

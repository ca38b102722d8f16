"""Training in one process: loss, rules, run folders, and what can be wrong with them."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import zoo
from tests.support.runs import CLIFF, RECIPE, Tiny, last, read_metrics, rows, same, subnormals_are_zero, with_training
from zoo.checks import check_recipe
from zoo.data import make_dataset
from zoo.errors import ZooError
from zoo.model_files.building import build_model
from zoo.predictors.losses import frame_loss
from zoo.settings import (
    ConstantRate,
    LinearSampling,
    MovingMNISTData,
    PlateauRate,
    Recipe,
    SGDOptimizer,
    settings_class,
    to_plain,
)
from zoo.training import fit, open_run
from zoo.training.batches import StepSampler
from zoo.training.checkpoint import load_checkpoint, save_checkpoint
from zoo.training.interrupt import Interrupt
from zoo.training.metrics_log import COLUMNS, MetricsLog
from zoo.training.run_folder import read_recipe
from zoo.training.scheduled_sampling import draw_truth
from zoo.training.subnormals import subnormals_as_zero
from zoo.training.validation import Validation


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    fit(RECIPE, folder, progress=False)
    return folder


def test_loss_is_the_papers() -> None:
    predictions, true = torch.rand(2, 2, 5, 1, 4, 4, dtype=torch.float64)
    error = (predictions - true).numpy()
    expected = 0.5 * np.abs(error).sum() / error.size + 2 * (error**2).sum() / error.size
    assert frame_loss(predictions, true, 0.5, 2).item() == pytest.approx(expected, rel=1e-12)
    assert frame_loss(predictions.bfloat16(), true.float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("rule", "ratios"),
    [
        ("linear", lambda step: [1 - step / 4] * 2),
        ("reverse", lambda step: [0.5 + step / 8] + [0.5 - step / 8] * 2),
    ],
)
def test_one_step_by_hand(tmp_path: Path, rule: str, ratios: Callable[[int], list[float]]) -> None:
    """Adam on the loss of the right clips with the right draws, clipped, from the seed's weights."""
    recipe = replace(
        with_training(steps=2, precision="64-true", validate_every=2, clip_norm=0.01),
        sampling=settings_class("sampling", rule)(start=0, stop=4),
        learning_rate=ConstantRate(base=0.05),
    )
    model = build_model(recipe).double()
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    train = make_dataset(recipe.data, "train")
    for step, indices in enumerate(StepSampler(3, 10, 4, 2)):
        clips = train.clips(indices).double()
        use_truth = draw_truth(3, step, range(4), 4, ratios(step))
        error = model(clips[:, :2], 3, clips[:, 2:], use_truth) - clips[:, 1:]
        loss = error.abs().mean() + error.square().mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.sqrt(sum(p.grad.square().sum() for p in model.parameters()))
        for p in model.parameters():
            p.grad *= min(1.0, 0.01 / (norm + 1e-6))
        optimizer.step()
    fit(recipe, tmp_path / "run", progress=False)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(last(tmp_path / "run")["weights"][name], weight, rtol=0, atol=1e-12)

    val = make_dataset(recipe.data, "val").clips(range(7)).double()
    with torch.no_grad():
        error = model(val[:, :2], 3) - val[:, 1:]
    row = rows(tmp_path / "run")[-1]
    loss = error.abs().mean() + error.square().mean()
    assert float(row["validation_loss"]) == pytest.approx(loss.item(), abs=1e-10)
    mse = error[:, 1:].square().sum((2, 3, 4)).mean()
    assert float(row["validation_mse"]) == pytest.approx(mse.item(), abs=1e-6)


def test_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_model(RECIPE)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert same(first.state_dict(), build_model(RECIPE).state_dict())
    assert not same(first.state_dict(), build_model(with_training(seed=4)).state_dict())


def test_training_leaves_the_process_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Global generators, signal handlers, warnings, and nothing printed."""
    import random
    import warnings

    def state() -> tuple:
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        filters = list(warnings.filters)
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(), handlers, filters

    before = state()
    with warnings.catch_warnings(record=True) as caught:
        fit(with_training(steps=3), tmp_path / "run", progress=False)
    assert [str(warning.message) for warning in caught] == []
    assert state() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("before", [False, True])
def test_subnormals_are_zero_in_training_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool) -> None:
    seen, loss = [], Tiny.loss

    def watched(self: Tiny, *tensors: torch.Tensor, **weights: float) -> torch.Tensor:
        value = loss(self, *tensors, **weights)
        if value.requires_grad:  # not in a validation
            value.register_hook(lambda gradient: seen.append(subnormals_are_zero()))
        return value

    monkeypatch.setattr(Tiny, "loss", watched)
    torch.set_flush_denormal(before)
    try:
        fit(with_training(steps=3), tmp_path / "run", progress=False)
        assert seen == [True] * 3
        assert subnormals_are_zero() is before
    finally:
        torch.set_flush_denormal(False)


def test_all_threads_take_subnormals_as_zero() -> None:
    def kept() -> int:
        smallest = torch.ones(2**22, dtype=torch.int32).view(torch.float32)
        return int(((smallest * 1).view(torch.int32) != 0).sum())

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert kept() == 2**22  # and both threads have begun
        with subnormals_as_zero():
            assert kept() == 0
        assert kept() == 2**22
    finally:
        torch.set_num_threads(threads)


def test_what_a_user_sees(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fit(with_training(steps=3), tmp_path / "run")
    out, err = capfd.readouterr()
    lines = out.splitlines()
    text = " ".join(out.split())
    assert text.startswith("training on Moving-MNIST train")
    assert "embedded scikit-learn" in text
    assert "the loss may rise although the model gets better" in text
    assert lines[-2].split() == ["step", "loss", "ratio", "rate", "clips/s", "validation", "MSE"]
    assert lines[-1].split()[0] == "3"
    assert len(lines[-1]) == len(lines[-2]) <= 60
    assert max(map(len, lines)) <= 80
    assert err == ""


def test_run_folder(finished: Path) -> None:
    assert read_recipe(finished / "config.yaml") == RECIPE
    (session,) = json.loads((finished / "versions.json").read_text())
    assert session["torch"] == torch.__version__
    assert session["lightning"] == version("lightning")
    assert "embedded" in session["data"][0]
    assert any((finished / "tensorboard").glob("events*"))
    assert not list(finished.rglob("*.tmp"))
    checkpoint = torch.load(finished / "checkpoints" / "last.ckpt", weights_only=True)
    assert (checkpoint["model"], checkpoint["options"], checkpoint["step"]) == ("test-tiny", {}, 24)


def test_tensorboard_has_the_rows(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(finished / "tensorboard")).Reload()
    for name in ("loss", "validation_loss"):
        expected = [(int(row["step"]), float(row[name])) for row in rows(finished) if row[name]]
        scalars = [(event.step, event.value) for event in board.Scalars(name)]
        assert scalars == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]


def test_open_run(finished: Path) -> None:
    losses = {int(row["step"]): float(row["validation_loss"]) for row in rows(finished) if row["validation_loss"]}
    best = open_run(finished)
    assert best.step == min(losses, key=losses.__getitem__)
    assert open_run(finished, "last").step == 24
    step_8 = open_run(finished, "step-8")
    assert step_8.step == 8
    assert not step_8.model.training
    assert same(
        open_run(finished, finished / "checkpoints" / "step-8.ckpt").model.state_dict(), step_8.model.state_dict()
    )
    assert same(dict(best.model.state_dict()), last(finished, "best")["weights"])
    assert best.recipe == RECIPE


def test_endless_clips_and_workers_and_bfloat16(tmp_path: Path) -> None:
    """The same weights whoever prepares the batches; and lower precision learns too."""
    recipe = replace(with_training(steps=6), data=replace(RECIPE.data, endless=True))
    fit(recipe, tmp_path / "0", progress=False)
    fit(replace(recipe, training=replace(recipe.training, num_workers=1)), tmp_path / "1", progress=False)
    assert same(last(tmp_path / "0")["weights"], last(tmp_path / "1")["weights"])
    mixed = replace(recipe, training=replace(recipe.training, precision="bf16-mixed"))
    fit(mixed, tmp_path / "bf16", progress=False)
    for name, weight in last(tmp_path / "bf16")["weights"].items():
        assert weight.dtype == torch.float32
        assert not torch.equal(weight, last(tmp_path / "0")["weights"][name])
    a, b = (float(rows(tmp_path / name)[-1]["loss"]) for name in ("0", "bf16"))
    assert a == pytest.approx(b, rel=0.05)


def test_early_stop(tmp_path: Path) -> None:
    recipe = replace(with_training(early_stop=2, steps=100), learning_rate=ConstantRate(base=0.0))
    fit(recipe, tmp_path / "run", progress=False)
    assert last(tmp_path / "run")["step"] == 9  # the first validation is the best, and two more are not better
    fit(recipe, tmp_path / "run", progress=False)
    assert last(tmp_path / "run")["step"] == 9


def test_a_validation_that_is_no_number_is_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.5, math.nan, 0.7, 0.6])
    monkeypatch.setattr("zoo.training.loop.validate", lambda *_: Validation(next(losses), 1.0))
    run = fit(with_training(steps=8, validate_every=2), tmp_path / "run", progress=False)
    assert run.step == 2
    assert last(run.folder)["progress"]["best"] == 0.5


def test_a_gradient_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(ZooError) as raised:
        fit(CLIFF, tmp_path / "run", progress=False)
    message = str(raised.value)
    good = last(tmp_path / "run")
    assert "step 5 gave values that are not finite, first div with gain in the" in message
    assert "in the backward pass" in message
    assert all(word in message for word in ("learning_rate.base below 0.1", "training.clip_norm", "last.ckpt"))
    assert good["step"] < 5
    assert all(weight.isfinite().all() for weight in good["weights"].values())
    assert [row["step"] for row in rows(tmp_path / "run")] == ["4"]
    assert "\n" not in message


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    recipe = replace(RECIPE, learning_rate=ConstantRate(base=1e20))
    with pytest.raises(
        ZooError,
        match=r"step 1 gave .* not finite, first mse_loss after frame.weight in the forward pass; .* of step 0. Try",
    ):
        fit(recipe, tmp_path / "run", progress=False)
    assert last(tmp_path / "run")["step"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"steps": 0}}, "training.steps = 0 must be a finite number, at least 1"),
        ({"training": {"batch_size": 0}}, "training.batch_size = 0"),
        ({"training": {"clip_norm": float("nan")}}, "training.clip_norm = nan"),
        ({"training": {"l1": 0.0, "l2": 0.0}}, "leaves no loss"),
        ({"training": {"max_time": float("inf")}}, "training.max_time = inf"),
        ({"training": {"steps": 2.5}}, "steps = 2.5 must be int"),
        ({"sampling": {"schedule": "plato"}}, "sampling.schedule = 'plato' is unknown; did you mean 'plateau'"),
        ({"options": {"hidden": torch.float32}}, "cannot be written to a file"),
        ({"training": {"seed": -1}}, "training.seed = -1"),
        ({"training": {"precision": "8"}}, "training.precision = '8' must be one of 32-true"),
        ({"training": {"precision": "16-mixed"}}, "training.precision = '16-mixed' needs a GPU"),
        ({"training": {"accelerator": "gpu"}}, "training.accelerator = 'gpu'"),
        ({"data": {"length": 2}}, "data.length = 2 must exceed data.observed = 2"),
        ({"data": {"size": 20}}, "size = 20"),
        (
            {"sampling": LinearSampling(start=9, stop=3)},
            "sampling.stop = 3 must be at least sampling.start = 9",
        ),
        ({"learning_rate": {"factor": 0.0}}, "learning_rate.factor = 0.0"),
        ({"learning_rate": {"base": -1.0}}, "learning_rate.base = -1.0"),
        (
            {"learning_rate": {"base": 1e38}},
            "learning_rate.base = 1e+38 must be a finite number, at least 0 and at most 100,000,000,000,000,000,000",
        ),
        ({"optimizer": SGDOptimizer(weight_decay=1e300)}, "optimizer.weight_decay = 1e+300"),
        ({"model": "test-tyni"}, "did you mean 'test-tiny'"),
        ({"options": {"hiden": 3}}, "hiden"),
        ({"options": {"patch": 0}}, "patch = 0 must be at least 1"),
    ],
)
def test_bad_settings_leave_nothing_behind(tmp_path: Path, changes: dict, message: str) -> None:
    recipe = RECIPE
    for group, values in changes.items():
        nested = isinstance(values, dict) and group != "options"
        recipe = replace(recipe, **{group: replace(getattr(recipe, group), **values) if nested else values})
    if changes == {"training": {"accelerator": "gpu"}} and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ZooError) as raised:
        fit(recipe, tmp_path / "run", progress=False)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"steps": "many"}}, "steps = 'many' must be int"),
        ({"training": {"steps": 0}}, "training.steps = 0 must be a finite number, at least 1"),
        ({"data": {"length": 3, "observed": 3}}, "data.length = 3 must exceed"),
        ({"options": {"hidden": [torch.float32]}}, "cannot be written to a file"),
    ],
)
def test_a_recipe_is_checked_when_it_is_made(changes: dict, message: str) -> None:
    with pytest.raises(ZooError) as raised:
        zoo.recipe("conv-lstm", **changes)
    assert message in str(raised.value)


@pytest.fixture
def ctrl_c_interrupts() -> Iterator[None]:
    """Python's own handler, also where the tests were started in the background, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_interrupts")
def test_a_second_ctrl_c_has_its_ordinary_effect() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        interrupt.take_effect()


def test_folders_that_hold_something_else(tmp_path: Path, finished: Path) -> None:
    with pytest.raises(ZooError, match=r"another run: training.seed is 3 there, 7 here"):
        fit(with_training(seed=7), finished, progress=False)
    with pytest.raises(ZooError, match=r"another run: options.hidden is 3 there, 5 here"):
        fit(replace(RECIPE, options={"hidden": 5}), finished, progress=False)
    with pytest.raises(ZooError, match="holds a run already"):
        fit(RECIPE, finished, resume=False, progress=False)
    (tmp_path / "thesis.txt").write_text("my only copy")
    with pytest.raises(ZooError, match="is neither a run nor an empty folder"):
        fit(RECIPE, tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ZooError, match="cannot be created"):
        fit(RECIPE, tmp_path / "thesis.txt" / "run", progress=False)
    for name in ("a\0b", "x" * 256, "d/" * 2100):
        with pytest.raises(ZooError, match=r"cannot be a folder \((embedded null|File name too long).*choose another"):
            fit(RECIPE, name, progress=False)
    with pytest.raises(ZooError, match="is neither a run nor an empty folder"):
        fit(RECIPE, tmp_path / "thesis.txt", progress=False)


def test_checkpoints_that_are_not_ours(tmp_path: Path, finished: Path) -> None:
    good = (finished / "checkpoints" / "last.ckpt").read_bytes()
    path = tmp_path / "other.ckpt"
    for damaged in (b"", good[:100], good[: len(good) // 2], b"nonsense"):
        path.write_bytes(damaged)
        with pytest.raises(ZooError, match=r"other\.ckpt cannot be read as a checkpoint"):
            open_run(finished, path)
    torch.save({"weights": {}}, path)
    with pytest.raises(ZooError, match="is not a checkpoint of the zoo"):
        open_run(finished, path)
    torch.save(Tiny(), path)  # would run code when read
    with pytest.raises(ZooError, match="cannot be read as a checkpoint"):
        open_run(finished, path)
    with pytest.raises(ZooError, match=r"there is no checkpoint .*step-7"):
        open_run(finished, "step-7")
    with pytest.raises(ZooError, match=r"is not a run \(it has no config.yaml\)"):
        open_run(tmp_path)


def test_checkpoint_of_another_model(tmp_path: Path, finished: Path) -> None:
    other = tmp_path / "other"
    (other / "checkpoints").mkdir(parents=True)
    (other / "config.yaml").write_text(yaml.safe_dump(to_plain(replace(RECIPE, options={"hidden": 5}))))
    checkpoint = load_checkpoint(finished / "checkpoints" / "last.ckpt")
    save_checkpoint(checkpoint, other / "checkpoints" / "last.ckpt")
    with pytest.raises(ZooError, match=r"belongs to another model: options.hidden is 3 there, 5 here"):
        open_run(other, "last")
    with pytest.raises(ZooError, match="belongs to another model"):
        fit(replace(RECIPE, options={"hidden": 5}), other, progress=False)
    save_checkpoint(checkpoint | {"options": {"hidden": 5}}, other / "checkpoints" / "last.ckpt")
    with pytest.raises(ZooError, match=r"weights of another model.*mix\.weight"):
        open_run(other, "last")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["training"].update(stesp=3), "no setting 'stesp'; did you mean 'steps'"),
        (lambda c: c["training"].update(steps="many"), "steps = 'many' must be int"),
        (lambda c: c["training"].update(steps=True), "steps = True must be int"),
        (
            lambda c: c["data"].update(source="internet"),
            "source = 'internet' must be one of 'auto', 'mnist', 'embedded'",
        ),
        (lambda c: c.pop("model"), "the setting 'model' is missing"),
        (lambda c: c.update(data=3), "data: settings are needed, got 3"),
        (lambda c: c.update(options=[1]), "options = [1] must be dict"),
    ],
)
def test_bad_config(tmp_path: Path, edit, message: str) -> None:
    config = asdict(RECIPE)
    edit(config)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ZooError) as raised:
        open_run(tmp_path)
    assert message in str(raised.value)


@pytest.mark.parametrize("text", ["", "3", "a: [", "!!python/object/apply:os.getcwd []", "\x00"])
def test_config_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ZooError, match=r"config\.yaml"):
        open_run(tmp_path)


def test_config_round_trip(tmp_path: Path) -> None:
    recipe = Recipe(
        "test-tiny", {"hidden": 3, "list": (1, 2)}, MovingMNISTData(endless=True), learning_rate=PlateauRate(base=1)
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_plain(recipe)))
    read = read_recipe(tmp_path / "config.yaml")
    assert read == check_recipe(recipe) == replace(recipe, options={"hidden": 3, "list": [1, 2]})
    assert isinstance(read.learning_rate.base, float)


def test_presets_of_the_issue_are_legal() -> None:
    check_recipe(Recipe("conv-lstm"))


def test_metrics_drop_what_the_checkpoint_does_not_know(tmp_path: Path) -> None:
    log, kept = MetricsLog(tmp_path), ""
    for step in (5, 10, 15):
        log.write({"step": step, "loss": step / 3})
        kept = log.text if step == 10 else kept
    path = tmp_path / "metrics.csv"
    assert path.read_text() == log.text
    path.write_text(path.read_text() + "20,0.1")  # cut short
    MetricsLog(tmp_path, kept)
    assert [row["step"] for row in read_metrics(path)] == ["5", "10"]
    assert float(read_metrics(path)[0]["loss"]) == 5 / 3
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert not list(tmp_path.glob(".*"))


def test_a_fresh_process_says_nothing(tmp_path: Path) -> None:
    """`import zoo` is light; torchvision is mended, twice without harm; and training shows nothing of Lightning's."""
    code = (
        "import zoo, sys; assert not {'lightning', 'torchvision', 'lpips', 'matplotlib'} & set(sys.modules)\n"
        "from zoo import _torchvision; _torchvision.mend(); _torchvision.mend()\n"
        "import torchvision.models\n"
        "from tests.support import runs\n"
        f"zoo.fit(runs.with_training(steps=2), {str(tmp_path / 'run')!r}, progress=False)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_torchvision_whose_operators_load_is_left_alone() -> None:
    """Defining a schema a second time would raise."""
    code = (
        "import torch\n"
        "for name in ('nms', 'qnms'):\n"
        "    torch.library.define(f'torchvision::{name}', '(Tensor a, Tensor b, float c) -> Tensor')\n"
        "from zoo import _torchvision"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

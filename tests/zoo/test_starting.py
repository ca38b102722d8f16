"""What a run starts from: its own file, another run that goes on with other settings, or the weights of another."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import zoo
from tests.support.runs import last, read_metrics, run_command
from zoo.commands.starting import find_start
from zoo.errors import ZooError
from zoo.evaluation import CopyLast
from zoo.model_files.building import build_model
from zoo.model_files.pretrained import save_weights
from zoo.settings import ConstantRate, MovingMNISTData, Origin, to_plain
from zoo.training.checkpoint import load_checkpoint, save_checkpoint
from zoo.training.origin import _check_predictions, continued, freeze, initialize
from zoo.training.run_folder import read_recipe

TINY = (
    "--options.hidden=[2,3] --options.layers=[1,1] --options.kernel=3 --options.patch=4 --data.size=28 --data.length=4"
    " --data.observed=2 --data.digits=1 --data.source=embedded --training.batch_size=2 --training.validation_clips=2"
    " --training.accelerator=cpu --training.log_every=1 --training.validate_every=2 --learning_rate.schedule=constant"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of four steps, called x."""
    folder = tmp_path_factory.mktemp("runs")
    line = f"train conv-lstm moving-mnist --preset demo {TINY} --training.steps=4 -o {folder}/x"
    assert run_command(*line.split(), "--data-root", folder) == 0
    return folder


def train(runs: Path, line: str) -> int:
    return run_command("train", *line.format(runs=runs).split(), "--data-root", runs)


def test_the_command_line_and_a_program_resume_the_same_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line writes every option of the model, and a recipe of Python only those that it sets."""
    options = {"hidden": [2, 3], "layers": [1, 1], "kernel": 3, "patch": 4}
    data = {"size": 28, "length": 4, "observed": 2, "digits": 1, "source": "embedded"}
    limits = {"batch_size": 2, "validation_clips": 2, "log_every": 1, "validate_every": 2, "steps": 4}
    recipe = zoo.recipe("conv-lstm", "demo", options, data=data, training={**limits, "accelerator": "cpu"})
    recipe = replace(recipe, learning_rate=ConstantRate())
    assert "channels" in read_recipe(runs / "x" / "config.yaml").options
    assert "channels" not in recipe.options
    assert zoo.fit(recipe, shutil.copytree(runs / "x", runs / "resumed"), root=runs, progress=False).step <= 4
    stopped = replace(recipe, training=replace(recipe.training, max_time=1e-6))
    zoo.fit(stopped, runs / "begun", root=runs, progress=False)
    line = f"conv-lstm moving-mnist --preset demo {TINY} --training.steps=4 -o {{runs}}/begun"
    assert train(runs, line) == 0
    assert last(runs / "begun")["step"] == 4
    capsys.readouterr()
    assert train(runs, f"{line} --options.sigmoid true") == 2
    assert "options.sigmoid is False there, True here" in capsys.readouterr().err


# ---- a run is launched by its own file ----------------------------------------------------------------------------


def test_its_own_file_starts_a_new_run_or_resumes_it(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(runs, "--config {runs}/x/config.yaml") == 0
    assert (runs / "x-2" / "config.yaml").read_text() == (runs / "x" / "config.yaml").read_text()
    for name, weight in last(runs / "x")["weights"].items():
        assert torch.equal(weight, last(runs / "x-2")["weights"][name])
    before = (runs / "x" / "metrics.csv").read_text()
    assert train(runs, "--config {runs}/x/config.yaml -o {runs}/x") == 0
    assert (runs / "x" / "metrics.csv").read_text() == before
    capsys.readouterr()
    assert train(runs, "--config {runs}/x/config.yaml -o {runs}/x --training.seed 5") == 2
    said = capsys.readouterr().err
    assert "holds another run: training.seed is 0 there, 5 here" in said
    assert f"`zoo train --continue {runs}/x` starts a new run from this one" in said
    assert find_start(["train", "--config", f"{runs}/x/config.yaml"]).folder == str(runs / "x-3")  # type: ignore[union-attr]


def test_a_run_that_a_program_made_is_launched_too(runs: Path) -> None:
    options = {"hidden": [2], "layers": [1], "kernel": 3}
    data = {"size": 28, "length": 4, "observed": 2, "source": "embedded"}
    training = {"steps": 1, "batch_size": 1, "validation_clips": 1, "accelerator": "cpu"}
    recipe = zoo.recipe("conv-lstm", "demo", options, data=data, training=training)
    zoo.fit(recipe, runs / "python", root=runs, progress=False)
    assert train(runs, "--config {runs}/python/config.yaml -o {runs}/python") == 0


def test_the_configuration_of_another_model_says_what_does_not_apply(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = yaml.safe_load((runs / "x" / "config.yaml").read_text())
    plain |= {"model": "predrnn-pp", "options": {"form": "released", "hidden": [2], "highway": None}}
    (runs / "other.yaml").write_text(yaml.safe_dump(plain))
    assert train(runs, "conv-lstm moving-mnist --config {runs}/other.yaml") == 2
    assert "its options form, highway do not apply to conv-lstm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: conv-lstm\n", "dataset"),
        ("training: {steps: 5}\n", "model"),
        ("model: conv-lstmm\n", "did you mean 'conv-lstm'?"),
    ],
)
def test_a_file_that_is_no_whole_run_is_refused(
    text: str, words: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "part.yaml").write_text(text)
    assert train(runs, "--config {runs}/part.yaml") == 2
    assert words in capsys.readouterr().err.lower()


# ---- a run that goes on with other settings ------------------------------------------------------------------------


def test_a_run_goes_on_with_other_settings(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(runs, "--continue {runs}/x --training.steps 6 --learning_rate.base 0.25 -o {runs}/more") == 0
    recipe = read_recipe(runs / "more" / "config.yaml")
    assert recipe.origin.run == str(runs / "x")
    assert recipe.learning_rate == ConstantRate(base=0.25)
    assert isinstance(recipe.data, MovingMNISTData)
    rows = read_metrics(runs / "more" / "metrics.csv")
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [float(row["learning_rate"]) for row in rows] == [1e-3] * 4 + [0.25] * 2
    moments = {int(of["step"]) for of in last(runs / "more")["optimizer"].values()}
    assert moments == {6}
    assert train(runs, "--continue {runs}/x --training.steps 6 --learning_rate.base 0.25 -o {runs}/more") == 0


def test_going_on_without_a_change_is_the_same_as_never_stopping(runs: Path) -> None:
    assert train(runs, f"conv-lstm moving-mnist --preset demo {TINY} --training.steps=6 -o {runs}/whole") == 0
    assert train(runs, "--continue {runs}/x --training.steps 6 --sampling.stop 300 -o {runs}/same") == 0
    for name, weight in last(runs / "whole")["weights"].items():
        assert torch.equal(weight, last(runs / "same")["weights"][name])


def test_other_data_and_another_optimiser(runs: Path) -> None:
    line = "--continue {runs}/x --training.steps 5 --optimizer.method sgd --data.digits 2 --learning_rate.schedule step"
    assert train(runs, f"{line} -o {{runs}}/other") == 0
    assert set(next(iter(last(runs / "other")["optimizer"].values()))) == {"momentum_buffer"}


def test_what_was_frozen_stays_frozen(runs: Path) -> None:
    assert train(runs, "--continue {runs}/x --training.steps 6 --freeze blocks.* -o {runs}/frozen-1") == 0
    assert train(runs, "--continue {runs}/frozen-1 --training.steps 8 -o {runs}/frozen-2") == 0
    origin = read_recipe(runs / "frozen-2" / "config.yaml").origin
    assert (origin.freeze, origin.run) == (["blocks.*"], str(runs / "frozen-1"))
    before, after = last(runs / "x")["weights"], last(runs / "frozen-2")["weights"]
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"output.weight", "output.bias"}


def test_schedules_forget_a_best_loss_of_another_kind(runs: Path) -> None:
    """Otherwise they would see no improvement if the new losses are greater."""
    tiny = TINY.replace("learning_rate.schedule=constant", "learning_rate.schedule=plateau")
    line = f"conv-lstm moving-mnist --preset demo {tiny} --sampling.schedule=plateau --training.steps=2 -o {runs}/best"
    assert train(runs, line) == 0
    recipe, before = read_recipe(runs / "best" / "config.yaml"), last(runs / "best")
    recipe = replace(recipe, origin=Origin(run=str(runs / "best")), training=replace(recipe.training, steps=4))

    def schedules(**changes: Any) -> list[dict[str, Any]]:
        changed = replace(recipe, **{part: replace(getattr(recipe, part), **to) for part, to in changes.items()})
        checkpoint, _ = continued(changed, build_model(changed))
        return [checkpoint[part] for part in ("sampling", "learning_rate")]

    kept = [before[part] for part in ("sampling", "learning_rate")]
    assert all(state["best"] < math.inf for state in kept)
    assert schedules(learning_rate={"base": 0.5}, data={"clips_per_epoch": 4, "seed": 1}) == kept
    others = {"training": {"l2": 2.0}}, {"training": {"validation_clips": 1}}, {"data": {"digits": 2}}
    for other in others:
        assert schedules(**other) == [state | {"best": math.inf} for state in kept]


@pytest.mark.parametrize(("precision", "dtype"), [("64-true", torch.float64), ("bf16-true", torch.bfloat16)])
def test_a_run_goes_on_in_another_precision(precision: str, dtype: torch.dtype, runs: Path) -> None:
    line = f"--continue {{runs}}/x --training.steps 5 --training.precision {precision} -o {{runs}}/{precision}"
    assert train(runs, line) == 0
    state = last(runs / precision)
    assert {weight.dtype for weight in state["weights"].values()} == {dtype}
    assert {of["exp_avg"].dtype for of in state["optimizer"].values()} == {dtype}
    assert {int(of["step"]) for of in state["optimizer"].values()} == {5}
    back = f"--continue {{runs}}/{precision} --training.steps 6 --training.precision 32-true -o {{runs}}/{precision}-32"
    assert train(runs, back) == 0
    assert last(runs / f"{precision}-32")["weights"].keys() == state["weights"].keys()


def test_moments_that_are_no_longer_used_are_dropped(runs: Path) -> None:
    line = "--continue {runs}/x --training.steps 5 --optimizer.method sgd -o {runs}/sgd"
    assert train(runs, line) == 0
    assert train(runs, "--continue {runs}/sgd --training.steps 6 --optimizer.momentum 0.0 -o {runs}/plain-sgd") == 0
    assert not last(runs / "plain-sgd")["optimizer"]
    assert train(runs, "--continue {runs}/plain-sgd --training.steps 7 --optimizer.momentum 0.5 -o {runs}/sgd-2") == 0


def test_weights_that_do_not_fit_are_refused_before_there_is_a_folder(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = runs / "odd" / "checkpoints" / "last.ckpt"
    shutil.copytree(runs / "x", runs / "odd")
    checkpoint = load_checkpoint(path)
    save_checkpoint(checkpoint | {"weights": checkpoint["weights"] | {"output.bias": torch.zeros(7)}}, path)
    assert train(runs, "--continue {runs}/odd --training.steps 6 -o {runs}/refused") == 2
    assert f"{path}: weights of another model: output.bias is (7,)" in capsys.readouterr().err
    assert not (runs / "refused").exists()


def test_a_run_that_a_time_limit_stopped_goes_on_without_it(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"conv-lstm moving-mnist --preset demo {TINY} --training.steps=50 --max-time 0.001s -o {{runs}}/stopped"
    assert train(runs, words) == 0
    assert (
        "holds the last weights, as it stopped before its first validation: those of step 1" in capsys.readouterr().out
    )
    assert zoo.open_run(runs / "stopped").step == 1
    with pytest.raises(ZooError, match=r"there is no checkpoint .*/step-1\.ckpt"):
        zoo.open_run(runs / "stopped", "step-1")
    line = "--continue {runs}/stopped --training.steps 3 --training.validate_every 1 -o {runs}/unlimited"
    assert train(runs, line) == 0
    rows = read_metrics(runs / "unlimited" / "metrics.csv")
    assert [int(row["step"]) for row in rows] == [1, 2, 3]
    assert all(float(row["loss"]) > 0 for row in rows)


def test_other_data_keep_the_normalisation(runs: Path) -> None:
    data = {"mean": [0.5], "std": [0.2], "observed": 3, "length": 7}
    recipe = zoo.recipe("conv-lstm", "demo", dataset="arrays:one.npy", data=data)
    (runs / "normal").mkdir()
    (runs / "normal" / "config.yaml").write_text(yaml.safe_dump(to_plain(recipe)))
    start = find_start(["train", "--continue", f"{runs}/normal", "conv-lstm", "images:frames"])
    assert start is not None
    assert {name: getattr(start.recipe.data, name) for name in data} == data


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--continue {runs}/x", "has taken 4 steps, and training.steps = 4 includes them"),
        ("--continue {runs}/none --training.steps 9", "is not a run; name a folder"),
        ("predrnn --continue {runs}/x --training.steps 9", "is a run of conv-lstm, which predrnn cannot continue"),
        ("--continue {runs}/x --options.hidden [3,3] --training.steps 9", "belongs to another model: options.hidden"),
        ("--continue {runs}/x --training.steps 9 --init {runs}/x", "are both set"),
        (
            "--continue {runs}/x --preset paper",
            "would change nothing, because {runs}/x/config.yaml holds",
        ),
        ("--continue {runs}/x --protocol predrnn-pp", "--protocol predrnn-pp would change nothing"),
        ("--config {runs}/x/config.yaml --preset=small", "--preset small would change nothing"),
        ("--config {runs}/x/config.yaml --protocol predrnn", "--protocol predrnn would change nothing"),
        ("--continue {runs}/x --origin.run {runs}", "--continue is short for origin.run"),
        ("{runs}/x moving-mnist", "use `zoo train MODEL DATA --init {runs}/x`"),
        (
            "conv-lstm:moving-mnist-small moving-mnist",
            "conv-lstm:moving-mnist-small names trained weights, not a model",
        ),
        ("conv-lstm moving-mnist --lr 0.1", "--lr is not an option; use --learning_rate.base"),
        ("conv-lstm moving-mnist --epochs=3", "use --training.steps. An epoch of this run has 1,250 steps"),
        ("conv-lstm moving-mnist --batch-size 3", "use --training.batch_size"),
    ],
)
def test_what_makes_no_sense_is_refused(line: str, words: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(runs.iterdir())
    assert train(runs, line) == 2
    assert words.format(runs=runs) in capsys.readouterr().err
    assert set(runs.iterdir()) == before


# ---- weights of another model, and parameters that are not trained ------------------------------------------------


def test_weights_that_fit_are_taken_and_the_rest_is_listed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"conv-lstm moving-mnist --preset demo {TINY} --training.steps=1 --learning_rate.base=0"
    line = f"{words.replace('[2,3]', '[2,4]')} --init {{runs}}/x -o {{runs}}/tuned"
    assert train(runs, line) == 0
    said = capsys.readouterr().out
    there, here = zoo.open_run(runs / "x").model.state_dict(), last(runs / "tuned")["weights"]
    fitting = [name for name in here if name in there and here[name].shape == there[name].shape]
    assert 0 < len(fitting) < len(here)
    assert f"{len(fitting)} of {len(here)} weights are copied from {runs}/x" in said
    assert "options.hidden is [2, 4] here, [2, 3] there" in said
    for name in here:
        assert (f"{name} starts at random: its shape is {tuple(here[name].shape)} here" in said) == (
            name not in fitting
        )
        if name in fitting:
            assert torch.equal(here[name], there[name])
    assert read_recipe(runs / "tuned" / "config.yaml").origin.weights == str(runs / "x")


def test_options_that_change_no_weight_are_named() -> None:
    there = zoo.create_model("conv-lstm", pretrained="moving-mnist-small")
    equal = zoo.create_model("conv-lstm", **there.recipe.options)
    other = zoo.create_model("conv-lstm", **there.recipe.options, sigmoid=True)
    copied = "14 of 14 weights are copied from conv-lstm:moving-mnist-small"
    assert initialize(equal, "conv-lstm:moving-mnist-small") == [copied]
    differs = "options.sigmoid is True here, False there: equal weights predict something else"
    assert initialize(other, "conv-lstm:moving-mnist-small") == [copied, differs]


@pytest.mark.parametrize(
    ("model", "options", "changed"),
    [
        ("dfn", {"widths": [2, 2, 2], "filter_size": 3}, {"centre_bias": 6.0}),
        ("predrnn", {"hidden": [2], "kernel": 3}, {"overrides": {"uniform": 0.1}}),
        ("mcnet", {"base": 1, "adversarial": 0.1, "clip": [4, 64, 64]}, {"adversarial": 0.2}),
    ],
)
def test_options_that_act_only_in_training_may_differ(
    model: str, options: dict[str, Any], changed: dict[str, Any], runs: Path
) -> None:
    """Their effect on the initial weights is overwritten, and given weights predict the same."""
    recipe = zoo.recipe(model, "demo", options)
    recipe = replace(recipe, options=options)  # without those of the preset
    save_weights(runs / f"{model}.safetensors", build_model(recipe), recipe)
    other = replace(recipe, options=options | changed)
    (copied,) = initialize(build_model(other), f"{runs}/{model}.safetensors")
    assert "weights are copied" in copied
    _check_predictions({"model": model, "options": options}, other, runs)
    _check_predictions({"model": model, "options": options | changed}, recipe, runs)


def test_a_run_goes_on_with_another_option_that_acts_only_in_training(runs: Path) -> None:
    words = TINY[TINY.index("--data.size") :] + " --options.widths=[2,2,2] --options.filter_size=3"
    assert train(runs, f"dfn moving-mnist --preset demo {words} --training.steps=1 -o {runs}/dfn") == 0
    line = "--continue {runs}/dfn --training.steps 2 --options.centre_bias 6.0 -o {runs}/dfn-2"
    assert train(runs, line) == 0
    assert zoo.open_run(runs / "dfn-2").recipe.options["centre_bias"] == 6.0


def test_another_normalisation_is_named(runs: Path) -> None:
    options = {"hidden": [2], "layers": [1], "kernel": 3}
    settings: list[dict[str, Any]] = [{"mean": [0.5], "std": [0.2]}, {}, {"mean": [0.0]}]
    recipes = [zoo.recipe("conv-lstm", "demo", options, "python", data=each) for each in settings]
    save_weights(runs / "normal.safetensors", build_model(recipes[0]), recipes[0])
    same, without, zero = (initialize(build_model(each), f"{runs}/normal.safetensors")[1:] for each in recipes)
    assert same == []
    assert without == [
        "data.mean is [] here, [0.5] there: equal weights predict something else",
        "data.std is [] here, [0.2] there: equal weights predict something else",
    ]
    save_weights(runs / "zero.safetensors", build_model(recipes[1]), recipes[1])
    assert initialize(build_model(recipes[2]), f"{runs}/zero.safetensors")[1:] == []
    assert zero[0] == "data.mean is [0.0] here, [0.5] there: equal weights predict something else"


def test_the_origin_is_an_absolute_path(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    for option, name in (("--origin.weights", "weights"), ("--init", "init")):
        line = f"conv-lstm moving-mnist --preset demo {TINY} --training.steps=1 {option} x -o from-{name}"
        assert train(runs, line) == 0
        assert train(runs, line) == 0
        assert read_recipe(runs / f"from-{name}" / "config.yaml").origin.weights == str(runs / "x")


@pytest.mark.parametrize("kind", ["file", "checkpoint"])
def test_weights_may_be_in_a_file(kind: str, runs: Path) -> None:
    name = runs / "x.safetensors" if kind == "file" else runs / "x" / "checkpoints" / "best.ckpt"
    if kind == "file":
        assert run_command("export", runs / "x", "-o", name) == 0
    run = zoo.open_run(runs / "x")
    model = zoo.create_model("conv-lstm", **run.recipe.options)
    assert initialize(model, str(name)) == [
        f"{len(model.state_dict())} of {len(model.state_dict())} weights are copied from {name}"
    ]
    for key, weight in run.model.state_dict().items():
        assert torch.equal(model.state_dict()[key], weight)


def test_frozen_parameters_stay(runs: Path) -> None:
    words = f"conv-lstm moving-mnist --preset demo {TINY} --training.steps=2 --init {{runs}}/x -o {{runs}}/frozen"
    names = [name for name, _ in zoo.open_run(runs / "x").model.named_parameters()]
    assert train(runs, f"{words} --freeze {names[0]}") == 0
    there, here = zoo.open_run(runs / "x").model.state_dict(), last(runs / "frozen")["weights"]
    assert [name for name in names if torch.equal(here[name], there[name])] == [names[0]]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda model, runs: initialize(model, f"{runs}/nothing"), "holds no weights"),
        (lambda model, runs: initialize(model, "predrnn:none"), "no weights 'none'"),
        (lambda model, runs: initialize(model, "predrnn-pp:kth-small"), "none of its .* weights has a name and shape"),
        (lambda model, runs: freeze(model, ["nothing*"]), "no parameter is called"),
        (lambda model, runs: freeze(model, ["*"]), "leaves no parameter to train"),
        (lambda model, runs: freeze(CopyLast(), []), "CopyLast has no parameters to train; give it some"),
    ],
)
def test_weights_and_patterns_that_do_not_fit_are_refused(call: Any, words: str, runs: Path) -> None:
    model = zoo.create_model("conv-lstm", hidden=(2,), layers=(1,), kernel=3)
    with pytest.raises(ZooError, match=words):
        call(model, runs)

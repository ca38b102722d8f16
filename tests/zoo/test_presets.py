"""Presets say what is published, and refuse what they do not know; settings go to plain data and back."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import zoo
from tests.support import reference as zoo_reference
from tests.support.tiny import build
from zoo.checks import check_recipe
from zoo.errors import ZooError
from zoo.model_files.cards import model_card
from zoo.model_files.pretrained import load_pretrained
from zoo.predictors.recurrent import RecurrentPredictor
from zoo.registry import find_model
from zoo.settings import from_plain, to_plain
from zoo.training.checks import check_steps


@pytest.mark.parametrize(("options", "base"), [({}, 1e-4), ({"kernel": 5}, 1e-4), ({"kernel": 3}, 1e-3)])
def test_paper(options: dict[str, Any], base: float) -> None:
    recipe = zoo.recipe("conv-tt-lstm-sw", "paper", options=options)
    assert recipe.options == options  # the model's defaults are the published network
    assert (recipe.learning_rate.base, recipe.learning_rate.schedule, recipe.sampling.schedule) == (
        base,
        "plateau",
        "plateau",
    )
    assert (
        recipe.sampling.patience,
        recipe.learning_rate.patience,
        recipe.learning_rate.factor,
        recipe.learning_rate.every,
    ) == (20, 20, 0.98, 5)
    training, data = recipe.training, recipe.data
    assert (training.batch_size, training.clip_norm, training.l1, training.l2) == (16, 1, 1, 1)
    assert (data.digits, data.size, data.observed, data.length, data.clips_per_epoch, data.endless) == (
        2,
        64,
        10,
        20,
        10_000,
        False,
    )


@pytest.mark.parametrize("model", ["predrnn", "causal-lstm", "causal-lstm-s2t", "predrnn-ghu", "predrnn-pp"])
def test_predrnn_paper(model: str) -> None:
    recipe = zoo.recipe(model, "paper")
    assert recipe.options == {}
    assert (recipe.sampling.schedule, recipe.sampling.start, recipe.sampling.stop) == ("linear", 0, 50_000)
    assert (recipe.learning_rate.schedule, recipe.learning_rate.base) == ("constant", 1e-3)
    training = recipe.training
    assert (training.steps, training.batch_size, training.l1, training.l2, training.clip_norm) == (80_000, 8, 1, 1, 0)


@pytest.mark.parametrize("name", zoo_reference.shipped_models())
def test_small_networks_are_small(name: str) -> None:
    """At most 8 GMAC for a clip of 19 steps, and 1.5 million parameters but in FC-LSTM's matrices."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = zoo.create_model(name, **zoo.recipe(name, "small").options).eval().requires_grad_(False)
        model(torch.rand(1, 10, 1, 64, 64), 10)
    assert 0 < counter.get_total_flops() / 2 <= 8e9
    assert name == "fc-lstm" or sum(parameter.numel() for parameter in model.parameters()) <= 1.5e6


@pytest.mark.parametrize(
    ("name", "dataset", "loss", "optimizer", "rate", "sampling"),
    [
        ("fc-lstm", "moving-mnist", "cross_entropy", ("sgd", 0.9), ("step", 1e-4, 0.9, 10_000), "none"),
        ("conv-lstm-2015", "moving-mnist", "cross_entropy", ("rmsprop", 0.9), ("constant", 1e-3), "none"),
        ("traj-gru", "moving-mnist", "l2", ("adam", 0.5), ("step", 1e-4, 0.7, 20_000), "none"),
        ("cdna", "moving-mnist", "l2", ("adam", 0.9), ("constant", 1e-3), "sigmoid"),
        ("dfn", "moving-mnist", "cross_entropy", ("adam", 0.9), ("step", 1e-3, 0.5, 4000), "linear"),
        ("vpn-baseline", "moving-mnist", "cross_entropy", ("rmsprop", 0.9), ("constant", 3e-4), "none"),
        ("mcnet", "kth", "l2 gradient", ("adam", 0.5), ("constant", 1e-4), "linear"),
        ("e3d-lstm", "moving-mnist", "l1 l2", ("adam", 0.9), ("constant", 1e-3), "linear"),
    ],
)
def test_every_system_is_trained_as_its_own_paper_says(
    name: str, dataset: str, loss: str, optimizer: tuple[Any, ...], rate: tuple[Any, ...], sampling: str
) -> None:
    recipe = zoo.recipe(name, "paper", dataset=dataset)
    assert " ".join(term for term, weight in recipe.training.loss_weights.items() if weight) == loss
    assert dataclasses.astuple(recipe.optimizer)[:2] == optimizer
    assert dataclasses.astuple(recipe.learning_rate) == rate
    assert recipe.sampling.schedule == sampling


@pytest.mark.parametrize("name", zoo_reference.shipped_models())
def test_one_protocol_for_all(name: str) -> None:
    """A model that reads no frames while it predicts has nothing to sample, under any protocol."""
    recipe = zoo.recipe(name, "paper", protocol="predrnn-pp")
    assert (recipe.training.steps, recipe.training.batch_size, recipe.training.loss_weights) == (
        80_000,
        8,
        {"l1": 1, "l2": 1, "cross_entropy": 0, "gradient": 0},
    )
    samples = find_model(name).feeds_back(recipe.options)
    assert recipe.sampling.schedule == ("linear" if samples else "none")


def test_only_scheduled_sampling_that_is_asked_for_is_refused() -> None:
    assert zoo.recipe("traj-gru").sampling.schedule == "none"
    assert zoo.recipe("fc-lstm", options={"conditioned": True}).sampling.schedule == "linear"
    with pytest.raises(ZooError, match="traj-gru reads no frames after the observed ones"):
        zoo.recipe("traj-gru", sampling={"schedule": "linear"})


def test_what_is_shown_of_a_model_says_that_it_was_trained_without_sampling() -> None:
    clips = zoo.MovingMNIST("test", source="embedded", size=32, length=4)
    for name, told in (("traj-gru", True), ("mcnet", False)):
        scores = zoo.evaluate(build(name), clips, 2, observed=2, metrics=["mse"], count=2, name=name)
        for text in (scores.footnotes(), str(zoo.evaluation.compare([scores])), model_card(zoo.recipe(name), 3)):
            assert ("without scheduled sampling" in " ".join(text.split())) == told
        assert (f"{name} reads no frames after" in scores.footnotes()) == told
    for options, told in (({}, True), ({"conditioned": True}, False)):
        assert ("without scheduled sampling" in model_card(zoo.recipe("fc-lstm", options=options), 3)) == told


def test_mcnet_learns_digits_by_the_cross_entropy() -> None:
    """By the squared error, it ends at black frames, whose gradient is 0."""
    for preset in ("small", "demo"):
        for dataset, weights in (("moving-mnist", (0, 1)), ("kth", (1, 0))):
            training = zoo.recipe("mcnet", preset, dataset=dataset).training
            assert (training.l2, training.cross_entropy) == weights
    assert zoo.recipe("mcnet", training={"l2": 1.0, "cross_entropy": 0.0}).training.l2 == 1


def test_models_are_made_for_the_canvas_of_the_data() -> None:
    assert zoo.recipe("fc-lstm", "demo").options["canvas"] == [40, 40]
    assert zoo.recipe("cdna", dataset="kth").options["canvas"] == [128, 128]
    assert zoo.recipe("cdna", data={"size": 32}).options["canvas"] == [32, 32]
    assert zoo.recipe("cdna", options={"canvas": [32, 32]}).options["canvas"] == [32, 32]


def test_a_protocol_is_that_of_a_paper() -> None:
    with pytest.raises(ZooError, match="needs the preset paper"):
        zoo.recipe("dfn", protocol="predrnn-pp")
    with pytest.raises(ZooError, match="has no settings"):
        zoo.recipe("dfn", "paper", protocol="predrnn")


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("model", ["conv-lstm", "conv-tt-lstm-sw", "conv-tt-lstm-fw"])
def test_paper_on_kth(model: str, kernel: int) -> None:
    recipe = zoo.recipe(model, "paper", {"kernel": kernel}, dataset="kth")
    assert recipe.options == {"kernel": kernel, "sigmoid": True}
    data, mnist = recipe.data, zoo.recipe(model, "paper", {"kernel": kernel})
    assert (data.name, data.size, data.observed, data.length, data.clips_per_epoch, data.endless, data.windows) == (
        "kth",
        128,
        10,
        20,
        10_000,
        True,
        "conv-tt-lstm",
    )
    assert (recipe.sampling.schedule, recipe.sampling.patience, recipe.sampling.decay) == ("plateau", 20, 4e-3)
    assert (recipe.learning_rate, recipe.training) == (mnist.learning_rate, mnist.training)


@pytest.mark.parametrize("model", ["predrnn", "causal-lstm", "predrnn-pp"])
def test_predrnn_paper_on_kth(model: str) -> None:
    recipe = zoo.recipe(model, "paper", dataset="kth")
    assert recipe.options == {"sigmoid": True}
    assert (recipe.data.name, recipe.data.size, recipe.data.windows) == ("kth", 128, "mcnet")
    mnist = zoo.recipe(model, "paper")
    assert recipe.training.steps == 200_000
    assert (recipe.sampling, recipe.learning_rate) == (mnist.sampling, mnist.learning_rate)
    assert recipe.training.batch_size == 8


@pytest.mark.parametrize(("dataset", "steps"), [("moving-mnist", 4000), ("kth", 800), ("videos:films", 4000)])
def test_small(dataset: str, steps: int) -> None:
    recipe = zoo.recipe("conv-lstm", "small", dataset=dataset)
    side = recipe.data.size // recipe.options["patch"]
    assert (recipe.data.name, recipe.data.endless, side) == (dataset, True, 32 if dataset == "kth" else 16)
    assert recipe.options.get("sigmoid", False) is (dataset != "moving-mnist")
    assert (recipe.training.steps, recipe.sampling.stop, recipe.training.l1) == (steps, steps // 2, 0)
    assert recipe.training.validate_every == steps // 8
    colours = 3 if dataset == "videos:films" else 1  # the other data sets have none
    assert zoo.recipe("conv-lstm", "small", {"channels": 3}, dataset).data.channels == colours


@pytest.mark.parametrize(
    ("preset", "dataset"), [*itertools.product(["paper", "small", "demo"], ["moving-mnist", "kth"])]
)
@pytest.mark.parametrize("model", zoo_reference.shipped_models())
def test_every_preset_makes_every_model(model: str, preset: str, dataset: str) -> None:
    protocol = find_model(model).protocol
    if preset == "paper" and protocol is not None and dataset not in protocol.settings:
        with pytest.raises(ZooError, match=f"no settings are published for {dataset}"):
            zoo.recipe(model, preset, dataset=dataset)
        return
    recipe = zoo.recipe(model, preset, dataset=dataset)
    network = zoo.create_model(model, **recipe.options)
    if "sigmoid" in find_model(model).options:
        assert isinstance(network, RecurrentPredictor)
        assert network.sigmoid is (dataset == "kth")
    check_steps(check_recipe(recipe), network)
    assert from_plain(to_plain(recipe), "here") == recipe


def test_changes() -> None:
    recipe = zoo.recipe("conv-lstm", "small", options={"hidden": [8]}, training={"seed": 3}, data={"digits": 3})
    assert (recipe.options["hidden"], recipe.options["patch"]) == ([8], 4)
    assert (recipe.training.seed, recipe.data.digits, recipe.training.batch_size) == (3, 3, 8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "conv-lst"}, "did you mean 'conv-lstm'"),
        ({"preset": "papers"}, "did you mean 'paper'"),
        ({"trainings": {}}, "no part 'trainings'"),
        ({"training": {"seeds": 1}}, "did you mean 'seed'"),
        ({"dataset": "kths"}, "did you mean 'kth'"),
        ({"dataset": "videos:"}, "no data set 'videos:'"),
        ({"dataset": "videos:films", "preset": "paper"}, "no settings are published for videos:films"),
        ({"data": {"name": "kths"}}, "did you mean 'kth'"),
        ({"model": 5}, "model = 5 must be the name of a model"),
        ({"preset": {"hidden": [2]}}, "no preset {'hidden': .2.}; known: "),
        ({"options": 5}, "options = 5 must be a mapping of options"),
        ({"training": 5}, "training = 5 must be a mapping of its settings"),
        ({"trainings": 5}, "no part 'trainings'"),
    ],
)
def test_unknown(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        zoo.recipe(**{"model": "conv-lstm", **arguments})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": 3}, "settings are needed"),
        ({"data": {"name": "moving-mnist", "digit": 3}}, "did you mean 'digits'"),
        ({"data": {"name": "moving-mnist", "digits": "two"}}, "must be int"),
        ({"data": {"name": "kths"}}, "did you mean 'kth'"),
        ({"data": {"name": "videos:films", "channels": 2}}, "must be one of 1, 3"),
        ({"data": {"name": "kth", "validation_persons": 15}}, "must be list"),
        ({"sampling": {"schedule": "cosine"}}, "sampling.schedule = 'cosine' is unknown"),
        ({"training": {"batch_size": True}}, "must be int"),
        ({"model": None}, "must be str"),
    ],
)
def test_settings_of_the_wrong_kind(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        from_plain({"model": "conv-lstm", **change}, "config.yaml")


def test_only_a_recipe_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"recipe = \{'a': 1\} must be a recipe; make one with zoo.recipe"):
        zoo.fit({"a": 1}, tmp_path / "run")  # type: ignore[arg-type]


def test_a_missing_setting() -> None:
    with pytest.raises(ZooError, match="'model' is missing"):
        from_plain({}, "config.yaml")


@pytest.mark.parametrize("name", ["conv-lstm", "conv-tt-lstm-sw", "causal-lstm", "predrnn-pp"])
def test_brief_is_what_the_shipped_weights_were_trained_by(name: str) -> None:
    _, trained = load_pretrained(name, "moving-mnist-brief")
    recipe = zoo.recipe(name, "brief")
    training = dataclasses.replace(recipe.training, accelerator=trained.training.accelerator)
    assert dataclasses.replace(recipe, options=trained.options, training=training) == trained
    assert trained.options | recipe.options == trained.options


def test_brief_is_for_moving_mnist() -> None:
    with pytest.raises(ZooError, match="brief is for moving-mnist, not kth"):
        zoo.recipe("conv-lstm", "brief", dataset="kth")

"""Presets say what is published, and refuse what they do not know; settings go to plain data and back."""

from typing import Any

import pytest
import zoo_reference

import zoo
from zoo.errors import ZooError
from zoo.settings import from_plain, to_plain


@pytest.mark.parametrize(("options", "base"), [({}, 1e-4), ({"kernel": 5}, 1e-4), ({"kernel": 3}, 1e-3)])
def test_paper(options: dict[str, Any], base: float) -> None:
    recipe = zoo.recipe("conv-tt-lstm-sw", "paper", options=options)
    assert recipe.options == options  # the model's defaults are the published network
    assert (recipe.rate.base, recipe.rate.rule, recipe.sampling.rule) == (base, "plateau", "plateau")
    assert (recipe.sampling.patience, recipe.rate.patience, recipe.rate.factor, recipe.rate.every) == (20, 20, 0.98, 5)
    training, data = recipe.training, recipe.data
    assert (training.batch, training.clip, training.l1, training.l2) == (16, 1, 1, 1)
    assert (data.digits, data.canvas, data.observed, data.length, data.clips, data.endless) == (
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
    assert (recipe.sampling.rule, recipe.sampling.start, recipe.sampling.stop) == ("linear", 0, 50_000)
    assert (recipe.rate.rule, recipe.rate.base) == ("constant", 1e-3)
    training = recipe.training
    assert (training.steps, training.batch, training.l1, training.l2, training.clip) == (80_000, 8, 1, 1, 0)


@pytest.mark.parametrize("preset", ["paper", "small", "demo"])
@pytest.mark.parametrize("model", zoo_reference.shipped_models())
def test_every_preset_makes_every_model(model: str, preset: str) -> None:
    recipe = zoo.recipe(model, preset)
    made = zoo.create_model(model, **recipe.options)
    assert recipe.data.canvas % made.patch == 0
    assert from_plain(to_plain(recipe), "here") == recipe


def test_changes() -> None:
    recipe = zoo.recipe("conv-lstm", "small", options={"hidden": [8]}, training={"seed": 3}, data={"digits": 3})
    assert (recipe.options["hidden"], recipe.options["patch"]) == ([8], 4)
    assert (recipe.training.seed, recipe.data.digits, recipe.training.batch) == (3, 3, 8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "conv-lst"}, "did you mean 'conv-lstm'"),
        ({"preset": "papers"}, "did you mean 'paper'"),
        ({"trainings": {}}, "no part 'trainings'"),
        ({"training": {"seeds": 1}}, "did you mean 'seed'"),
    ],
)
def test_unknown(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        zoo.recipe(**{"model": "conv-lstm", **arguments})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": 3}, "settings are needed"),
        ({"data": {"digit": 3}}, "did you mean 'digits'"),
        ({"data": {"digits": "two"}}, "must be int"),
        ({"sampling": {"rule": "cosine"}}, "must be one of"),
        ({"training": {"batch": True}}, "must be int"),
        ({"model": None}, "must be str"),
    ],
)
def test_settings_of_the_wrong_kind(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        from_plain({"model": "conv-lstm", **change}, "config.yaml")


def test_a_missing_setting() -> None:
    with pytest.raises(ZooError, match="'model' is missing"):
        from_plain({}, "config.yaml")

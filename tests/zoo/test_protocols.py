"""The ways to train that papers and their code describe beside the main one, and the preset that must never change."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from tests.support.reference import shipped_models
from tests.support.runs import RECIPE, last
from zoo.errors import ZooError
from zoo.evaluation import LAYOUTS
from zoo.registry import find_model
from zoo.settings import Recipe, to_plain
from zoo.training import fit
from zoo.training.step import StepInputs, TrainState, train_step

BRIEF = Path(__file__).parents[1] / "reference" / "brief.json"


def plain_brief(name: str) -> dict[str, Any]:
    """The recipe with all options of the model, also those that the preset leaves at the model's defaults."""
    recipe = to_plain(zoo.recipe(name, "brief"))
    options = find_model(name).options | recipe["options"]
    return recipe | {"options": json.loads(json.dumps(options))}  # tuples become lists


@pytest.mark.parametrize("name", shipped_models())
def test_the_preset_brief_never_changes(name: str) -> None:
    """Every setting, with the options of the network; settings that came later have their defaults."""
    frozen = json.loads(BRIEF.read_text())[name]
    now = plain_brief(name)
    for part, settings in frozen.items():
        assert settings == (now[part] if part in ("model", "options") else {key: now[part][key] for key in settings})
    defaults = to_plain(Recipe(name))
    later = {key: value for key, value in now["training"].items() if key not in frozen["training"]}
    assert later == {key: defaults["training"][key] for key in later}


# ---- PredRNN++'s released code ----------------------------------------------------------------------------------


def test_the_released_protocol_of_predrnn_pp() -> None:
    paper, released = (zoo.recipe("predrnn-pp", "paper", protocol=key) for key in ("predrnn-pp", "predrnn-pp-released"))
    training = replace(paper.training, l1=0.0, backwards=True, steps=160_000)
    assert released == replace(paper, training=training, sampling=replace(paper.sampling, stop=100_000))
    assert zoo.recipe("predrnn", "paper", dataset="kth", protocol="predrnn-pp-released").training.steps == 400_000


def backwards(steps: int) -> Recipe:
    training = replace(RECIPE.training, steps=steps, backwards=True, validate_every=steps, save_every=0)
    return replace(RECIPE, training=training)


def test_every_batch_is_played_backwards_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def noting(state: TrainState, inputs: StepInputs) -> None:
        forward = state.model.forward

        def watched(x: Tensor, horizon: int, truth: Tensor, use_truth: Tensor) -> Tensor:
            seen.append((torch.cat([x, truth], 1), use_truth))
            return forward(x, horizon, truth, use_truth)

        with monkeypatch.context() as patch:
            patch.setattr(state, "model", _Watched(state.model, watched))
            train_step(state, inputs)

    monkeypatch.setattr("zoo.training.graph.train_step", noting)
    fit(backwards(5), tmp_path / "run", progress=False)
    assert len(seen) == 5
    for (clips, mask), (played_backwards, same) in ((seen[0], seen[1]), (seen[2], seen[3])):
        assert torch.equal(played_backwards, clips.flip(1))
        assert torch.equal(mask, same)
    assert not torch.equal(seen[2][0], seen[0][0])
    assert not torch.equal(seen[4][0], seen[2][0])


class _Watched:
    """The model of a step, whose calls go through a function."""

    def __init__(self, model: Any, call: Any) -> None:
        self._model, self._call = model, call

    def __call__(self, *args: Any) -> Tensor:
        return self._call(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def test_a_run_resumes_between_the_two_directions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = backwards(6)
    recipe = replace(recipe, training=replace(recipe.training, validate_every=3))
    fit(recipe, tmp_path / "whole", progress=False)

    class Cut(Exception):
        pass

    taken = 0

    def failing(state: TrainState, inputs: StepInputs) -> None:
        nonlocal taken
        if taken == 4:
            raise Cut
        train_step(state, inputs)
        taken += 1

    with monkeypatch.context() as patch:
        patch.setattr("zoo.training.graph.train_step", failing)
        with pytest.raises(Cut):
            fit(recipe, tmp_path / "cut", progress=False)
    assert last(tmp_path / "cut")["step"] == 3
    fit(recipe, tmp_path / "cut", progress=False)
    for name, weight in last(tmp_path / "whole")["weights"].items():
        assert torch.equal(last(tmp_path / "cut")["weights"][name], weight)


# ---- ablations of the Conv-TT-LSTM paper ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["conv-lstm", "conv-tt-lstm-sw", "conv-tt-lstm-fw"])
def test_ablations_change_one_thing(name: str) -> None:
    paper = zoo.recipe(name, "paper")
    few = zoo.recipe(name, "paper-four-layers")
    assert few == replace(paper, options={"layers": [1, 1, 1, 1]})
    alone = zoo.recipe(name, "paper-l1-alone")
    assert alone == replace(paper, training=replace(paper.training, l2=0.0))
    forced = zoo.recipe(name, "paper-teacher-forcing")
    assert forced == replace(paper, sampling=forced.sampling)
    assert forced.sampling.schedule == "none"


def test_ablations_are_those_of_one_paper() -> None:
    with pytest.raises(
        ZooError, match="paper-l1-alone is an ablation of the Conv-TT-LSTM paper, which does not describe predrnn"
    ):
        zoo.recipe("predrnn", "paper-l1-alone")
    mnist, ablations, _ = LAYOUTS["conv-tt-lstm"].tables
    assert ablations.columns == mnist.columns

"""A training says when its gradient has vanished."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.runs import with_training
from zoo.settings import ConstantRate
from zoo.training import fit
from zoo.training.step import TrainState


@pytest.mark.parametrize(("rate", "told"), [(1e3, True), (1e-3, False)])
def test_a_vanished_gradient_is_told_once(
    rate: float, told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A large rate drives the last sigmoid to 0 or 1, where it has no gradient."""
    recipe = replace(
        with_training(steps=8, log_every=2),
        model="conv-lstm",
        options={"hidden": [3], "layers": [1], "kernel": 3, "patch": 4, "sigmoid": True},
        learning_rate=ConstantRate(base=rate),
    )
    fit(recipe, tmp_path / "run")
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("The gradient has vanished: its norm is 0 at a loss of 0.") == told


@pytest.mark.parametrize(("norm", "told"), [(4e-8, True), (7e-7, True), (9e-7, False), (0.5, False)])
def test_a_vanished_gradient_is_small_beside_the_loss(
    norm: float, told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a saturated network (DFN on KTH: 4e-8 at a loss of 0.008), and those on both sides of the bound."""
    measured = TrainState.measured
    monkeypatch.setattr(TrainState, "measured", lambda state: measured(state) | {"gradient_norm": norm, "loss": 0.008})
    fit(with_training(steps=2, log_every=1), tmp_path / "run")
    assert capsys.readouterr().out.count("The gradient has vanished") == told

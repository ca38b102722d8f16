"""What notebooks show of models, recipes, runs, scores, predictions and chains: small, escaped and readable."""

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import tensortrain as tt
import zoo
from tests.support.browser import loaded
from tests.support.scores import score
from zoo.evaluation import CopyLast
from zoo.training.run_folder import Run

NASTY = "<script>alert(1)</script>"
MODEL = {"hidden": [2], "layers": [1], "kernel": 3, "patch": 4}


def shown() -> dict[str, str]:
    """The HTML of one object of each kind, with a name that must be escaped where there is one."""
    model, recipe = zoo.create_model("conv-lstm", **MODEL), zoo.recipe("conv-lstm", "demo")
    objects = {
        "model": model,
        "recipe": zoo.settings.Recipe(NASTY),
        "run": Run(Path(NASTY), recipe, model, 3),
        "scores": score(NASTY),
        "chain": tt.ConvTensorTrain([torch.ones(4, 2, 3, 3), torch.ones(2, 8, 3, 3)], error=0.1),
    }
    return {kind: each._repr_html_() for kind, each in objects.items()}  # type: ignore[attr-defined]


def test_everything_is_escaped_small_and_inside() -> None:
    for kind, page in shown().items():
        assert loaded(page) == [], kind
        assert "<script" not in page, kind
        assert len(page) < 20_000, kind
        for tag in ("div", "table", "tr", "details", "pre", "svg", "b"):
            assert len(re.findall(rf"<{tag}\b", page)) == page.count(f"</{tag}>"), (kind, tag)
    for kind in ("recipe", "run", "scores"):
        assert "&lt;script&gt;alert(1)" in shown()[kind]


def test_what_each_shows() -> None:
    pages = shown()
    assert "weights of step" in pages["run"]
    assert "steps = " in pages["recipe"]
    assert "copy last frame" in pages["scores"]
    assert re.findall(r'text-anchor="middle">(\d+)<', pages["chain"]) == ["8", "2", "4"]  # from input to output
    parameters = sum(parameter.numel() for parameter in zoo.create_model("conv-lstm", **MODEL).parameters())
    assert f"{parameters:,}" in pages["model"]


def test_a_prediction_moves() -> None:
    prediction = zoo.predict({"copy": CopyLast()}, torch.rand(5, 1, 16, 16), horizon=2, observed=3)
    (data,) = re.findall('src="data:image/gif;base64,([^"]*)"', prediction._repr_html_())
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.n_frames == 5


def test_series_are_shown_as_a_picture() -> None:
    test = zoo.Lorenz("test", length=12)
    model = zoo.create_model("lstm", hidden=3)
    prediction = zoo.predict_series({"lstm": model}, test[0], 4, 8)
    assert prediction._repr_png_().startswith(b"\x89PNG")


def test_printed_runs_and_scores_are_short() -> None:
    model = zoo.create_model("conv-lstm", **MODEL)
    run = Run(Path("runs/mine"), zoo.recipe("conv-lstm", "demo"), model, 300)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert repr(run) == (
        f"Run('runs/mine': conv-lstm, {parameters:,} parameters, weights of step 300 of 600, moving-mnist)"
    )
    scores = score()
    assert re.fullmatch(r"(\w+ [-.e\d]+, ){3}ssim [-.e\d]+", repr(scores.average))
    assert scores.average["mse"] == scores.per_frame["mse"].mean()
    assert "Convention standard" in repr(scores)


def test_models_are_listed_as_timm_does() -> None:
    names = zoo.list_models(pretrained=True)
    assert "conv-lstm:kth-small" in names
    assert all(weights in zoo.pretrained_names(name) for name, weights in (each.split(":") for each in names))
    assert set(zoo.list_models("conv-tt*")) == {"conv-tt-lstm-fw", "conv-tt-lstm-sw"}
    assert zoo.list_models("no-such*") == []


def test_progress_is_shown_in_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    from tensortrain import terminal

    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    assert not terminal.watched()
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert terminal.watched()


def test_listing_the_models_does_not_import_torch() -> None:
    code = "import sys, zoo; zoo.list_models(pretrained=True); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)

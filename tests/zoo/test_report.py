"""`zoo report`: one page about runs, which loads nothing, is small, and plays in a browser."""

import csv
import io
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import zoo
from tensortrain.pages import Section
from tests.support.browser import CHROMIUM, loaded, opened
from tests.support.runs import run_command
from tests.support.scores import score
from zoo.data import Lorenz
from zoo.errors import ZooError
from zoo.evaluation import Prediction
from zoo.reporting import run_page
from zoo.reporting.course import Course, read_metrics
from zoo.reporting.films import MOST_BYTES, film, strip
from zoo.reporting.source import Source

TINY = (
    "--options.hidden=[2] --options.layers=[1] --options.kernel=3 --options.patch=4 --data.digits=1 --data.size=32"
    " --data.length=6 --data.observed=3 --data.source=embedded --training.steps=4 --training.batch_size=2"
    " --training.log_every=1 --training.validate_every=2 --training.validation_clips=2 --training.accelerator=cpu"
)


@pytest.fixture(autouse=True)
def static(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts as pictures, whose making takes less time than bundling JavaScript."""
    monkeypatch.setattr("tensortrain.pages.page.interactive", lambda: False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of two models, and one of series."""
    folder = tmp_path_factory.mktemp("runs")
    root = ["--data-root", folder]
    for model, rate in (("conv-lstm", "0.001"), ("conv-tt-lstm-sw", "0.002")):
        words = [
            "train",
            model,
            "moving-mnist",
            *TINY.split(),
            f"--learning_rate.base={rate}",
            *root,
            "-o",
            folder / model,
        ]
        assert run_command(*words) == 0
    series = "train lstm lorenz --data.observed=5 --data.length=9 --training.batch_size=4 --training.validation_clips=8"
    steps = "--options.hidden=3 --training.steps=4 --sampling.stop=3 --training.validate_every=2"
    assert run_command(*series.split(), *steps.split(), "-o", folder / "series") == 0
    return folder


def report(runs: Path, *words: object) -> str:
    path = runs / "report.html"
    assert run_command("report", *map(str, words), "-o", path, "--data-root", runs) == 0
    return path.read_text()


def test_the_page_of_two_runs(runs: Path) -> None:
    page = report(runs, runs / "conv-lstm", runs / "conv-tt-lstm-sw", "--horizon=3", "--count=4")
    assert loaded(page) == []
    assert len(page.encode()) < 3_000_000
    text = re.sub(r"<[^>]+>", " ", page)
    for part in (
        "2 models compared",
        "trained for 4 of 4 steps, 8 clips",
        "Convention standard",
        "copy last frame",
        "blank frames",
        "The middle clip, number",
        "Gradient norm",
        "Sampling ratio",
        "clips/s",
        "The loss may rise while the validation loss falls",
        "Settings that differ",
        "All settings of conv-lstm",
    ):
        assert part in text, part
    different = re.findall(r"<tr><td>([\w.]+)</td><td>([^<]*)</td><td>([^<]*)</td></tr>", page)
    assert ("learning_rate.base", "0.001", "0.002") in different
    assert ("model", "conv-lstm", "conv-tt-lstm-sw") in different
    assert not {name for name, *_ in different} & {"training.steps", "data.size"}
    assert "torch" in page
    assert page.count('class="card player"') == 3


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_films_play_in_a_browser(runs: Path) -> None:
    report(runs, runs / "conv-lstm", "--horizon=3", "--count=2")
    document = opened(runs / "report.html", "--window-size=390,800")
    assert "background-position" in document
    moments = re.findall(r"<output>frame (\d) of 6, (observed|predicted)</output>", document)
    assert len(moments) == 2  # of two clips the middle one is the worst


def test_one_run_is_set_beside_the_nearest_preset(runs: Path) -> None:
    page = report(runs, runs / "conv-lstm", "--horizon=3", "--count=2")
    assert "Settings that differ from the preset" in page
    assert yaml.safe_load((runs / "conv-lstm" / "config.yaml").read_text())["training"]["steps"] == 4


def test_a_page_of_series_and_of_weights(runs: Path) -> None:
    page = report(runs, runs / "series", "--horizon=4", "--count=3")
    assert "Step by step" in page
    assert "Curves of the truth" in page
    assert run_command("export", runs / "conv-lstm", "-o", runs / "weights.safetensors") == 0
    page = report(runs, runs / "weights.safetensors", "--horizon=2", "--count=2")
    assert "weights trained on moving-mnist" in page
    assert "Gradient norm" not in page


def test_only_scores_on_the_same_data_are_ranked() -> None:
    lstm = zoo.create_model("lstm", hidden=3)
    series = zoo.evaluate(lstm, Lorenz("test", length=7), horizon=3, observed=4, count=2, name="lstm")
    model = zoo.create_model("conv-lstm", hidden=[2], layers=[1])
    frames = [score(name, comparable_with=data) for name, data in (("far", "a"), ("near", "b"))]
    easy = replace(frames[1], per_frame={key: 0 * values for key, values in frames[1].per_frame.items()})
    source = Source("far", model, Course(zoo.recipe("conv-lstm", "demo")))
    for scores, best in (([frames[0], series], "far"), ([series, frames[0]], "lstm"), ([frames[0], easy], "far")):
        page = run_page([source], scores, Section("Predictions", []), Section("End", []))
        assert page.tiles[0].note.startswith(best)


def test_the_best_model_has_the_highest_of_a_measure_that_should_be_high() -> None:
    model = zoo.create_model("conv-lstm", hidden=[2], layers=[1])
    data = zoo.MovingMNIST("test", length=6, count=2, source="embedded")
    low = zoo.evaluate(model, data, 3, observed=3, metrics=["psnr"], name="low")
    high = replace(low, name="high", per_frame={"psnr": low.per_frame["psnr"] + 1})
    source = Source("low", model, Course(zoo.recipe("conv-lstm", "demo")))
    tiles = run_page([source], [low, high], Section("Predictions", []), Section("End", [])).tiles
    assert tiles[0].note.startswith("high")
    labels = [tile.label for tile in tiles[1:-1]]
    assert labels == [f"PSNR of {name!r}" for name in low.baselines]  # a ratio of decibels means nothing


def test_published_clips_are_those_of_the_pictures(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.zeros((20, 3, 64, 64), np.uint8)
    for clip in range(3):
        for t in range(20):
            frames[t, clip, 20 + clip : 24 + clip, t : t + 4] = 255
    np.save(runs / "mnist_test_seq.npy", frames)
    shown: list[torch.Tensor] = []
    monkeypatch.setattr("zoo.reporting.films.film", lambda title, prediction: shown.append(prediction.observed))
    monkeypatch.setattr("zoo.reporting.films.strip", lambda title, prediction: None)
    monkeypatch.setattr("zoo.reporting.run_page", lambda *arguments: sys.exit(7))
    words = ["report", runs / "conv-lstm", "-o", runs / "p.html", "--published", runs / "mnist_test_seq.npy"]
    assert run_command(*words) == 7
    clips = torch.from_numpy(frames) / 255
    assert len(shown) == 3
    assert all(any(torch.equal(one[:, 0], clips[:3, clip]) for clip in range(3)) for one in shown)


def test_what_cannot_be_measured_is_said_in_the_page(runs: Path) -> None:
    """The data may be on another machine: the training is shown all the same."""
    config = runs / "conv-lstm" / "config.yaml"
    before = config.read_text()
    config.write_text(before.replace("source: embedded", "source: mnist"))
    try:
        page = report(runs, runs / "conv-lstm", "--horizon=3", "--count=2")
    finally:
        config.write_text(before)
    assert "What is missing" in page
    assert "conv-lstm could not be evaluated" in page
    assert "Sampling ratio" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{run} -o page.pdf", ".html"),
        ("{run} -o nowhere/page.html", "nowhere"),
        ("no-run -o page.html", "no-run is not a trained model"),
        ("{run} {run} -o page.html", "two models are called"),
        ("{run} -o {run}/config.yaml", ".html"),
        ("{run}", "output"),
        ("{run} -o page.html --convention standrad", "did you mean 'standard'"),
    ],
)
def test_bad_input_is_refused_and_writes_nothing(
    words: str,
    message: str,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command("report", *words.format(run=runs / "conv-lstm").split()) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["step,loss\n1,x\n", "loss\n0.5\n", "step,loss\n,0.5\n", "step\n1,2,3\n"])
def test_damaged_metrics_are_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(content)
    with pytest.raises(ZooError, match=r"metrics.csv (cannot be read|has a row without a step)"):
        read_metrics(path)


def test_metrics_are_those_of_the_file(runs: Path) -> None:
    rows = read_metrics(runs / "conv-lstm" / "metrics.csv")
    with (runs / "conv-lstm" / "metrics.csv").open(newline="") as file:
        expected = [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]
    assert rows == expected
    assert [row["step"] for row in rows] == [1, 2, 3, 4]


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pictures_stay_small_whatever_they_show(channels: int) -> None:
    """Noise, which cannot be packed, in frames that are not square; the truth is shorter than the predictions."""
    observed, truth, predicted = (torch.rand(count, channels, 120, 160) for count in (10, 5, 20))
    prediction = Prediction(observed, {"a": predicted, "b": predicted}, truth)
    player = film("noise", prediction)
    assert len(player.sprite) <= MOST_BYTES
    with Image.open(io.BytesIO(player.sprite)) as image:
        assert image.size == (30 * player.size[1], 3 * player.size[0])
    assert player.stages[9:11] == ["frame 10 of 30, observed", "frame 11 of 30, predicted"]
    assert len(strip("noise", prediction).png) <= MOST_BYTES


def test_films_show_the_frames() -> None:
    observed, truth = torch.zeros(2, 1, 4, 6), torch.ones(1, 1, 4, 6)
    player = film("", Prediction(observed, {"half": torch.full((1, 1, 4, 6), 0.5)}, truth))
    with Image.open(io.BytesIO(player.sprite)) as image:
        pixels = np.asarray(image)
    expected = np.zeros((8, 18), np.uint8)
    expected[:4, 12:], expected[4:, 12:] = 255, 128
    np.testing.assert_array_equal(pixels, expected)

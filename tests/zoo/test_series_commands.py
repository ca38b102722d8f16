"""Series from the command line: training, resuming, tables, curves, pictures, weights, and what is refused."""

import csv
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from tests.support.runs import last, rows, run_command, same
from zoo.data import Lorenz
from zoo.errors import ZooError
from zoo.evaluation import Scores, compare, curves, predict, predict_series, save_values
from zoo.model_files.pretrained import load_weights
from zoo.predictors.series_model import SeriesModel
from zoo.training import fit

QUICK = "--data.observed=5 --data.length=9 --training.batch_size=4 --training.validation_clips=8 --options.hidden=3"
SHORT = "--training.steps=6 --sampling.stop=3 --training.validate_every=3"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of tiny runs of every model of series, and of one of video."""
    folder = tmp_path_factory.mktemp("series")
    for model in ("tt-rnn", "tt-lstm", "lstm"):
        assert run_command(*f"train {model} lorenz {QUICK} {SHORT}".split(), "-o", folder / model) == 0
    video = "--data.size=32 --data.observed=5 --data.length=9 --data.source=embedded --training.validation_clips=1"
    video += " --options.hidden=[2] --options.layers=[1] --training.steps=1 --training.batch_size=1"
    words = ["train", "conv-lstm", "moving-mnist", *video.split(), "--data-root", str(folder)]
    assert run_command(*words, "-o", folder / "conv-lstm") == 0
    return folder


def test_train_writes_a_run_that_opens(trained: Path) -> None:
    run = zoo.open_run(trained / "tt-lstm")
    assert isinstance(run.model, SeriesModel)
    assert (run.recipe.data.name, run.recipe.data.length, run.recipe.options["hidden"]) == ("lorenz", 9, 3)
    assert [row["step"] for row in rows(trained / "tt-lstm")] == ["3", "6"]


def test_train_explains_its_numbers_in_words_for_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(*f"train tt-lstm lorenz {QUICK} --training.steps=1".split(), "-o", tmp_path / "run") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "ratio: fraction of true steps that the model reads after the observed ones; the other steps are" in out
    assert "MSE: squared error on these clips, summed over the columns of a predicted step." in out
    assert "frame" not in out


def test_evaluate_prints_errors_by_horizon_and_draws_them(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--horizon=12", "--count=40", "--curves", trained / "curves.png"]
    assert run_command("evaluate", trained / "tt-lstm", *words) == 0
    out = " ".join(capsys.readouterr().out.split())
    for expected in ("RMSE", "after 5 observed", "copy last values", "mean of the data", "tt-lstm", "half of the"):
        assert expected in out, expected
    assert "A step is 0.05 time units." in out
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")
    table = list(csv.DictReader((trained / "curves.csv").open()))
    assert [row["step"] for row in table if row["model"] == "tt-lstm"] == [str(t) for t in range(1, 13)]
    assert {row["metric"] for row in table} == {"rmse"}


def test_compare_has_a_table_of_its_own(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [trained / model for model in ("tt-rnn", "tt-lstm", "lstm")]
    assert run_command("compare", *runs, "--horizon", "4", "6", "--count=20", "--curves", trained / "all.png") == 0
    out = capsys.readouterr().out
    assert "published" not in out
    assert all(re.findall(rf"^{run.name}  ", out, re.MULTILINE) for run in runs)
    assert {row["model"] for row in csv.DictReader((trained / "all.csv").open())} > {"tt-rnn", "tt-lstm", "lstm"}


def test_predict_draws_curves(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = trained / "prediction.png"
    words = ["--horizon=8", "--clip=3", "-o", picture]
    assert run_command("predict", trained / "tt-lstm", trained / "lstm", *words) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run_command("predict", trained / "tt-lstm", *words[:-1], trained / "values.npz") == 0
    with np.load(trained / "values.npz") as file:
        assert file["predictions"].shape == (1, 8, 3)
        assert file["columns"].tolist() == ["x", "y", "z"]


def test_an_exported_file_holds_the_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = trained / "mine.safetensors"
    assert run_command("export", trained / "tt-rnn", "-o", weights) == 0
    assert run_command("evaluate", weights, "--horizon=2", "--count=4") == 0
    model, recipe = load_weights(weights)
    run = zoo.open_run(trained / "tt-rnn")
    assert recipe == run.recipe
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), run.model.parameters(), strict=True))


def test_models_says_what_each_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("models") == 0
    entries = re.split(r"\n(?=\w)", capsys.readouterr().out)
    series = {entry.split()[0] for entry in entries[:-1] if "Reads series" in " ".join(entry.split())}
    assert series == {"tt-rnn", "tt-lstm", "lstm"}


def test_benchmark_times_a_model_of_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--preset", "paper", "--variants", "eager", "--frames", "4", "--batch", "2", "--rounds", "1"]
    options += ["--device", "cpu", "--data-root", str(tmp_path), "-o", str(tmp_path / "speed")]
    assert run_command("benchmark", "tt-rnn", *options) == 0
    assert "tt-rnn, paper: inference, batch 2, 4 steps" in " ".join(capsys.readouterr().out.split())
    lines = (tmp_path / "speed" / "benchmark.csv").read_text().splitlines()
    (training, *_), (inference, *_) = (
        [row for row in csv.DictReader(line for line in lines if line[0] != "#") if row["job"] == job]
        for job in ("training", "inference")
    )
    assert float(training["gmac"]) > float(inference["gmac"]) > 0
    assert float(training["seconds"]) > 0
    assert (training["preset"], training["batch"], training["frames"]) == ("paper", "2", "4")
    assert not (tmp_path / "speed" / "loading.csv").exists()  # series are not loaded


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_has_the_bits_of_an_unbroken_one(trained: Path, tmp_path: Path, workers: int) -> None:
    recipe = zoo.open_run(trained / "tt-lstm").recipe
    session = replace(recipe, training=replace(recipe.training, max_time=1e-9, num_workers=workers))
    for _ in range(8):
        fit(session, tmp_path / "broken", progress=False)
    assert last(tmp_path / "broken")["step"] == 6
    assert rows(tmp_path / "broken") == rows(trained / "tt-lstm")
    assert same(last(tmp_path / "broken"), last(trained / "tt-lstm"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train tt-lstm moving-mnist", "tt-lstm reads series, but moving-mnist is video; choose lorenz"),
        ("train conv-lstm lorenz", "conv-lstm reads video, but lorenz is series; choose moving-mnist"),
        ("train tt-lstm lorenz --data.size 32", "data.size"),
        ("train tt-lstm lorenz --data.channels 1", "data.channels"),
        ("train tt-lstm lorenz --options.patch 2", "options.patch"),
        ("train tt-lstm lorenz --options.canvas [8,8]", "options.canvas"),
        ("train tt-lstm lorenz --options.columns 4", "lorenz has 3 columns, but tt-lstm reads 4"),
        ("train tt-lstm lorenz --training.gradient 1", "training.gradient is a loss of frames"),
        ("train tt-lstm lorenz --preset brief", "brief is for moving-mnist"),
        ("train lstm lorentz", "lorenz"),
        ("evaluate tt-lstm --convention standard", "convention 'standard' measures video, but the clips are series"),
        ("evaluate tt-lstm --digits 2", "--digits is an option of moving-mnist, but the clips are of lorenz"),
        ("evaluate tt-lstm --windows mcnet", "--windows is an option of kth"),
        ("evaluate tt-lstm --published test.npy", "--published holds video, but tt-lstm was trained on lorenz"),
        ("compare tt-lstm lstm --layout predrnn-pp", "layout = 'predrnn-pp' is a table for video"),
        ("compare tt-lstm conv-lstm --count 1 --horizon 2", "measured on series, but 'conv-lstm' on video"),
        ("predict tt-lstm -o out.gif", ".gif has no suffix that says what to write; legal are .png, .npz"),
        ("predict tt-lstm -o out.png --video film.gif", "--video is for video models"),
        ("predict tt-lstm -o out.png --clip 1000", "index 1000 is out of range; legal are 0 to 999"),
        ("predict tt-lstm conv-lstm -o out.png", "run the command for each separately"),
        ("gradients tt-lstm -o out.png", "the clips are series; name video models"),
        ("compress tt-lstm -o small.safetensors --parameters 0.5", "only video models can be compressed"),
        ("data lorenz", "there is nothing to prepare"),
    ],
)
def test_what_is_refused(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str, words: str
) -> None:
    monkeypatch.chdir(trained)
    before = set(trained.rglob("*"))
    assert run_command(*shlex.split(line)) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert set(trained.rglob("*")) == before


# ---- from Python -------------------------------------------------------------------------------------------------


class Drift(SeriesModel):
    """Goes on as from the step before the last one to the last one."""

    def forward(self, x: torch.Tensor, horizon: int, truth: object = None, use_truth: object = None) -> torch.Tensor:
        steps = torch.arange(1, horizon + 1, dtype=x.dtype)[:, None]
        return x[:, -1:] + steps * (x[:, -1:] - x[:, -2:-1])


def test_scores_are_those_of_numpy(tmp_path: Path) -> None:
    test = Lorenz("test", length=12)
    scores = zoo.evaluate(Drift(3), test, 5, observed=6, count=23, batch=7, name="drift")
    clips = test.clips(range(23)).double().numpy()
    true, x = clips[:, 6:11], clips[:, :6]
    expected = {
        "drift": x[:, -1:] + np.arange(1, 6)[:, None] * (x[:, -1:] - x[:, -2:-1]),
        "copy last values": x[:, -1:],
        "mean of the data": test.mean.numpy(),
    }
    for name, predicted in expected.items():
        rmse = np.sqrt(((predicted - true) ** 2).mean((0, 2)))
        np.testing.assert_allclose(scores.rows[name]["rmse"], rmse, rtol=1e-5)
        half = 2.0738731 * ((predicted - true) ** 2).mean(2).std(0, ddof=1) / 23**0.5
        low, high = (np.sqrt(np.maximum(rmse**2 + sign * half, 0)) for sign in (-1, 1))
        np.testing.assert_allclose(scores.half_intervals[name]["rmse"], (high - low) / 2, rtol=1e-4)
    scores.save(tmp_path / "scores.json")
    loaded = Scores.load(tmp_path / "scores.json")
    assert (loaded.frame, loaded.convention, loaded.content) == ((3,), scores.convention, "series")
    save_values([loaded], tmp_path / "values.csv")
    header, first = (tmp_path / "values.csv").read_text().splitlines()[:2]
    assert header == "data,observed,horizon,model,metric,step,value,half_interval"
    assert first.startswith("lorenz,6,5,copy last values,rmse,1,")
    (panel,) = curves([loaded]).axes
    assert panel.get_xlabel() == "predicted step"


def test_the_table_says_where_half_of_the_spread_is_passed() -> None:
    test = Lorenz("test", length=30)
    long, short = (zoo.evaluate(Drift(3), test, h, observed=6, count=50, name="drift") for h in (20, 5))
    rmse, spread = long.per_frame["rmse"], long.baselines["mean of the data"]["rmse"].mean()
    first = int(np.argmax(rmse > spread / 2)) + 1
    table = compare([short, long])
    assert [row[0] for row in table.rows] == ["drift", "copy last values", "mean of the data"]
    assert [column.heading for column in table.columns[2:-1]] == ["1", "2", "5", "10", "20"]
    assert table.rows[0][-1] == str(first)
    assert table.rows[0][4] == f"{rmse[4]:.4f}"
    with pytest.raises(ZooError, match="two scores are named 'drift' at horizon 5"):
        compare([short, short])
    with pytest.raises(ZooError, match="after 7 steps"):
        compare([short, zoo.evaluate(Drift(3), test, 5, observed=7, count=5, name="other")])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metrics": ["ssim"]}, "convention 'series' has no metric 'ssim'"),
        ({"convention": "openstl"}, "'openstl' measures video"),
        ({"horizon": 30}, "clips of 12 steps are too short"),
        ({"name": "mean of the data"}, "is the name of a baseline"),
    ],
)
def test_evaluate_refuses(options: dict[str, object], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        zoo.evaluate(Drift(3), Lorenz("test", length=12), **{"horizon": 5, "observed": 6, **options})  # type: ignore


def test_models_that_diverge_or_have_other_columns_are_named() -> None:
    class Wild(Drift):
        def forward(self, x: torch.Tensor, horizon: int, truth: object = None, use_truth: object = None):
            return super().forward(x, horizon) * torch.nan

    test = Lorenz("test", length=12)
    with pytest.raises(ZooError, match="predicted series have values that are not finite"):
        zoo.evaluate(Wild(3), test, 5, observed=6, count=2)
    with pytest.raises(ZooError, match=r"but must be \(B, T_in ≥ 1, 2\)"):
        zoo.evaluate(zoo.create_model("lstm", columns=2), test, 5, observed=6, count=2)


def test_predictions_of_a_series() -> None:
    series = Lorenz("test", length=12)[0]
    prediction = predict_series({"drift": Drift(3)}, series, 8, 6, ["x", "y", "z"])
    figure = prediction.figure()
    assert [axes.get_ylabel() for axes in figure.axes] == ["x", "y", "z"]
    truth, drift = figure.axes[1].lines[:2]
    assert list(truth.get_ydata()) == pytest.approx(series[:, 1].tolist())
    assert (drift.get_xdata()[0], len(drift.get_xdata())) == (7, 8)
    for models, clip, names, words in (
        ({}, series, None, "no models"),
        (Drift(3), series, None, "models is a Drift; pass models by their names"),
        ({"drift": Drift(3)}, [1.0], None, "series is of type list, but must be a tensor"),
        ({"drift": Drift(3)}, series[:3], None, "does not have 6 steps to observe"),
        ({"drift": Drift(3)}, series, ["x"], "1 names for 3 columns"),
    ):
        with pytest.raises(ZooError, match=words):
            predict_series(models, clip, 8, 6, names)
    with pytest.raises(ZooError, match="does not have 6 frames to observe"):
        predict({"drift": Drift(3)}, series, 8, 6)

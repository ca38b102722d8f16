"""Commands about models of the user's own clips: which clips each of them reads, and which it sets side by side."""

import csv
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from tensortrain.pages import Page
from tests.support.runs import run_command
from zoo.data import adapted, make_dataset, pin_data
from zoo.errors import ZooError
from zoo.evaluation import read_video
from zoo.settings import ArraysData, KTHData, MovingMNISTData, Recipe

TINY = (
    "--preset demo --options.hidden=[2] --options.layers=[1] --data.length=5 --data.observed=3 --training.steps=2"
    " --training.batch_size=2 --training.validate_every=2 --training.validation_clips=2 --training.accelerator=cpu"
)


def moving(steps: int, speed: int) -> np.ndarray:
    """Twelve clips of a grey ramp that moves to the right."""
    ramp = (np.arange(16) * 16).astype(np.uint8)[None].repeat(16, 0)
    return np.stack([[np.roll(ramp, speed * t + n, 1) for t in range(steps)] for n in range(12)])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs on one array, one of which reads every second step, and a run on an array of its name."""
    folder = tmp_path_factory.mktemp("own")
    for place, speed in (("one", 1), ("two", 3)):
        (folder / place).mkdir()
        np.save(folder / place / "clips.npy", moving(30, speed))
    for name, place, more in (("plain", "one", ()), ("strided", "one", ["--data.stride=2"]), ("other", "two", ())):
        words = ["train", "conv-lstm", f"arrays:{folder}/{place}/clips.npy", *TINY.split(), *more]
        assert run_command(*words, "--data-root", folder, "-o", folder / name) == 0
    return folder


def test_a_model_of_every_second_step_reads_every_second_step_of_a_file(runs: Path) -> None:
    np.save(runs / "clip.npy", moving(30, 1)[0])
    words = ["--video", runs / "clip.npy", "--data-root", runs, "-o", runs / "x.npz"]
    assert run_command("predict", runs / "strided", *words) == 0
    with np.load(runs / "x.npz") as file:
        steps = np.concatenate([file["observed"], file["truth"]])[:, 0]
    np.testing.assert_allclose(steps * 255, moving(30, 1)[0, :9:2], atol=1e-4)
    frames = read_video(runs / "clip.npy", count=5, stride=2)
    np.testing.assert_allclose(frames[:, 0] * 255, moving(30, 1)[0, :9:2], atol=1e-4)
    assert len(read_video(runs / "clip.npy", stride=7)) == 5


@pytest.mark.parametrize("command", ["predict", "gradients"])
def test_models_of_other_clips_are_not_given_the_same(
    runs: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data-root", runs, "-o", runs / "x.png"]
    assert run_command(command, runs / "plain", runs / "strided", *words) == 2
    assert "strided was trained with data.stride = 2, but plain with 1; run the command" in capsys.readouterr().err
    assert not (runs / "x.png").exists()


def test_models_that_differ_in_nothing_of_the_test_clips_share_them(tmp_path: Path) -> None:
    from zoo.commands.trained import TrainedModel, shared_data

    model = zoo.create_model("conv-lstm", hidden=[2], layers=[1])
    mnist = MovingMNISTData(source="auto"), MovingMNISTData(source="embedded", seed=3, length=30)
    kth = KTHData(windows="mcnet"), KTHData(validation_persons=[9], store="x", flip=True, max_zoom=1.5, max_speed=2)
    own = ArraysData("arrays:x", mean=[0.1]), ArraysData("arrays:x", std=[2.0], clips_per_epoch=7, endless=True)
    for pair in (mnist, kth, own):
        recipes = [zoo.recipe("conv-lstm", "demo", dataset=data.name) for data in pair]
        models = [
            TrainedModel(f"{number}", model, Recipe(recipe.model, recipe.options, data))
            for number, (recipe, data) in enumerate(zip(recipes, pair, strict=True))
        ]
        assert shared_data(models, "predrnn" if pair is kth else None, f"{tmp_path}") is pair[0]
        if pair is kth:
            with pytest.raises(ZooError, match=r"data\.windows = 'predrnn', but 0 with 'mcnet'"):
                shared_data(models, None, f"{tmp_path}")


def test_arrays_of_one_name_have_columns_and_panels_of_their_own(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", runs / "plain", runs / "other", "--data-root", runs, "-o", runs / "table.csv"]
    assert run_command(*words, "--curves", runs / "curves.png") == 0
    assert "measured on different data" in " ".join(capsys.readouterr().out.split())
    head, plain, other, last, *_ = csv.reader((runs / "table.csv").open())
    assert sum("MSE" in heading for heading in head) == 2
    (first,) = (column for column, heading in enumerate(head) if "MSE" in heading and plain[column])
    (second,) = (column for column, heading in enumerate(head) if "MSE" in heading and other[column])
    assert first != second
    assert last[first] != last[second]  # each column has the baseline of its own clips
    rows = list(csv.DictReader((runs / "curves.csv").open()))
    assert len({row["data"] for row in rows if row["model"] == "copy last frame"}) == 2


def test_the_same_clips_are_comparable_wherever_they_are_and_other_splits_are_not(runs: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "clips.npy", moving(30, 1))

    def kind(path: Path, horizon: int = 5, **settings: object) -> str:
        data = ArraysData(f"arrays:{path}", **settings)  # type: ignore[arg-type]
        return make_dataset(data, "test", runs, horizon).comparable_with

    here = kind(runs / "one" / "clips.npy")
    assert here.startswith("arrays clips.npy, 16×16, content ")
    assert kind(tmp_path / "clips.npy") == kind(tmp_path / "clips.npy", 9) == here
    assert kind(runs / "two" / "clips.npy") != here
    assert kind(tmp_path / "clips.npy", val=["0:2"], test=["2:4"]) != here
    assert "every 2 steps" in kind(tmp_path / "clips.npy", stride=2)


def test_files_that_have_changed_since_the_training_are_told(tmp_path: Path) -> None:
    """The last clips are for testing, so clips in another order would be measured although the model has seen them."""
    path, clips = tmp_path / "clips.npy", moving(6, 1)
    np.save(path, clips)
    data = pin_data(ArraysData(f"arrays:{path}", length=5, observed=3), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_dataset(data, "test", tmp_path)
        np.save(path, clips[::-1])
        make_dataset(replace(data, store=""), "test", tmp_path)
    with pytest.warns(UserWarning, match="clips.npy has changed since the training"):
        make_dataset(data, "test", tmp_path)


def test_a_run_is_not_trained_further_in_silence_on_clips_that_have_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither by its own command, whose settings are the same, nor in a new folder."""
    path, run = tmp_path / "clips.npy", tmp_path / "run"
    np.save(path, moving(30, 1))
    command = ["train", "conv-lstm", f"arrays:{path}", *TINY.split(), "--data-root", tmp_path, "-o", run]
    assert run_command(*command) == 0
    digest = zoo.open_run(run).recipe.data.store  # type: ignore[union-attr]
    np.save(path, moving(30, 1)[::-1])
    capsys.readouterr()
    assert run_command(*command) == 2
    said = capsys.readouterr().err
    assert f"the clips of arrays:{path} have changed since the run in {run} started; restore them" in said
    assert "use the same settings" not in said
    assert run_command(*command, "--data.stride=2") == 2
    assert "data.stride is 1 there, 2 here" in capsys.readouterr().err  # a difference that the user can see comes first
    words = ["--config", run / "config.yaml", "--data-root", tmp_path, "-o", tmp_path / "again"]
    with pytest.warns(UserWarning, match=r"clips\.npy has changed since the training"):
        assert run_command("train", *words) == 0
    assert zoo.open_run(tmp_path / "again").recipe.data.store != digest  # type: ignore[union-attr]


def test_clips_of_a_program_are_told_apart_by_their_digests() -> None:
    class Dark:
        length = 2

        def __init__(self, version: str) -> None:
            self.version = version

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> np.ndarray:
            return np.zeros((2, 1, 8, 8), np.float32)

        def digest(self) -> str:
            return self.version

    one, same, other = (adapted(Dark(version)).comparable_with for version in ("1", "1", "2"))
    assert one.startswith("clips of Dark, content ")
    assert one == same != other


def test_a_report_measures_at_most_64_clips_and_all_if_there_are_fewer(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[tuple[Any, ...]] = []
    monkeypatch.setattr("zoo.reporting.films.film", lambda title, prediction: None)
    monkeypatch.setattr("zoo.reporting.films.strip", lambda title, prediction: None)
    monkeypatch.setattr("zoo.reporting.run_page", lambda *parts: pages.append(parts) or Page("", [], [], []))
    words = ["report", runs / "plain", "-o", runs / "x.html", "--data-root", runs]
    assert run_command(*words) == 0
    assert run_command(*words, "--count", "7") == 0
    (_, (scores,), _, _, notes), (_, (more,), _, _, none) = pages
    assert (scores.clips, notes, more.clips, none) == (6, [], 6, [])
    assert more.notes[-1] == "There are only 6 clips of the 7 that were asked for; all were measured."
    capsys.readouterr()
    assert run_command("report", "--help") == 0
    assert "default: 64, or all if there are fewer" in " ".join(capsys.readouterr().out.split())


def test_compare_describes_shared_clips_once(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("export", runs / "plain", "-o", runs / "same.safetensors") == 0
    capsys.readouterr()
    words = [runs / "plain", runs / "same.safetensors", "--data-root", runs, "--count", "99"]
    assert run_command("compare", *words) == 0
    said = capsys.readouterr()
    text = "".join((said.out + said.err).split())  # long paths are wrapped
    assert text.count(f"arrayin{runs}/one/clips.npy") == 1
    assert "Thereareonly6clipsofthe99thatwereaskedfor" in text
    assert said.err.count("3 → 2 steps") == 2


@pytest.mark.parametrize("observed", [4, 5])
def test_the_horizon_is_that_of_the_training_however_many_frames_are_observed(runs: Path, observed: int) -> None:
    words = ["predict", runs / "plain", "--observed", observed, "--data-root", runs, "-o", runs / "y.npz"]
    assert run_command(*words) == 0
    with np.load(runs / "y.npz") as file:
        assert (len(file["observed"]), file["predictions"].shape[1], len(file["truth"])) == (observed, 2, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("compare plain strided --checkpoint plain/checkpoints/best.ckpt", "is a file of one run, but 2 models"),
        ("evaluate strided --checkpoint plain/checkpoints/best.ckpt", "is not in the folder of the run strided"),
        ("evaluate mine.safetensors --checkpoint last", "mine.safetensors has no checkpoints; leave it out"),
        ("compare conv-lstm:moving-mnist-small --checkpoint step-2", "has no checkpoints; leave it out"),
    ],
)
def test_a_checkpoint_that_is_none_of_the_model_is_refused(
    words: str, message: str, runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    assert run_command("export", "plain", "-o", "mine.safetensors") == 0
    assert run_command(*words.split()) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_of_the_run_is_read_also_beside_weights(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    assert run_command("export", "plain", "-o", "w.SAFETENSORS") == 0
    words = ["--data-root", runs, "--count", "1"]
    assert run_command("evaluate", "plain", "--checkpoint", "plain/checkpoints/last.ckpt", *words) == 0
    assert run_command("compare", "plain", "w.SAFETENSORS", "--checkpoint", "last", *words) == 0

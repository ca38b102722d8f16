"""`report.html` in the folder of a run: written after validations, from the files of the run alone."""

import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import zoo
from tests.support.browser import loaded
from tests.support.runs import read_metrics, run_command
from zoo.reporting import training
from zoo.reporting.course import Course, read_course
from zoo.reporting.page import duration, steps_in_words
from zoo.settings import ConstantRate, Origin, Recipe
from zoo.training.progress import Reporter
from zoo.training.session import Session
from zoo.training.step import StepInputs, TrainState, train_step

TINY = (
    "--options.hidden=[2] --options.layers=[1] --options.kernel=3 --options.patch=4 --data.digits=1 --data.size=32"
    " --data.length=6 --data.observed=3 --data.source=embedded --training.steps=8 --training.batch_size=2"
    " --training.log_every=1 --training.validate_every=1 --training.validation_clips=2 --training.accelerator=cpu"
)


@pytest.fixture(autouse=True)
def no_pages_of_trainings() -> None:
    """Here they are written."""


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page after every validation."""
    monkeypatch.setattr(training, "SHARE", float("inf"))


def recipe(steps: int = 2, **settings: int) -> Recipe:
    data = {"digits": 1, "size": 32, "length": 6, "observed": 3, "source": "embedded"}
    options = {"hidden": [2], "layers": [1], "kernel": 3, "patch": 4}
    limits = {"steps": steps, "validate_every": 1, "log_every": 1, "validation_clips": 2, "batch_size": 2}
    return zoo.recipe("conv-lstm", "demo", options, data=data, training={**limits, **settings})


def words(folder: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (folder / "report.html").read_text()))


def test_the_page_of_a_training(tmp_path: Path, unlimited: None, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my run"
    assert run_command("train", "conv-lstm", "moving-mnist", *TINY.split(), "-o", folder) == 0
    assert "report.html in it shows the training. Next:" in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    assert loaded(page) == []
    assert len(page.encode()) < 2_000_000
    text = words(folder)
    for part in (
        "trained for 8 of 8 steps, 16 clips",
        "The training has ended.",
        "copy last frame",
        "The MSE of my run is better than that of &#39;blank frames&#39; at ",
        "One validation clip, predicted by the model as it was after some of its steps",
        "Gradient norm",
        "Sampling ratio",
        "Settings that differ from the preset",
        f"zoo evaluate &#39;{folder}&#39; zoo predict &#39;{folder}&#39; -o prediction.gif",
    ):
        assert part in text, part
    # the first prediction of each quarter, and the last: steps 1, 2, 4, 6 and 8 of 8
    kept = load_file(folder / "predictions.safetensors")
    assert sorted(kept) == ["1", "2", "4", "6", "8"]
    assert all(frames.shape == (3, 1, 32, 32) for frames in kept.values())
    assert re.findall(r"<figcaption>(step \d|truth)</figcaption>", page) == [
        "truth",
        *(f"step {step}" for step in (1, 2, 4, 6, 8)),
    ]
    run = zoo.open_run(folder, "last")
    clip = zoo.data.make_dataset(run.recipe.data, "val").clips([0])
    with torch.no_grad():
        expected = run.model(clip[:, :3], horizon=3)[0, -3:]
    torch.testing.assert_close(kept["8"], expected, rtol=0, atol=1e-6)


def test_a_training_under_way_says_how_long_it_takes(tmp_path: Path) -> None:
    zoo.fit(recipe(3), tmp_path, progress=False, watch=lambda step, loss: step == 2)
    training.TrainingPage(tmp_path, 3)(2, 0.0)
    assert "trained for 2 of 3 steps" in words(tmp_path)
    assert re.search(r"At this speed, the remaining 1 steps take \d+ s\.", words(tmp_path))


def test_neither_the_speed_nor_the_time_of_a_training_counts_its_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the speed count checkpoints. By a clock that stands still but in these and in steps."""
    clock, speeds = [1000.0], []
    originals = train_step, Session.save, Reporter.row

    def spend(seconds: float) -> bool:
        clock[0] += seconds
        return False

    def step(state: TrainState, inputs: StepInputs) -> None:
        spend(0.5)
        originals[0](state, inputs)

    def save(session: Session, name: str) -> None:
        spend(7.0)
        originals[1](session, name)

    def row(reporter: Reporter, values: dict[str, float], speed: float) -> None:
        speeds.append(speed)
        originals[2](reporter, values, speed)

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("zoo.training.graph.train_step", step)
    monkeypatch.setattr(Session, "save", save)
    monkeypatch.setattr(Reporter, "row", row)
    zoo.fit(recipe(4), tmp_path, progress=False, watch=lambda step, loss: spend(100.0))
    times = [float(row["seconds"]) for row in read_metrics(tmp_path / "metrics.csv")]
    assert len(times) == 4
    assert max(times) < 100
    assert speeds == [2 / 0.5] * 4


def test_pages_take_a_limited_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock in which a step takes one second and a page one: 19 of 20 steps write none; the last writes one."""
    clock, written = [0.0], []

    def write(self: training.TrainingPage) -> None:
        written.append(step)
        clock[0] += 1

    monkeypatch.setattr(training.TrainingPage, "_write", write)
    monkeypatch.setattr(training.TrainingPage, "_stalled", lambda self: False)
    monkeypatch.setattr("zoo.reporting.training.time.monotonic", lambda: clock[0])
    page = training.TrainingPage(tmp_path, 95)
    for step in range(1, 96):
        clock[0] += 1
        page(step, 0.0)
    assert written == [1, 21, 41, 61, 81, 95]


def test_a_training_that_stops_early_has_a_page_of_its_end(tmp_path: Path) -> None:
    """Without the improvements that a rate of 0 cannot bring. The first page takes so long that none would follow."""
    still = replace(recipe(9, early_stop=2), learning_rate=ConstantRate(base=0.0))
    zoo.fit(still, tmp_path, progress=False, watch=training.TrainingPage(tmp_path, 9))
    assert "trained for 3 of 9 steps" in words(tmp_path)
    assert "The training has ended early, after 2 validations without improvement." in words(tmp_path)


@pytest.mark.parametrize("patience", [0, 2])
def test_a_page_that_a_kill_prevented_is_written_when_the_call_is_repeated(tmp_path: Path, patience: int) -> None:
    still = replace(recipe(3, early_stop=patience), learning_rate=ConstantRate(base=0.0))

    def killed(step: int, loss: float) -> bool:
        return training.TrainingPage(tmp_path, 3)(step, loss) if step < 3 else False

    zoo.fit(still, tmp_path, progress=False, watch=killed)
    assert "trained for 2 of 3 steps" in words(tmp_path)
    times = []
    for _ in range(2):
        zoo.fit(still, tmp_path, progress=False, watch=training.TrainingPage(tmp_path, 3))
        assert "The training has ended" in words(tmp_path)
        times.append((tmp_path / "report.html").stat().st_mtime_ns)
    assert times[0] == times[1]  # not written a second time


def test_a_continued_training_counts_the_clips_of_both(tmp_path: Path) -> None:
    """Two steps of two clips, then three of four: the second run is as fast as its own steps."""
    earlier, later = tmp_path / "earlier", tmp_path / "later"
    zoo.fit(recipe(2), earlier, progress=False)
    further = replace(recipe(6, batch_size=4), origin=Origin(run=str(earlier)))
    zoo.fit(further, later, progress=False, watch=lambda step, loss: step == 5)
    training.TrainingPage(later, 6)(5, 0.0)
    assert "trained for 5 of 6 steps, 16 clips, in" in words(later)
    assert f"It continues {earlier} from step 2." in words(later)
    course = read_course(later, further)
    second = course.seconds - course.rows[1]["seconds"]
    assert duration(second / 3) in words(later).partition("the remaining 1 steps take ")[2][:10]
    assert [clips * seconds for (_, clips), seconds in zip(course.speed(), intervals(course), strict=True)] == (
        pytest.approx([2, 4, 4, 4])
    )
    (earlier / "metrics.csv").write_text("step,seconds\n1,0.5\n")  # those of another run
    course = read_course(later, further)
    assert course.clips(0, 5) is None
    assert [step for step, _ in course.speed()] == [3, 4, 5]
    (later / "report.html").unlink()
    training.TrainingPage(later, 6)(5, 0.0)
    assert "trained for 5 of 6 steps, in" in words(later)
    assert f"It continues {earlier} from step 2; the number of clips until then is not known." in words(later)


def test_a_run_that_took_the_name_of_its_earliest_is_read(tmp_path: Path) -> None:
    """Its settings then name the other run, and those of the other run name it."""
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    zoo.fit(recipe(1), first, progress=False)
    zoo.fit(replace(recipe(2), origin=Origin(run=str(first))), second, progress=False)
    zoo.fit(replace(recipe(3), origin=Origin(run=str(second))), third, progress=False)
    assert read_course(third, zoo.open_run(third).recipe).clips(0, 3) == 6
    shutil.rmtree(first)
    third.rename(first)
    course = read_course(first, zoo.open_run(first).recipe)
    assert (course.clips(0, 3), course.clips(1, 3)) == (None, 4)


def intervals(course: Course) -> list[float]:
    return [now["seconds"] - was["seconds"] for was, now in pairwise(course.rows)]


def test_the_page_does_not_affect_the_training(tmp_path: Path, unlimited: None) -> None:
    for name in ("with", "without"):
        watch = training.TrainingPage(tmp_path / name, 4) if name == "with" else None
        zoo.fit(recipe(4), tmp_path / name, progress=False, watch=watch)
    ours, theirs = (zoo.open_run(tmp_path / name, "last").model.state_dict() for name in ("with", "without"))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert (tmp_path / "with" / "report.html").exists()


def test_series_are_curves(tmp_path: Path, unlimited: None) -> None:
    series = "train lstm lorenz --data.observed=5 --data.length=9 --training.batch_size=4 --training.validation_clips=8"
    steps = "--options.hidden=3 --training.steps=4 --sampling.stop=3 --training.validate_every=2"
    assert run_command(*series.split(), *steps.split(), "-o", tmp_path / "series") == 0
    assert "The RMSE of series is better than that of" in words(tmp_path / "series")
    page = (tmp_path / "series" / "report.html").read_text()
    assert "step 2, step 4" in page
    assert "Summed over a step" in page
    assert "over a frame" not in page


def test_what_cannot_be_written_is_said_and_the_training_goes_on(
    tmp_path: Path, unlimited: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    zoo.fit(recipe(1), tmp_path / "run", progress=False)
    (tmp_path / "run" / "predictions.safetensors").write_bytes(b"damaged")
    assert training.TrainingPage(tmp_path / "run", 1)(1, 0.0) is False
    assert "report.html was not written" in capsys.readouterr().out
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ([False, False], "at no predicted frame"),
        ([True, True, False], "at predicted frames 1 to 2"),
        ([False, True, False], "at predicted frame 2"),
        ([True, False, True, False, True, True], "at predicted frames 1, 3 and 5 to 6"),
    ],
)
def test_steps_in_words(chosen: list[bool], text: str) -> None:
    assert steps_in_words(chosen) == text

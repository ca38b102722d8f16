"""`zoo speedrun`: clips and minutes to an error, from the files of runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import zoo
from tests.support.runs import run_command
from zoo.errors import ZooError
from zoo.reporting.speedrun import read_speedrun, speedrun_tables
from zoo.settings import Origin, Recipe, to_plain

COLUMNS = "step,loss,gradient_norm,sampling_ratio,learning_rate,validation_loss,validation_mse,seconds"
# (step, squared error or None, seconds)
COURSE = ((10, None, 60), (20, 120.0, 130), (30, 99.0, 190), (40, None, 250), (50, 74.0, 310), (60, 80.0, 370))


def write_run(
    folder: Path,
    recipe: Recipe,
    course: tuple[tuple[int, float | None, int], ...] = COURSE,
    sessions: tuple[tuple[int, int, int], ...] = ((0, 1, 1),),
) -> Path:
    """A folder with the files of a run. Each session is its first step, its processes and its threads."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(to_plain(recipe), sort_keys=False))
    rows = [
        f"{step},0.1,0.1,0,0.001,{'' if mse is None else 0.1},{'' if mse is None else mse},{s}"
        for step, mse, s in course
    ]
    (folder / "metrics.csv").write_text("\n".join([COLUMNS, *rows, ""]))
    plain = [{"step": step, "processes": processes, "threads": threads} for step, processes, threads in sessions]
    (folder / "versions.json").write_text(json.dumps(plain))
    return folder


def recipe(model: str = "conv-lstm", seed: int = 0, batch: int = 8, **settings: float) -> Recipe:
    options = {"hidden": [2], "layers": [1], "kernel": 3, "patch": 4}
    return zoo.recipe(model, "small", options, training={"seed": seed, "batch_size": batch, **settings})


def test_the_first_validation_below_an_error_counts(tmp_path: Path) -> None:
    run = read_speedrun(write_run(tmp_path / "a", recipe()))
    assert run.reached(100) == (240, pytest.approx(190 / 60))
    assert run.reached(99) == (240, pytest.approx(190 / 60))
    assert run.reached(75) == (400, pytest.approx(310 / 60))
    assert run.reached(50) is None


def test_minutes_are_those_of_all_threads_of_each_session(tmp_path: Path) -> None:
    """Until step 20 two processes of one thread, then one process of three threads."""
    run = read_speedrun(write_run(tmp_path / "a", recipe(), sessions=((0, 2, 1), (20, 1, 3))))
    assert run.reached(100) == (240, pytest.approx((130 * 2 + 60 * 3) / 60))


def test_seeds_are_averaged_and_other_settings_are_told(tmp_path: Path) -> None:
    slow = tuple((2 * step, mse, 3 * seconds) for step, mse, seconds in COURSE)
    never = COURSE[:4]
    runs = [
        write_run(tmp_path / "a", recipe(seed=0)),
        write_run(tmp_path / "b", recipe(seed=1), slow),
        write_run(tmp_path / "c", recipe(seed=2, max_time=5.0), never),
        write_run(tmp_path / "d", recipe(batch=4, seed=3, max_time=9.0), slow),
    ]
    table, settings = speedrun_tables([read_speedrun(run) for run in runs], [100, 75, 10])
    assert [list(row) for row in table.rows] == [
        ["a, b, c", "conv-lstm", "320 (240–480)", "5.3 (3.2–9.5)", "600 (400–800)\n2 of 3 runs",
         "10.3 (5.2–15.5)\n2 of 3 runs", "–", "–"],
        ["d", "conv-lstm", "240", "9.5", "400", "15.5", "–", "–"],
    ]  # fmt: skip
    assert [list(row) for row in settings.rows] == [["training.batch_size", "8", "4"]]


def test_a_recipe_of_the_command_line_and_one_of_python_are_the_same(tmp_path: Path) -> None:
    """The command line writes the default options too."""
    complete = replace(recipe(seed=1), options={**recipe().options, "channels": 1, "sigmoid": False})
    other = replace(recipe(seed=2), options={**recipe().options, "sigmoid": True})
    runs = [write_run(tmp_path / name, each) for name, each in zip("abc", (recipe(), complete, other), strict=True)]
    table, settings = speedrun_tables([read_speedrun(run) for run in runs], [100])
    assert [row[0] for row in table.rows] == ["a, b", "c"]
    assert [list(row) for row in settings.rows] == [["options.sigmoid", "False", "True"]]


def test_runs_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their settings would overwrite each other, and a run that is named twice would count as two seeds."""
    one, other = write_run(tmp_path / "p" / "x", recipe()), write_run(tmp_path / "q" / "x", recipe(batch=4))
    for pair in ((one, other), (one, one)):
        assert run_command("speedrun", *pair) == 2
        assert "two runs are called 'x'; name each only once, or rename a folder" in capsys.readouterr().err


def test_the_start_from_other_weights_is_told(tmp_path: Path) -> None:
    start = replace(recipe(), origin=Origin(weights="conv-lstm:moving-mnist-small"))
    (table,) = speedrun_tables([read_speedrun(write_run(tmp_path / "a", start))], [100])
    assert table.notes[-1].startswith("a starts from conv-lstm:moving-mnist-small, whose clips")


def test_a_run_that_continues_another_one_counts_its_clips_and_minutes(tmp_path: Path) -> None:
    """The earlier run took 20 steps of 4 clips with three threads, and went on after the other one had begun."""
    earlier = write_run(tmp_path / "earlier", recipe(batch=4), COURSE[:3], ((0, 1, 3), (20, 1, 5)))
    later = replace(recipe(), origin=Origin(run=str(earlier)))
    run = read_speedrun(write_run(tmp_path / "a", later, sessions=((20, 2, 1), (40, 1, 1))))
    assert run.reached(120) == (80, pytest.approx(130 * 3 / 60))
    assert run.reached(75) == (80 + 30 * 8, pytest.approx((130 * 3 + 120 * 2 + 60) / 60))
    (table,) = speedrun_tables([run], [100])
    assert table.notes[-1] == f"a continues {earlier}, whose clips and minutes are counted."


def test_clips_of_an_earlier_run_that_is_gone_are_unknown(tmp_path: Path) -> None:
    """Its rows are still there, in those of the later run. Its steps count as if the first session had taken them."""
    later = replace(recipe(), origin=Origin(run="runs/before"))
    run = read_speedrun(write_run(tmp_path / "a", later, sessions=((20, 2, 1), (40, 1, 1))))
    assert run.reached(75) == (None, pytest.approx((250 * 2 + 60) / 60))
    (table,) = speedrun_tables([run], [100])
    assert list(table.rows[0]) == ["a", "conv-lstm", "unknown", "6.3"]
    assert table.notes[-1].startswith("a continues runs/before, whose clips are not known")


def test_the_error_is_that_of_a_frame_or_of_a_step_of_a_series(tmp_path: Path) -> None:
    (table,) = speedrun_tables([read_speedrun(write_run(tmp_path / "a", recipe()))], [100])
    assert "summed over a predicted frame (or step of a series)." in table.notes[0]


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write_run(tmp_path / name, recipe(seed=seed)) for seed, name in enumerate("ab")]
    assert run_command("speedrun", *runs, "--below", "100", "74.5", "-o", tmp_path / "x.csv") == 0
    assert "clips to" in capsys.readouterr().out
    lines = (tmp_path / "x.csv").read_text().splitlines()
    assert lines[-1] == '"a, b",conv-lstm,240,3.2,400,5.2'


def test_a_real_run_is_read(tmp_path: Path) -> None:
    data = {"digits": 1, "size": 32, "length": 6, "observed": 3, "source": "embedded"}
    limits = {"steps": 2, "validate_every": 1, "log_every": 1, "validation_clips": 2, "batch_size": 2}
    options = {"hidden": [2], "layers": [1], "kernel": 3, "patch": 4}
    zoo.fit(zoo.recipe("conv-lstm", "demo", options, data=data, training=limits), tmp_path / "run", progress=False)
    clips, minutes = read_speedrun(tmp_path / "run").reached(1e6) or (0, 0)
    assert clips == 2
    assert 0 < minutes < 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--below", "0"], "--below 0 must be above zero"),
        (["-o", "table.pdf"], ".csv"),
        (["{tmp}/none"], "is not a run"),
        (["{tmp}/new"], "has no validation yet"),
    ],
)
def test_bad_input(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a", recipe())
    write_run(tmp_path / "new", recipe(), COURSE[:1])
    written = [word.format(tmp=tmp_path) for word in words]
    order = [*written, tmp_path / "a"] if not written[0].startswith("-") else [tmp_path / "a", *written]
    assert run_command("speedrun", *order) == 2
    assert message in capsys.readouterr().err


def test_a_run_without_times_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", recipe())
    (run / "versions.json").unlink()
    with pytest.raises(ZooError, match="does not say how long"):
        read_speedrun(run)

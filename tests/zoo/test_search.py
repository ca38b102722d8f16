"""`zoo search`: a study that is resumed, shared and pruned, its table and its picture."""

import csv
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

import zoo
from tests.support.pictures import looks_the_same_in_the_style
from zoo import search
from zoo.cli import main
from zoo.errors import ZooError
from zoo.settings import ArraysData, Recipe, to_plain
from zoo.training import Run
from zoo.training.nonfinite import DivergedError
from zoo.training.run_lock import locked
from zoo.training.session import Session

SPACE = search.Space(order=(1, 2), steps=(1, 2), rank=(2,), kernel=(3,))


def start(steps: int = 8) -> Recipe:
    """Trials of a second."""
    result = zoo.recipe(
        "conv-tt-lstm-sw",
        "demo",
        {"hidden": [3], "layers": [1], "patch": 4},
        data={"size": 32, "length": 5, "observed": 3},
        training={"batch_size": 2, "validation_clips": 2},
    )
    return replace(result, training=replace(result.training, steps=steps, validate_every=2))


def run(folder: Path, trials: int, seed: int = 0) -> optuna.Study:
    study = search.open_study(folder / "study.db", start(), SPACE, seed, folder)
    search.search(study, SPACE, folder / "runs", trials, folder)
    return study


def test_a_search_goes_on_where_it_was(tmp_path: Path) -> None:
    first = run(tmp_path, 2)
    values = [trial.value for trial in first.trials]
    assert run(tmp_path, 2).trials == first.trials
    both = run(tmp_path, 3, seed=1).trials
    assert [trial.value for trial in both[:2]] == values
    assert len(both) == 3
    for trial in both:
        assert trial.value == pytest.approx(min(trial.intermediate_values.values()))
        assert list(trial.intermediate_values) == [2, 4, 6, 8]
        assert trial.params["steps"] >= trial.params["order"]
        assert zoo.open_run(trial.user_attrs[search.RUN]).recipe.options["order"] == trial.params["order"]


def test_an_interrupted_trial_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write = Session.write

    def interrupted(self: Session, row: dict[str, float], speed: float) -> None:
        write(self, row, speed)
        if row["step"] == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Session, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, 1)
    assert "Traceback" not in capfd.readouterr().err + caplog.text
    first, second = run(tmp_path, 1).trials
    assert first.state == optuna.trial.TrialState.FAIL
    assert second.params == first.params
    assert list(second.intermediate_values) == [2, 4, 6, 8]  # among them those before the interruption
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["trial-0"]
    study = search.open_study(tmp_path / "study.db", start(), SPACE, root=tmp_path)
    assert search.best_run(study, tmp_path / "elsewhere") == tmp_path / "runs" / "trial-0"


def test_a_killed_trial_goes_on(tmp_path: Path) -> None:
    study = search.open_study(tmp_path / "study.db", start(), SPACE, root=tmp_path)
    killed = study.ask()
    options = SPACE.suggest(killed)
    killed.set_user_attr(search.RUN, str(tmp_path / "runs" / "trial-0"))
    search.enqueue_again(study, study.trials[0])  # as a process does that misses the heartbeat
    search.search(study, SPACE, tmp_path / "runs", 1, tmp_path)
    assert study.trials[1].params == options
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["trial-0"]


def test_a_trial_that_promises_nothing_is_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = search.open_study(tmp_path / "study.db", start(), SPACE, root=tmp_path)
    monkeypatch.setattr(study.pruner, "prune", lambda study, trial: trial.last_step == 4)
    search.search(study, SPACE, tmp_path / "runs", 1, tmp_path)
    (trial,) = study.trials
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert list(trial.intermediate_values) == [2, 4]
    assert search.rows(study)[0]["validated_until"] == 4


def test_a_resumed_search_tries_new_combinations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sampler has the seed of the first call, and would draw the combinations of the first trials again."""
    monkeypatch.setattr(search, "train", lambda trial, *_: float(trial.number))
    space = search.Space(order=(1, 9), steps=(1, 99), rank=tuple(range(1, 99)))
    for trials in (2, 4, 5):
        study = search.open_study(tmp_path / "study.db", start(), space, root=tmp_path)
        search.search(study, space, tmp_path / "runs", trials, tmp_path)
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 5


def test_a_trial_that_finds_its_run_finished_reports_all_of_it(tmp_path: Path) -> None:
    study = run(tmp_path, 1)
    search.enqueue_again(study, study.trials[0])  # as after a kill between the last step and the end of the trial
    first, second = run(tmp_path, 2).trials
    assert second.intermediate_values == first.intermediate_values
    assert [row["validated_until"] for row in search.rows(study)] == [8, 8]


def test_a_trial_with_the_options_of_a_complete_one_takes_its_result(tmp_path: Path) -> None:
    space = search.Space(order=(1, 1), steps=(1, 1), rank=(2,), kernel=(3,))
    study = search.open_study(tmp_path / "study.db", start(), space, root=tmp_path)
    search.search(study, space, tmp_path / "runs", 3, tmp_path)
    assert [folder.name for folder in (tmp_path / "runs").iterdir()] == ["trial-0"]
    assert len({(trial.value, *trial.intermediate_values.values()) for trial in study.trials}) == 1
    assert search.best_run(study, tmp_path).name == "trial-0"


def test_trials_with_other_options_or_pruned_ones_are_trained(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("step,validation_loss\n2,0.5\n")
    options = {"order": 1, "steps": 1, "rank": 2, "kernel": 3}
    for changed, state, folder, same in (
        ({}, "COMPLETE", "run", True),
        ({"steps": 2}, "COMPLETE", "run", False),
        ({}, "PRUNED", "run", False),
        ({}, "COMPLETE", "nowhere", False),
        ({}, "COMPLETE", None, False),
    ):
        done = optuna.create_study()
        distributions = {name: optuna.distributions.IntDistribution(1, 9) for name in options}
        finished = optuna.trial.create_trial(
            params=options | changed,
            distributions=distributions,
            value=0.5,
            intermediate_values={2: 0.5},
            state=optuna.trial.TrialState[state],
            user_attrs={} if folder is None else {search.RUN: str(tmp_path / folder)},
        )
        done.add_trial(finished)
        done.enqueue_trial(options)
        trial = done.ask(distributions)
        assert search._same_run(trial) == (tmp_path / "run" if same else None)


def test_processes_may_take_one_result_at_once(tmp_path: Path) -> None:
    """The run of the complete trial is not opened for training, which only one process may do."""
    space = search.Space(order=(1, 1), steps=(1, 1), rank=(2,), kernel=(3,))
    study = search.open_study(tmp_path / "study.db", start(), space, root=tmp_path)
    search.search(study, space, tmp_path / "runs", 1, tmp_path)
    with locked(tmp_path / "runs" / "trial-0"):
        search.search(study, space, tmp_path / "runs", 2, tmp_path)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]


def test_every_trial_is_ranked_by_its_lowest_loss(tmp_path: Path) -> None:
    study = search.open_study(tmp_path / "study.db", start(), SPACE, root=tmp_path)
    for losses, state in (([0.3, 0.2], optuna.trial.TrialState.PRUNED), ([0.1, 0.4], optuna.trial.TrialState.PRUNED)):
        trial = study.ask()
        SPACE.suggest(trial)
        for step, loss in enumerate(losses):
            trial.report(loss, step)
        study.tell(trial, state=state)  # Optuna stores the last loss as the value of the trial
    assert [(row["trial"], row["validation_loss"]) for row in search.rows(study)] == [(1, 0.1), (0, 0.2)]


def test_a_loss_that_is_no_number_is_not_the_lowest(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,validation_loss\n2,nan\n3,\n4,0.5\n")
    assert search.validations(tmp_path) == {2: math.inf, 4: 0.5}


def test_a_trial_that_diverges_does_not_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = zoo.fit

    def diverging(recipe: Recipe, folder: Path, **how: Any) -> Run:
        if folder.name == "trial-0":
            raise DivergedError("step 3 gave values that are not finite")
        return fit(recipe, folder, **how)

    monkeypatch.setattr("zoo.training.fit", diverging)
    with pytest.warns(UserWarning, match="trial 0 ends early: step 3 gave values that are not finite"):
        study = run(tmp_path, 1)
    with pytest.raises(ZooError, match="no trial reached a validation"):
        search.best_run(study, tmp_path / "runs")
    study = run(tmp_path, 2)
    assert [row["trial"] for row in search.rows(study)] == [1]


def test_a_study_from_before_a_setting_was_added_goes_on(tmp_path: Path) -> None:
    study = search.open_study(tmp_path / "study.db", start(), SPACE, root=tmp_path)
    description = study.user_attrs["search"]
    del description["recipe"]["training"]["backwards"]
    study.set_user_attr("search", description)
    search.open_study(tmp_path / "study.db", start(), SPACE, root=tmp_path)


def test_a_study_is_of_the_data_that_its_first_call_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = search.open_study(tmp_path / "study.db", start(), SPACE, root=tmp_path)
    assert study.user_attrs["search"]["recipe"]["data"]["source"] == "embedded"
    old = search.open_study(tmp_path / "old.db", start(), SPACE, root=tmp_path)
    old.set_user_attr("search", {"recipe": to_plain(start()), "space": old.user_attrs["search"]["space"]})
    search.open_study(tmp_path / "old.db", start(), SPACE, root=tmp_path)  # pins a study of an earlier version
    monkeypatch.setattr("zoo.data.auto_source", lambda root: "mnist")
    for name in ("study.db", "old.db"):
        with pytest.raises(
            ZooError, match=r"another search: recipe.data.source is 'embedded' there, 'mnist' here; use"
        ):
            search.open_study(tmp_path / name, start(), SPACE, root=tmp_path)


def test_a_study_notices_that_its_clips_have_changed(tmp_path: Path) -> None:
    recipe = replace(start(), data=ArraysData(f"arrays:{tmp_path}/clips.npy", length=4, observed=2))
    clips = np.zeros((20, 4, 8, 8), np.float32)
    for value in (0, 0, 1):
        np.save(tmp_path / "clips.npy", clips + value)
        if value == 0:
            search.open_study(tmp_path / "study.db", recipe, SPACE)
    with pytest.raises(ZooError, match=r"another search: recipe.data.store is "):
        search.open_study(tmp_path / "study.db", recipe, SPACE)


def test_another_search_is_not_mixed_in(tmp_path: Path) -> None:
    search.open_study(tmp_path / "study.db", start(), SPACE, root=tmp_path)
    for changed in ((start(16), SPACE), (start(), replace(SPACE, rank=(3,)))):
        with pytest.raises(ZooError, match="holds another search: "):
            search.open_study(tmp_path / "study.db", *changed)
    (tmp_path / "other.db").write_text("no study")
    with pytest.raises(ZooError, match="cannot be used as the storage"):
        search.open_study(tmp_path / "other.db", start(), SPACE)
    with pytest.raises(ZooError, match="cannot be used as the storage"):
        search.open_study(tmp_path / "nowhere" / "study.db", start(), SPACE)


def test_processes_that_start_together_share_one_study(tmp_path: Path) -> None:
    """Threads stand for processes: each has a connection of its own."""
    ready = threading.Barrier(6)

    def open_one(seed: int) -> str:
        ready.wait()
        return search.open_study(tmp_path / "study.db", start(), SPACE, seed).study_name

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(open_one, range(6))) == ["zoo search"] * 6
    assert len(optuna.get_all_study_names(f"sqlite:///{tmp_path / 'study.db'}")) == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"order": (2, 1)}, r"order = \[2, 1\]"),
        ({"order": (0, 1)}, "at least 1"),
        ({"order": (1, 4), "steps": (1, 3)}, "must include 4"),
        ({"rank": ()}, r"rank = \[\]"),
        ({"kernel": (3, 3)}, "different whole numbers"),
    ],
)
def test_impossible_spaces(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        search.Space(**values)


def test_the_picture_has_a_panel_for_each_option_that_varies() -> None:
    def line(trial: int, state: str, order: int, rank: int, loss: float) -> dict[str, Any]:
        options = {"order": order, "steps": 3, "rank": rank, "kernel": 3}
        return {"trial": trial, "state": state, **options, "validation_loss": loss, "validated_until": 4}

    lines = [line(0, "complete", 2, 16, 0.3), line(1, "complete", 3, 4, 0.4), line(2, "pruned", 2, 8, 0.5)]
    lines += [line(3, "running", 1, 32, 0.6), line(4, "fail", 1, 32, 0.6)]
    figure = search.draw(lines)
    assert looks_the_same_in_the_style(figure)
    by_order, by_rank = figure.axes
    assert [axis.get_xlabel() for axis in (by_order, by_rank)] == ["order", "rank"]
    for axis, complete, pruned in ((by_order, [0, 1], [0]), (by_rank, [2, 0], [1])):
        full, hollow = axis.lines
        assert (list(full.get_xdata()), list(full.get_ydata())) == (complete, [0.3, 0.4])
        assert (list(hollow.get_xdata()), list(hollow.get_ydata())) == (pruned, [0.5])
        assert (full.get_fillstyle(), hollow.get_fillstyle()) == ("full", "none")
    assert [text.get_text() for text in by_rank.get_xticklabels()] == ["4", "8", "16"]
    assert [text.get_text() for text in by_rank.get_legend().get_texts()] == ["complete", "stopped early"]
    assert by_rank.get_yscale() == "linear"
    assert search.draw([*lines, line(5, "pruned", 2, 8, 40.0)]).axes[0].get_yscale() == "log"


@pytest.mark.filterwarnings("error:Attempting to set identical")
def test_the_picture_of_no_trial_or_equal_ones_has_all_options() -> None:
    line = {"state": "complete", "order": 2, "steps": 3, "rank": 4, "kernel": 3, "validation_loss": 0.3}
    for lines in ([], [line, line]):
        figure = search.draw(lines)
        figure.draw_without_rendering()
        assert [axis.get_xlabel() for axis in figure.axes] == ["order", "steps", "rank", "kernel"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.commands.search.recipe", lambda *args, **how: start())
    monkeypatch.chdir(tmp_path)
    words = "search conv-tt-lstm-sw moving-mnist --storage s.db --trials 2 --order 1 2 --steps 1 2 --rank 2"
    words += f" --kernel 3 -o found.png --data-root {tmp_path} --training-steps=8"
    main([*words.split(), "--folder", "my runs"])
    said = capsys.readouterr().out
    assert "validation_loss" in said
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    losses = [float(row["validation_loss"]) for row in csv.DictReader((tmp_path / "found.csv").open())]
    assert len(losses) == 2
    assert losses == sorted(losses)
    best = {str(run): min(search.validations(run).values()) for run in Path("my runs").iterdir()}
    name = next(name for name, loss in best.items() if loss == pytest.approx(losses[0], rel=1e-9))
    assert f"{name} has the lowest validation loss. Next:\n  zoo evaluate '{name}'\n" in said
    assert f"  zoo train --continue '{name}' --training.steps 16 -o '{name}-longer'" in said
    main([*words.split(), "--folder", "elsewhere"])  # nothing is left to do, so nothing is there
    assert f"{name} has the lowest validation loss." in capsys.readouterr().out
    main(words.replace("s.db --trials 2", "other.db --trials 1").split())  # trials of another study, from 0 again
    assert "runs/other/trial-0 has the lowest validation loss." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("conv-lstm moving-mnist", "conv-lstm has no order, steps, rank"),
        ("conv-tt-lstm-sw moving-mnist --trials 0", "--trials = 0"),
        ("conv-tt-lstm-sw moving-mnist --training-steps 7", "--training-steps = 7"),
        ("conv-tt-lstm-sw moving-mnist --seed -1", "seed = -1 must be at least 0 and below 2^32"),
        ("conv-tt-lstm-sw moving-mnist --seed 4294967296", "seed = 4294967296 must be"),
        ("conv-tt-lstm-sw moving-mnist --order 3 1", r"order = [3, 1]"),
        ("conv-tt-lstm-sw moving-mnist -o picture.gif", "legal is .png"),
    ],
)
def test_bad_input_of_the_command(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["search", *words.split(), "--storage", "study.db"])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

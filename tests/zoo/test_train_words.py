"""`zoo train` starts from the recipe that its words name, wherever in the line they stand."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import zoo
from tests.support.runs import run_command
from zoo.commands.starting import PARTS
from zoo.settings import CHOICES, to_plain

CONFIGURATION = "sampling: {schedule: reverse}\nlearning_rate: {schedule: constant, base: 0.5}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, but for two files of settings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(CONFIGURATION)
    (tmp_path / "sampling.yaml").write_text("schedule: plateau\ndecay: 0.5\n")
    return tmp_path


def configured(line: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `zoo train … --print_config` would train."""
    assert run_command("train", *line.split(), "--print_config") == 0
    printed: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return printed


@pytest.mark.parametrize(
    ("line", "model", "preset"),
    [
        ("-o conv-tt-lstm-fw conv-tt-lstm-sw moving-mnist --preset paper", "conv-tt-lstm-sw", "paper"),
        ("-oconv-tt-lstm-fw predrnn-pp moving-mnist", "predrnn-pp", "small"),
        ("--output=conv-lstm predrnn-pp --preset=demo moving-mnist", "predrnn-pp", "demo"),
        ("--data-root kth --fresh predrnn-pp moving-mnist --preset=paper", "predrnn-pp", "paper"),
        ("--preset demo --training.steps 5 conv-lstm --max-time 2h moving-mnist", "conv-lstm", "demo"),
        ("conv-lstm --options.hidden [2,3] --devices 2 moving-mnist --preset paper", "conv-lstm", "paper"),
        ("--training {seed: 4} conv-lstm --data.digits=3 moving-mnist", "conv-lstm", "small"),
    ],
)
def test_the_preset_is_that_of_the_model_wherever_it_stands(
    line: str, model: str, preset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = line.replace("{seed: 4}", '{"seed":4}')
    printed, expected = configured(line, capsys), to_plain(zoo.recipe(model, preset))
    assert (printed["model"], printed["dataset"], printed["preset"]) == (model, "moving-mnist", preset)
    assert printed["sampling"] == expected["sampling"]
    assert printed["learning_rate"] == expected["learning_rate"]
    assert printed["training"] | {"steps": 0, "seed": 0} == expected["training"] | {"steps": 0, "seed": 0}
    assert printed["options"] | {"hidden": 0} == printed["options"] | expected["options"] | {"hidden": 0}


def test_words_change_what_they_name_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    printed = configured("conv-lstm --training.steps 5 kth --options.hidden [2,3] -o kth --data.windows mcnet", capsys)
    recipe = zoo.recipe(
        "conv-lstm", options={"hidden": [2, 3]}, dataset="kth", training={"steps": 5}, data={"windows": "mcnet"}
    )
    expected = to_plain(recipe)
    assert {part: printed[part] for part in PARTS} == {part: expected[part] for part in PARTS}
    assert printed["options"]["hidden"] == [2, 3]
    assert printed["output"] == "kth"


PLATEAU, LINEAR = {"schedule": "plateau", "patience": 20, "decay": 0.002}, {"schedule": "linear", "start": 0, "stop": 9}
REVERSE = {"schedule": "reverse", "start": 0, "stop": 50_000}


@pytest.mark.parametrize(
    ("words", "sampling"),
    [
        ("--sampling.schedule plateau", PLATEAU),
        ("--sampling.schedule=plateau", PLATEAU),
        ("--sampling.patience 3 --sampling.schedule plateau", PLATEAU | {"patience": 3}),
        ("--sampling.stop 9", LINEAR),  # the preset's schedule
        ("--config mine.yaml", REVERSE),
        ("--config=mine.yaml --sampling.stop=7", REVERSE | {"stop": 7}),
        ("--sampling.schedule reverse --config mine.yaml", REVERSE),
        ("--sampling ./sampling.yaml", PLATEAU | {"decay": 0.5}),
        ('--sampling {"schedule":"plateau","decay":0.1}', PLATEAU | {"decay": 0.1}),
    ],
)
def test_a_schedule_brings_its_own_settings(
    words: str, sampling: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for line in (f"conv-lstm moving-mnist {words}", f"{words} conv-lstm moving-mnist", f"conv-lstm {words} kth"):
        assert configured(line, capsys)["sampling"] == sampling


def test_a_file_names_schedules_and_their_settings(capsys: pytest.CaptureFixture[str]) -> None:
    printed = configured("conv-tt-lstm-sw moving-mnist --preset paper --config mine.yaml", capsys)
    assert printed["learning_rate"] == {"schedule": "constant", "base": 0.5}


def test_what_was_printed_configures_the_same_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "predrnn-pp kth --sampling.schedule reverse --training.seed 3"
    printed = configured(f"{line} --preset paper", capsys)
    (folder / "again.yaml").write_text(yaml.safe_dump(printed))
    assert configured("predrnn-pp kth --config again.yaml", capsys) == printed


def test_help_shows_the_settings_that_exist_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    def settings(line: str) -> set[str]:
        assert run_command("train", *line.split(), "--help") == 0
        return set(re.findall(r"^ +(--\w+\.\w+)", capsys.readouterr().out, re.MULTILINE))

    def expected(recipe: zoo.settings.Recipe, model: str) -> set[str]:
        parts = to_plain(recipe)
        names = {f"--{part}.{name}" for part in ("data", *CHOICES, "training", "origin") for name in parts[part]}
        return names | {f"--options.{name}" for name in OPTIONS[model]}

    assert settings("conv-lstm kth") == expected(zoo.recipe("conv-lstm", dataset="kth"), "conv-lstm")
    linear = zoo.recipe("conv-lstm", "paper", sampling={"schedule": "linear"})
    assert settings("conv-lstm moving-mnist --preset paper --sampling.schedule linear") == expected(linear, "conv-lstm")
    assert not {word for word in settings("") if word.startswith("--options")}


OPTIONS = {"conv-lstm": ("hidden", "layers", "kernel", "channels", "patch", "sigmoid")}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("conv-lstm moving-mnist --sampling.schedule linaer", "did you mean 'linear'"),
        ("conv-lstm moving-mnist --sampling.decay 0.1", "--sampling.decay"),  # of another schedule
        ("conv-lstm moving-mnist --data.windows mcnet", "--data.windows"),  # of another data set
        (
            "conv-lstm moving-mnist --sampling.schedule plateau --config mine.yaml",
            "sampling.schedule is both 'plateau' and 'reverse'; name only one",
        ),
        ("conv-lstm moving-mnist --sampling.schedule", "sampling.schedule"),
        (
            "conv-lstm moving-mnist --config other.yaml",
            "a configuration says model = 'predrnn', but the command line says 'conv-lstm'",
        ),
        ("conv-lstm moving-mnist extra", "extra"),
        ("--preset paper", "model"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused(
    line: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "other.yaml").write_text("model: predrnn\n")
    assert run_command("train", *line.split()) == 2
    message = capsys.readouterr().err
    assert message.startswith("zoo: ")
    assert words in message
    assert message.count("\n") == 1

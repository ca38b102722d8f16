"""`zoo train` starts from the recipe that its words name, wherever in the line they stand."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import zoo
from tests.support.runs import run_command
from zoo.commands.starting import PARTS
from zoo.settings import CHOICES, Recipe, to_plain
from zoo.training import Run

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


SMALL_KERNEL = zoo.recipe("conv-tt-lstm-sw", "paper", {"kernel": 3})
READING = zoo.recipe("fc-lstm", "demo", {"conditioned": True})
LARGER = zoo.recipe("cdna", "demo", data={"size": 48})


@pytest.mark.parametrize(
    ("line", "recipe"),
    [
        ("conv-tt-lstm-sw moving-mnist --preset paper --options.kernel 3", SMALL_KERNEL),
        ("--options.kernel=3 conv-tt-lstm-sw --preset paper moving-mnist", SMALL_KERNEL),
        ('conv-tt-lstm-sw moving-mnist --preset paper --options {"kernel":3}', SMALL_KERNEL),
        ("conv-tt-lstm-sw moving-mnist --preset paper --options ./options.yaml", SMALL_KERNEL),
        ("conv-tt-lstm-sw moving-mnist --config kernel.yaml", SMALL_KERNEL),
        ("conv-tt-lstm-sw moving-mnist --config kernel.yaml --options.kernel 5 --options.kernel 3", SMALL_KERNEL),
        ("fc-lstm moving-mnist --preset demo --options.conditioned true", READING),
        ("cdna moving-mnist --preset demo --data.size 48", LARGER),
        ('cdna moving-mnist --preset demo --data {"size":48}', LARGER),
        ("conv-lstm --config dataset.yaml", zoo.recipe("conv-lstm", dataset="kth")),
        ("conv-lstm moving-mnist --config protocol.yaml", zoo.recipe("conv-lstm", "paper", protocol="predrnn-pp")),
    ],
)
def test_the_preset_knows_the_options_and_the_data(
    line: str, recipe: Recipe, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "options.yaml").write_text("kernel: 3\n")
    (folder / "kernel.yaml").write_text("preset: paper\noptions: {kernel: 3}\n")
    (folder / "dataset.yaml").write_text("dataset: kth\n")
    (folder / "protocol.yaml").write_text("preset: paper\nprotocol: predrnn-pp\n")
    printed, expected = configured(line, capsys), to_plain(recipe)
    assert {part: printed[part] for part in PARTS} == {part: expected[part] for part in PARTS}
    assert printed["options"] == printed["options"] | expected["options"]


def test_a_short_form_counts_after_its_long_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert configured("conv-lstm moving-mnist --training.devices 1 --devices 2", capsys)["devices"] == 2


def test_the_options_of_no_command_are_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("models --hel", "evaluate run --cou 3", "search conv-lstm kth --storage s.db --tri 3"):
        assert run_command(*words.split()) == 2
        assert "cannot be abbreviated" in capsys.readouterr().err


def test_parts_are_read_from_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    monkeypatch.setattr(
        zoo, "fit", lambda recipe, folder, **_: trained.append(recipe) or Run(Path(folder), recipe, None, 4)
    )
    (folder / "options.yaml").write_text("kernel: 3\n")
    (folder / "data.yaml").write_text("digits: 1\n")
    (folder / "training.yaml").write_text("steps: 5\n")
    parts = "--options ./options.yaml --data ./data.yaml --training ./training.yaml --sampling ./sampling.yaml"
    assert run_command("train", "conv-lstm", "moving-mnist", *parts.split(), "-o", folder / "run") == 0
    (recipe,) = trained
    assert recipe.options["kernel"] == 3
    assert (recipe.data.digits, recipe.training.steps, recipe.sampling.decay) == (1, 5, 0.5)


@pytest.mark.parametrize(
    ("words", "proposed"), [("conv-lstm moving-mnist", "my run.gif"), ("tt-rnn lorenz", "my run.png")]
)
def test_the_proposed_commands_can_be_typed(
    words: str, proposed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zoo, "fit", lambda recipe, folder, **_: Run(Path(folder), recipe, None, 4))
    assert run_command("train", *words.split(), "-o", "my run") == 0
    assert f"  zoo evaluate 'my run'\n  zoo predict 'my run' -o '{proposed}'\n" in capsys.readouterr().out


def test_the_proposed_commands_import_what_the_training_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my models.py").write_text("")
    monkeypatch.setattr(zoo, "fit", lambda recipe, folder, **_: Run(Path(folder), recipe, None, 4))
    assert run_command("train", "conv-lstm", "moving-mnist", "-o", "run", "--import", "my models.py") == 0
    printed = capsys.readouterr().out
    assert "  zoo evaluate run --import 'my models.py'\n" in printed
    assert "  zoo predict run -o run.gif --import 'my models.py'\n" in printed


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
        (
            "conv-lstm moving-mnist --pres demo",
            "unrecognized arguments: --pres demo; `zoo train --help` lists the options",
        ),
        ("conv-lstm moving-mnist --learning_rate.sched step", "--learning_rate.sched step; `zoo train --help`"),
        ("conv-lstm moving-mnist --conf mine.yaml", "--conf mine.yaml; `zoo train --help`"),
        ("conv-lstm moving-mnist --training.step 5", "--training.step 5; `zoo train --help`"),
        ("conv-lstm moving-mnist --devices 2 --training.devices 1", "--devices is short for training.devices"),
        ("conv-lstm moving-mnist --nodes=2 --training.nodes=1", "--training.nodes follows it; give only one"),
        ("conv-lstm moving-mnist --max-time 2h --training.max_time 5", "--max-time is short for training.max_time"),
        ("conv-lstm moving-mnist --max-time 2h --config time.yaml", "training.max_time in time.yaml follows it"),
        ("conv-lstm moving-mnist --init a --origin.weights b", "--init is short for origin.weights"),
        ("conv-lstm moving-mnist --freeze a b --origin.freeze [c]", "--freeze is short for origin.freeze"),
        ("conv-lstm moving-mnist --config protocol.yaml", "protocol = 'predrnn-pp' needs the preset paper"),
        ("cdna videos:films --data.size [48]", "data.size = [48] must be"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused(
    line: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "other.yaml").write_text("model: predrnn\n")
    (folder / "time.yaml").write_text("training: {max_time: 5}\n")
    (folder / "protocol.yaml").write_text("protocol: predrnn-pp\n")
    assert run_command("train", *line.split()) == 2
    message = capsys.readouterr().err
    assert message.startswith("zoo: ")
    assert words.lower() in message.lower()
    assert message.count("\n") == 1

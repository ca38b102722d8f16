"""Models by name: their data without torch, models of one's own, and those of installed packages."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import zoo
from tests.support.reference import shipped_models
from zoo import registry
from zoo.cli import main, parse
from zoo.errors import ZooError
from zoo.evaluation import CopyLast
from zoo.papers import OPENSTL, PREDRNN_PP, Paper
from zoo.predictors.video_model import VideoModel
from zoo.registry import PresetOptions, find_model, register


@pytest.fixture(autouse=True)
def _leave_the_registry_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    monkeypatch.setattr(registry, "_LOADED", set(registry._LOADED))
    return


def mine(hidden: Any = (2,), layers: Any = (1,), kernel: int = 5, patch: int = 1, rank: int = 3, sigmoid: Any = None):
    """My model.

    Its keywords are called like those of others.
    """
    return zoo.create_model("conv-tt-lstm-sw", hidden=hidden, layers=layers, kernel=kernel, patch=patch, rank=rank)


# ---- data that can be read without torch ------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import zoo",
        "import zoo; zoo.list_models()",
        "import zoo; zoo.pretrained_names('conv-lstm')",
        "import zoo; zoo.recipe('predrnn-pp', 'paper')",
        "import zoo; from zoo.registry import find_model\n"
        "for name in zoo.list_models():\n"
        "    entry = find_model(name); entry.options, entry.summary, entry.parameters, entry.citation",
        "import zoo.papers; assert zoo.papers.PAPERS['predrnn-pp'].tables",
    ],
)
def test_what_needs_no_torch_does_not_import_it(code: str) -> None:
    check = f"{code}\nimport sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=300)


def test_every_public_name_is_there() -> None:
    assert {name for name in zoo.__all__ if not hasattr(zoo, name)} == set()
    assert set(zoo.__all__) <= set(dir(zoo))
    with pytest.raises(AttributeError, match="no attribute 'creat_model'"):
        zoo.creat_model  # noqa: B018


@pytest.mark.parametrize("name", [*shipped_models(), *shipped_models("series")])
def test_a_shipped_model_has_its_data(name: str) -> None:
    entry = find_model(name)
    assert isinstance(entry.paper, Paper)
    assert entry.summary.endswith(".")
    assert {"video": "channels", "series": "columns"}[entry.reads] in entry.options
    assert not {"cell", "window"} & set(entry.options)
    assert "Args:" in (entry.make.__doc__ or "")
    documented = [option for option in entry.options if f"        {option}: " in (entry.make.__doc__ or "")]
    assert documented == list(entry.options)


def test_variants_differ_by_options_and_defaults() -> None:
    assert set(find_model("conv-tt-lstm-sw").options) - set(find_model("conv-lstm").options) == {
        "order",
        "steps",
        "rank",
    }
    assert [find_model(f"conv-tt-lstm-{window}").options["order"] for window in ("sw", "fw")] == [3, 1]
    assert "highway" not in find_model("predrnn").options
    assert find_model("predrnn-ghu").options["highway"] == "bottom"


# ---- names and options ------------------------------------------------------------------------------------


def test_unknown_model_suggests_the_nearest() -> None:
    with pytest.raises(ZooError, match="did you mean 'conv-tt-lstm-sw'"):
        zoo.create_model("conv-tt-lstm-sv")


@pytest.mark.parametrize(
    ("name", "option"), [("conv-tt-lstm-sw", "ranks"), ("conv-lstm", "rank"), ("predrnn", "highway")]
)
def test_unknown_option_names_those_there_are(name: str, option: str) -> None:
    with pytest.raises(ZooError, match=rf"{name} has no option '{option}'; .*known: .*kernel"):
        zoo.create_model(name, **{option: 1})


@pytest.mark.parametrize("options", [{"hidden": 2}, {"hidden": ["two"] * 4}, {"kernel": "3"}])
def test_an_option_of_a_wrong_type_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ZooError, match=r"options of conv-lstm: .* must be "):
        zoo.create_model("conv-lstm", **options)


def test_a_value_that_no_file_can_hold_is_left_to_the_model() -> None:
    assert zoo.create_model("conv-lstm", hidden=np.array([2]), layers=range(1, 2), kernel=np.int64(3)).patch == 1


def test_a_name_is_text() -> None:
    with pytest.raises(ZooError, match="model = 5 must be the name of a model"):
        zoo.create_model(5)  # type: ignore[arg-type]


def test_an_option_without_a_default_is_required() -> None:
    @register("needs-gain", paper="a note")
    class Needy(CopyLast):
        def __init__(self, *, gain: int) -> None:
            super().__init__()

    with pytest.raises(ZooError, match=r"^--options.gain is required; see `zoo train --help`$"):
        parse(["train", "needs-gain", "moving-mnist"])


def test_parameters_of_ones_own_models_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    @register("needs-gain", paper="a note")
    class Needy(CopyLast):
        def __init__(self, *, gain: int) -> None:
            super().__init__()

    @register("counted", paper="a note")
    class Counted(CopyLast):
        def __init__(self, width: int = 1234) -> None:
            super().__init__()
            self.layer = nn.Linear(width, 1)

    main(["models"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["counted", "1,235"] in [words[:2] for words in lines]
    assert any(words[:1] == ["needs-gain"] for words in lines)


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ZooError, match="'conv-lstm' is registered already"):
        register("conv-lstm", "")(mine)


# ---- a model of one's own ---------------------------------------------------------------------------------


def test_a_function_or_class_with_keyword_options() -> None:
    register("x", paper="a note")(mine)
    assert find_model("x").citation == "a note"
    assert find_model("x").summary == "My model."
    assert find_model("x").parameters is None
    assert isinstance(zoo.create_model("x", rank=1), VideoModel)

    @zoo.register("y", paper=PREDRNN_PP)
    class Still(VideoModel):
        def __init__(self, gain: float = 1.0) -> None:
            super().__init__()
            self.gain = gain

        def forward(self, x: Any, horizon: int, truth: Any = None, use_truth: Any = None) -> Any:
            return x[:, -1:].expand(-1, horizon, -1, -1, -1)

    assert isinstance(zoo.create_model("y", gain=2.0), Still)
    assert find_model("y").citation == "PredRNN++ (Wang et al., 2018)"
    with pytest.raises(ZooError, match="y has no option 'gane'; did you mean 'gain'"):
        zoo.create_model("y", gane=2.0)


def test_presets_set_only_the_options_that_a_model_declares() -> None:
    register("x", paper="p")(mine)
    for preset in ("small", "demo"):
        for dataset in ("moving-mnist", "kth", "videos:films"):
            assert zoo.recipe("x", preset, dataset=dataset).options == {}
    assert zoo.recipe("x", options={"kernel": 3}).options == {"kernel": 3}
    register("y", paper="p", presets=PresetOptions(small={"rank": 2}, filmed={"sigmoid": True}))(mine)
    assert zoo.recipe("y").options == {"rank": 2}
    assert zoo.recipe("y", dataset="kth").options == {"sigmoid": True, "rank": 2}
    assert zoo.recipe("y", "demo").options == {}
    with pytest.raises(ZooError, match=r"presets of the model 'z' names 'ranks'; did you mean 'rank'"):
        register("z", paper="p", presets=PresetOptions(demo={"ranks": 2}))(mine)


def test_a_model_without_published_settings_has_no_preset_paper() -> None:
    register("x", paper="p")(mine)
    register("y", paper=OPENSTL)(mine)
    for name in ("x", "y"):
        with pytest.raises(ZooError, match=f"no settings are published for {name}; choose the preset small"):
            zoo.recipe(name, "paper")
    register("z", paper="p", protocol="predrnn-pp")(mine)
    assert zoo.recipe("z", "paper").training.steps == 80_000
    assert zoo.recipe("z", "paper", dataset="kth").options == {}


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ("predrnn_pp", "is not a paper; did you mean 'predrnn-pp'"),
        ("openstl", "has no settings; these papers do: conv-tt-lstm"),
    ],
)
def test_an_unknown_protocol_is_refused(protocol: str, words: str) -> None:
    with pytest.raises(ZooError, match=f"protocol = '{protocol}' of the model 'x' {words}"):
        register("x", paper="p", protocol=protocol)(mine)
    assert "x" not in zoo.list_models()


@pytest.mark.parametrize("kind", ["fixed", "defaults", "training_only"])
def test_an_argument_that_the_function_does_not_have_is_refused(kind: str) -> None:
    with pytest.raises(ZooError, match=f"{kind} of the model 'x' names 'ranks'; did you mean 'rank'"):
        register("x", paper="p", **{kind: {"ranks": 1}})(mine)  # type: ignore[arg-type]


# ---- models of installed packages -------------------------------------------------------------------------


def install(folder: Path, module: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with an entry point `theirs` in a folder on sys.path."""
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[zoo.models]\ntheirs = {module}\n")
    monkeypatch.syspath_prepend(folder)


THEIRS = """
import zoo

@zoo.register("test-theirs", paper="theirs")
def theirs(hidden=(2,)):
    return zoo.create_model("conv-lstm", hidden=hidden, layers=[1])
"""


def test_an_installed_package_brings_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "package_with_models", THEIRS, monkeypatch)
    assert isinstance(zoo.create_model("test-theirs", hidden=[3]), VideoModel)
    assert "test-theirs" in zoo.list_models()
    assert "test-theirs" in zoo.list_models()  # registered once


def test_the_command_line_knows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "package_with_models_too", THEIRS, monkeypatch)
    listed = subprocess.run(
        [sys.executable, "-c", "from zoo.cli import main; main(['models'])"],
        env={"PYTHONPATH": ":".join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "test-theirs" in listed.stdout


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "broken_package", "import no_such_module", monkeypatch)
    words = r"'theirs' of broken_package cannot be imported from broken_package \(ModuleNotFoundError: .*no_such_module"
    for call in (zoo.list_models, lambda: zoo.create_model("test-theirs")):
        with pytest.raises(ZooError, match=words):
            call()
    assert isinstance(zoo.create_model("conv-lstm"), VideoModel)  # what is here is made all the same

"""Settings from anywhere, in a configuration, a run's folder or exported weights, are bounded before they are used."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import zoo
from tensortrain.digest import digest
from tests.support.runs import RECIPE, run_command, with_training
from zoo.checks import check_recipe
from zoo.commands.options import load_argument
from zoo.errors import ZooError
from zoo.model_files.building import build_model
from zoo.model_files.pretrained import load_weights, save_weights
from zoo.reading import load_yaml
from zoo.registry import register
from zoo.settings import Recipe, from_plain, to_plain
from zoo.training import open_run
from zoo.training.devices import make_fabric

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
REFUSED = [
    (BOMB, "line 1: anchors and aliases"),
    ("training: &a\n  steps: *a\n", "line 1: anchors and aliases"),
    ("options: " + "[" * 5000, "line 1: it has more than 32 levels"),
    ("options:\n" + "".join(f"{' ' * i}a:\n" for i in range(1, 90)), "it has more than 32 levels"),
    ("training: {steps: " + "9" * 5000 + "}", "line 1: a number has 5,000 digits"),
    ("model: x\ntraining: {steps: 0x" + "f" * 5000 + "}", "line 2: a number has 5,002 digits"),
    ("training: {steps: " + ":".join("1" * 20000) + "}", "a number has 39,999 digits"),
    ("training: !!timestamp x", "the tag tag:yaml.org,2002:timestamp is not allowed"),
    ("training: {seed: 2001-13-45}", "cannot be read: month must be in 1..12"),
    ("x" * 70_000, "70,000"),
    ("a: [", ""),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[message or "no YAML" for _, message in REFUSED])
def test_what_no_settings_need_is_refused_at_once(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a configuration, and in a run's folder."""
    start = time.process_time()
    with pytest.raises(yaml.YAMLError):
        load_yaml(text)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ZooError) as raised:
        open_run(tmp_path)
    assert message in str(raised.value)
    assert str(tmp_path) in str(raised.value)
    assert run_command("train", "conv-lstm", "moving-mnist", "--config", tmp_path / "config.yaml") == 2
    error = capsys.readouterr().err
    assert error.startswith("zoo: ")
    assert error.count("\n") == 1
    assert time.process_time() - start < 5


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)
def test_what_yaml_writes_is_read(value: Any) -> None:
    assert load_yaml(yaml.safe_dump(value)) == value
    assert from_plain({"model": "x", "options": {"a": value}}, "here").options == {"a": value}


def test_values_of_the_command_line_are_bounded_too() -> None:
    assert load_argument("[1, 1e-3]") == [1, 0.001]
    for text in ("&a [*a]", "[" * 99, "9" * 99):
        with pytest.raises(yaml.YAMLError):
            load_argument(text)


@pytest.mark.parametrize("option", ["--config", "--training", "--options", "--data"])
def test_a_pipe_or_a_huge_file_is_no_file_of_settings(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    for name, message in (("pipe", "it is a FIFO; a regular file is needed"), ("huge", "has 1,099,511,627,776 bytes")):
        for words in ([option, tmp_path / name], [f"{option}={tmp_path / name}"]):
            assert run_command("train", "conv-lstm", "moving-mnist", *words) == 2
            assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.yaml", "checkpoints/best.ckpt", "weights.safetensors"])
def test_pipes_are_not_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(to_plain(RECIPE)))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ZooError, match="is a FIFO"):
        load_weights(tmp_path / name) if name.startswith("weights") else open_run(tmp_path)


LARGE = [
    ({"options": {"layers": [2**40]}}, "options.layers[0] = 1099511627776 must be at most 1,000,000"),
    ({"options": {"layers": [10**6] * 4}}, "more than 5,000 tensors"),
    ({"options": {"hidden": [10**6] * 4}}, "more than 4,294,967,296 elements"),
    ({"options": {"patch": 10**6}}, "more than 4,294,967,296 elements"),
    ({"options": {"channels": 10**6, "patch": 10**6, "kernel": 10**6}}, "conv-lstm cannot be built with options"),
    ({"data": {"size": 2**40}}, "data.size = 1099511627776 must be a finite number, at least 1 and at most 16,384"),
    ({"data": {"digits": 2**70}}, "data.digits = 1180591620717411303424 must be at most 18,446,744,073,709,551,615"),
    ({"training": {"num_workers": 10**6}}, "training.num_workers = 1000000"),
    ({"training": {"devices": 10**6}}, "training.devices = 1000000"),
    ({"training": {"precision": "x" * 5000}}, "must have at most 4,096 items"),
]


@pytest.mark.parametrize(("changes", "message"), LARGE, ids=[message for _, message in LARGE])
def test_settings_of_work_without_end_are_refused(changes: dict[str, Any], message: str) -> None:
    plain = to_plain(Recipe("conv-lstm"))
    start = time.process_time()
    with pytest.raises(ZooError) as raised:
        build_model(check_recipe(from_plain({**plain, **{k: plain[k] | v for k, v in changes.items()}}, "here")))
    assert message in str(raised.value)
    assert len(str(raised.value)) < 500
    assert time.process_time() - start < 5


def test_no_more_processes_than_a_machine_bears() -> None:
    for name in ("devices", "num_workers"):
        with pytest.raises(ZooError, match=rf"training.{name} = 999 is too many for \d+ cores"):
            make_fabric(with_training(**{name: 999}).training)


# ---- exported weights ---------------------------------------------------------------------------------------


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    recipe = zoo.recipe("conv-tt-lstm-sw", "demo", options={"hidden": [2, 3], "layers": [1, 2], "rank": 2})
    save_weights(tmp_path / "w.safetensors", build_model(recipe), recipe)
    return tmp_path / "w.safetensors"


def rewrite(path: Path, **changes: Any) -> None:
    """The file with another content of its metadata, and a digest that fits it."""
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        header = json.loads(file.metadata()["zoo"])
    recipe = header["recipe"] | changes
    content = {"recipe": recipe, "digest": digest({"recipe": recipe, "weights": weights})}
    save_file(weights, path, metadata={"zoo": json.dumps(content)})


def test_a_flipped_bit_in_exported_weights_is_noticed(exported: Path) -> None:
    content = exported.read_bytes()
    for place in range(0, len(content), len(content) // 60):
        exported.write_bytes(content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :])
        with pytest.raises(ZooError, match=r"w\.safetensors"):
            load_weights(exported)


ODD = [
    ({"options": {"hidden": "many"}}, "options of conv-tt-lstm-sw: hidden = 'many' must be list"),
    ({"options": {"hidden": [2, 2.5]}}, "hidden[1] = 2.5 must be int"),
    ({"options": {"hidden": [2, 3], "layers": [1, 2**40]}}, "options.layers[1] = 1099511627776 must be at most"),
    ({"options": {"hidden": [2, 3], "layers": [1, 10**6]}}, "more than the weights can fill"),
    ({"options": {"hidden": [2, 10**6], "layers": [1, 2]}}, "more than the weights can fill"),
    ({"options": {"rank": 10**6}}, "more than the weights can fill"),
    ({"options": {"order": 10**6, "steps": 10**6}}, "more than the weights can fill"),
    ({"options": {"hidden": [0, 3], "layers": [1, 2]}}, "hidden = 0 must be at least 1"),
    ({"options": {"hidden": [2, 3], "layers": [1]}}, "one entry for each block"),
    ({"options": {"nonsense": 1}}, "conv-tt-lstm-sw has no option 'nonsense'"),
    ({"options": None}, "options = None must be dict"),
    (
        {"options": {"hidden": [4, 3], "layers": [1, 2]}},
        "holds the weights of another model: blocks.0.0.cores.0.bias is (2,)",
    ),
    ({"model": "conv-lstm"}, "conv-lstm has no option 'rank'"),
    ({"model": "conv-lstn"}, "no model 'conv-lstn'; did you mean 'conv-lstm'"),
    ({"model": 3}, "model = 3 must be str"),
    ({"training": {"steps": -1}}, "training.steps = -1 must be a finite number"),
    ({"training": {"l1": 1e999}}, "training.l1 = inf"),
    ({"data": {"name": "moving-mnist", "size": 2**40}}, "data.size = 1099511627776"),
    ({"data": []}, "data: settings are needed, got []"),
    ({"more": 1}, "no setting 'more'"),
]


@pytest.mark.parametrize(("changes", "message"), ODD, ids=[message for _, message in ODD])
def test_odd_recipes_of_exported_weights(exported: Path, changes: dict[str, Any], message: str) -> None:
    rewrite(exported, **changes)
    start = time.process_time()
    with pytest.raises(ZooError) as raised:
        load_weights(exported)
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(exported))
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "holds no recipe"),
        ({"zoo": "{"}, "its metadata: it is damaged"),
        ({"zoo": "[" * 9999}, "its metadata: it is damaged"),
        ({"zoo": '{"recipe": {"model": "conv-lstm"}}'}, "the entry 'digest' is missing"),
        ({"zoo": '{"recipe": {}, "digest": 3}'}, "digest = 3 must be str"),
        ({"zoo": '{"recipe": {}, "digest": "3"}'}, "is damaged: its content does not match its digest"),
        ({"zoo": '{"recipe": {"model": ' + "9" * 5000 + "}}"}, "its metadata: it is damaged"),
    ],
)
def test_odd_metadata(tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "w.safetensors", metadata=metadata)
    with pytest.raises(ZooError) as raised:
        load_weights(tmp_path / "w.safetensors")
    assert message in str(raised.value)


def test_tensors_that_are_no_weights(exported: Path) -> None:
    model, recipe = load_weights(exported)
    for dtype, name in ((torch.int64, "int64"), (torch.float8_e4m3fn, "float8_e4m3fn"), (torch.bool, "bool")):
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        save_weights(exported, model.to(dtype) if dtype.is_floating_point else _cast(model, dtype), recipe)
        with pytest.raises(ZooError, match=f"is {name}, but must be float16 or bfloat16 or float32 or float64"):
            load_weights(exported)


def _cast(model: nn.Module, dtype: torch.dtype) -> Any:
    """A stand-in for a model with such weights, which no module can have."""
    state = {name: weight.to(dtype) for name, weight in model.state_dict().items()}
    return type("Stand", (nn.Module,), {"state_dict": lambda self: state})()


@register("test-unruly", paper="none")
def unruly(error: str = "") -> Any:
    """A constructor that fails in ways of its own."""
    raise KeyError(error)


def test_whatever_a_constructor_raises_is_named() -> None:
    with pytest.raises(
        ZooError, match=r"here: test-unruly cannot be built with options = {'error': 'x'} \(KeyError: 'x'\)"
    ):
        build_model(Recipe("test-unruly", {"error": "x"}), "here")

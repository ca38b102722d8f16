"""What is wrong with a checkpoint is said before anything is computed from it, and it keeps what its folder loses."""

import json
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.runs import RECIPE, last, rows, same, with_training
from zoo.data import moving_mnist
from zoo.data.digits import Digits, load_digits
from zoo.errors import ZooError
from zoo.training import fit, open_run
from zoo.training.checkpoint import load_checkpoint, save_checkpoint

STOPPED = with_training(max_time=1e-9)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    fit(RECIPE, folder, progress=False)
    return folder


@pytest.fixture
def stopped(tmp_path: Path, whole: Path) -> Path:
    """A run that goes on from the sixteenth step when it is resumed."""
    folder = tmp_path / "stopped"
    shutil.copytree(whole, folder)
    shutil.copy(folder / "checkpoints" / "step-16.ckpt", folder / "checkpoints" / "last.ckpt")
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(ZooError) as raised:
        fit(RECIPE, folder, progress=False)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# ---- damage -----------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path: Path, whole: Path) -> None:
    path, content = tmp_path / "flipped.ckpt", (whole / "checkpoints" / "last.ckpt").read_bytes()
    good = load_checkpoint(whole / "checkpoints" / "last.ckpt")
    refusals = []
    for place in range(7, len(content), 131):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        try:
            assert same(load_checkpoint(path), good)  # in what no reader looks at, such as the archive's padding
        except ZooError as error:
            refusals.append(str(error))
    assert len(refusals) > 90
    assert all(str(path) in message for message in refusals)
    largest = max(zipfile.ZipFile(whole / "checkpoints" / "last.ckpt").infolist(), key=lambda entry: entry.file_size)
    place = largest.header_offset + 2000
    path.write_bytes(content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :])
    with pytest.raises(ZooError, match=r"flipped\.ckpt cannot be read .*does not match its checksum.*use another"):
        open_run(whole, path)


def test_other_content_with_right_checksums_does_not_have_the_digest(tmp_path: Path, whole: Path) -> None:
    content = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)
    for change in (
        {"weights": {name: -weight for name, weight in content["weights"].items()}},
        {"step": 25},
        {"progress": content["progress"] | {"best": 0.0}},
        {"metrics": content["metrics"] + "25,,,,,,,\n"},
        {"digest": "0" * 64},
    ):
        torch.save(content | change, tmp_path / "other.ckpt")
        with pytest.raises(ZooError, match=r"other\.ckpt is damaged: its content does not match its digest"):
            open_run(whole, tmp_path / "other.ckpt")
    del content["digest"]
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(ZooError, match="is damaged"):
        open_run(whole, tmp_path / "other.ckpt")


def replaced(content: Any, location: tuple[str, ...], value: Any) -> Any:
    """A copy of nested mappings with one value replaced, or left out if it is ...."""
    name, *deeper = location
    if deeper:
        return content | {name: replaced(content[name], tuple(deeper), value)}
    return {key: kept for key, kept in content.items() if key != name} | ({} if value is ... else {name: value})


ODD = [
    (("step",), -1, "step = -1 must be greater than or equal to 0"),
    (("step",), 1.5, "step = 1.5 must be int"),
    (("step",), ..., "the entry 'step' is missing"),
    (("model",), None, "model = None must be str"),
    (("extra",), 1, "no entry 'extra'"),
    (("weights",), [1], "weights = [1] must be dict"),
    (("weights", "mix.bias"), ..., "mix.bias is missing"),
    (("weights", "mix.bias"), "x", "weights.mix.bias = 'x' must be an instance of Tensor"),
    (("weights", "mix.bias"), torch.zeros(2), "mix.bias is (2,) strided, but must be (3,) strided"),
    (("weights", "mix.bias"), torch.zeros(3, dtype=torch.complex64), "mix.bias is complex64, but must be float32"),
    (("weights", "mix.bais"), torch.zeros(3), "it has no 'mix.bais'; did you mean 'mix.bias'"),
    (("optimizer", "mix.bais"), {}, "optimizer: the model has no 'mix.bais'; did you mean 'mix.bias'"),
    (("optimizer", "mix.bias", "exp_avg"), torch.zeros(1), "optimizer: mix.bias: exp_avg is (1,) strided"),
    (("optimizer", "mix.bias", "step"), ..., "optimizer: mix.bias: step is missing"),
    (("meter", "loss"), torch.zeros(2), "meter: loss is (2,) strided, but must be () strided"),
    (("sampling", "fall"), ..., "sampling = {'best': "),
    (("learning_rate", "decay"), 0.5, "learning_rate = {'best': "),
    (("precision",), {"scale": 1.0}, "precision = {'scale': 1.0} must be like {}"),
    (("progress", "stale"), ..., "progress: the entry 'stale' is missing"),
    (("progress", "best"), torch.zeros(()), "progress.best = tensor(0.) must be an instance of float"),
    (("progress", "row"), 17, "progress.row = 17 is later than step = 16"),
    (("metrics",), "no table", "metrics = 'no table' must start with the names of the columns"),
    (("data", "val"), "x", "data.val = 'x'"),
    (("environment", "threads"), [1], "environment.threads = [1] must be str or must be int"),
]


@pytest.mark.parametrize(("location", "value", "message"), ODD, ids=[message for _, _, message in ODD])
def test_an_odd_part_is_named(stopped: Path, location: tuple[str, ...], value: Any, message: str) -> None:
    """With a digest that fits: as another program might write it."""
    path = stopped / "checkpoints" / "last.ckpt"
    save_checkpoint(replaced(load_checkpoint(path), location, value), path)
    text = refused(stopped)
    assert message in text
    assert str(path) in text


# ---- what the folder loses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_text(""),
        lambda path: path.write_text(path.read_text()[:100]),
        lambda path: path.write_text("step,loss\n1,nothing\n"),
        lambda path: path.write_bytes(b"\xff\x00" * 999),
    ],
)
@pytest.mark.parametrize("folder", ["stopped", "whole"])
def test_metrics_are_mended(
    request: pytest.FixtureRequest, tmp_path: Path, whole: Path, folder: str, damage: Callable[[Path], Any]
) -> None:
    """Before a resume, and of a finished run."""
    run = request.getfixturevalue("stopped") if folder == "stopped" else tmp_path / "run"
    if folder == "whole":
        shutil.copytree(whole, run)
    damage(run / "metrics.csv")
    fit(RECIPE, run, progress=False)
    assert rows(run) == rows(whole)
    assert (run / "metrics.csv").read_text() == last(run)["metrics"]
    assert not list(run.glob(".*"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it is damaged"),
        ("[3]", "[0] = 3 must be dict"),
        ('[{"step": 0, "threads": null}]', "[0].threads = None must be str"),
        ("9" * 5000, "it is damaged"),
        ("[" * 5000, "it is damaged"),
    ],
)
def test_versions_that_are_damaged(stopped: Path, text: str, message: str) -> None:
    (stopped / "versions.json").write_text(text)
    error = refused(stopped)
    assert "versions.json, a log that may be removed: " in error
    assert message in error
    (stopped / "versions.json").unlink()
    fit(RECIPE, stopped, progress=False)
    assert [session["step"] for session in json.loads((stopped / "versions.json").read_text())] == [16]


# ---- the same data and the same machine ---------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_data_are_refused(stopped: Path, monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    def inverted(which: Any, *args: Any) -> Digits:
        digits = load_digits(which, *args)
        return digits._replace(images=255 - digits.images) if which == split else digits

    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(moving_mnist, "load_digits", inverted)
        error = refused(stopped)
    assert f"the {split} clips differ from those that {stopped} was trained on" in error
    assert "data root" in error
    assert before == {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    fit(RECIPE, stopped, progress=False)


def test_a_change_of_the_machine_is_noted_once(tmp_path: Path) -> None:
    """And the run goes on."""
    folder, threads = tmp_path / "run", torch.get_num_threads()
    fit(STOPPED, folder, progress=False)
    try:
        torch.set_num_threads(threads + 1)
        change = f"threads was {threads} and is {threads + 1}"
        with pytest.warns(UserWarning, match=f"not bit-identical from step 1: {change}; training continues") as caught:
            fit(STOPPED, folder, progress=False)
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fit(STOPPED, folder, progress=False)
    finally:
        torch.set_num_threads(threads)
    sessions = json.loads((folder / "versions.json").read_text())
    assert [session.get("note") for session in sessions] == [None, f"not bit-identical from step 1: {change}", None]
    assert last(folder)["step"] == 3


@pytest.mark.parametrize(
    ("entry", "value"), [("torch", "1.0"), ("machine", "an abacus"), ("device", "a tortoise"), ("numpy", ...)]
)
def test_other_versions_and_machines_are_noted(stopped: Path, entry: str, value: Any) -> None:
    path = stopped / "checkpoints" / "last.ckpt"
    save_checkpoint(replaced(load_checkpoint(path), ("environment", entry), value), path)
    before = None if value is ... else value
    with pytest.warns(UserWarning, match=f"from step 16: {entry} was {before} and is .*; training continues"):
        fit(RECIPE, stopped, progress=False)
    assert f"{entry} was {before}" in json.loads((stopped / "versions.json").read_text())[-1]["note"]


def test_a_sparse_tensor_is_refused(tmp_path: Path, whole: Path) -> None:
    content = torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)
    name = next(iter(content["weights"]))
    content["weights"][name] = content["weights"][name].to_sparse()
    torch.save(content, tmp_path / "sparse.ckpt")
    with pytest.raises(ZooError, match="dense tensors"):
        load_checkpoint(tmp_path / "sparse.ckpt")

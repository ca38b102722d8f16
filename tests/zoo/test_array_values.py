"""The values of arrays: what they mean in another file than the training data, and those that cannot be used."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.runs import run_command
from zoo.data import own_clip, pin_data
from zoo.errors import ZooError
from zoo.settings import ArraysData

BYTES = (np.arange(4 * 5 * 6 * 7) % 256).reshape(4, 5, 6, 7).astype(np.uint8)


def pinned(folder: Path, array: np.ndarray, value_range: list[float]) -> ArraysData:
    np.save(folder / "train.npy", array)
    data = pin_data(ArraysData(f"arrays:{folder}/train.npy", length=5, observed=2, range=value_range), folder)
    assert isinstance(data, ArraysData)
    return data


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    ("trained", "given"),
    [("u1", "f4"), ("f4", "u1"), ("f2", "f8"), ("u1", "u1"), (">f4", "f4"), ("f4", "f4")],
)
def test_bytes_and_floats_mean_the_same_in_another_file(trained: str, given: str, there: bool, tmp_path: Path) -> None:
    def as_dtype(name: str) -> np.ndarray:
        return BYTES.astype(name) if name == "u1" else (BYTES / 255).astype(name)

    data = pinned(tmp_path, as_dtype(trained), [])
    if not there:  # the model was trained on another machine
        (tmp_path / "train.npy").unlink()
    np.save(tmp_path / "own.npy", as_dtype(given))
    clip = own_clip(data, tmp_path / "own.npy", 5, tmp_path)
    torch.testing.assert_close(clip[:, 0], torch.from_numpy(BYTES[0]) / 255, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("trained", "value_range", "given"),
    [("u1", [], "i8"), ("u1", [0, 200], "f4"), ("i2", [0, 300], "u1"), ("f4", [0, 200], "u1"), ("u2", [0, 256], "i4")],
)
def test_a_file_of_a_dtype_without_a_known_range_is_refused(
    trained: str, value_range: list[float], given: str, tmp_path: Path
) -> None:
    data = pinned(tmp_path, BYTES.astype(trained), value_range)
    np.save(tmp_path / "own.npy", BYTES.astype(given) // 8)
    with pytest.raises(ZooError, match=f"holds {np.dtype(given)}, but the model was trained on {np.dtype(trained)}"):
        own_clip(data, tmp_path / "own.npy", 5, tmp_path)


def test_a_range_that_was_named_holds_for_a_file_of_the_same_dtype(tmp_path: Path) -> None:
    for dtype in ("i2", "f4"):
        data = pinned(tmp_path, BYTES.astype(dtype), [0, 255])
        np.save(tmp_path / "own.npy", BYTES.astype(dtype))
        clip = own_clip(data, tmp_path / "own.npy", 5, tmp_path)
        torch.testing.assert_close(clip[:, 0], torch.from_numpy(BYTES[0]) / 255)


def described(array: np.ndarray, folder: Path, capsys: pytest.CaptureFixture[str], *words: Any) -> list[str]:
    np.save(folder / "a.npy", array)
    assert run_command("data", f"arrays:{folder}/a.npy", "--data-root", folder, *words) == 0
    return capsys.readouterr().out.splitlines()


def test_a_value_that_cannot_be_used_is_told_with_what_it_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = np.zeros((10, 70, 4, 4), np.float32)
    clips[9, 66, 1, 1], clips[0, 2, 1, 1] = np.nan, 7
    low, high = (line for line in described(clips, tmp_path, capsys) if line.startswith("cannot be used"))
    assert "clip 0, steps 0 to 63: values from 0 to 7 are outside" in low
    assert low.endswith("; it stops training (train)")
    assert "clip 9, steps 64 to 69: step 2 of these, counted from 0, has a NaN" in high
    assert high.endswith("; it stops zoo evaluate, compare and report (test)")


def test_a_value_of_a_recording_is_told_with_the_split_of_its_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = np.zeros((100, 4, 4), np.float32)
    recording[85, 0, 0] = np.inf
    (line,) = (each for each in described(recording, tmp_path, capsys, "--data.length", "5") if "cannot be" in each)
    assert line.endswith("; it stops validation during training (val)")


def test_arrays_that_are_too_short_are_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = described(BYTES, tmp_path, capsys, "--data.length", "6")
    assert "too short: each of 4 clips has 5 frames, but a clip needs 6" in lines
    assert "test: 1 clip, 5 frames, 0 positions of 6 frames" in lines
    assert not any("too short" in line for line in described(BYTES, tmp_path, capsys, "--data.length", "5"))
    words = ["--data.length", "5", "--data.stride", "3"]
    lines = described(np.zeros((100, 4, 4), np.uint8), tmp_path, capsys, *words)
    assert "too short: the part of test from step 90 to step 99 has 10 frames, but a clip needs 13" in lines
    assert "train: 1 clip, 80 frames, 68 positions of 5 frames" in lines


def test_values_that_are_not_finite_do_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = np.full((10, 5, 2, 4, 4), 0.5, np.float32)
    clips[:, :, 1], clips[0, :, 0], clips[1, 0, 0, 0, 0] = 0.75, np.nan, np.inf
    lines = described(clips, tmp_path, capsys, "--data.channels", "2", "--data.length", "5")
    (line,) = (each for each in lines if each.startswith("values from"))
    assert line.startswith("values from 0.5 to 0.75, in a range from 0 to 1;")
    assert line.endswith("have mean [0.5, 0.75] and standard deviation [0.0, 0.0]")

"""The whole program for a quarter of an hour at a GPU, rehearsed on the CPU and killed at a random second."""

import csv
import json
import os
import random
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.support.deep import deep
from tests.support.slot import read
from zoo.benchmark.slot.archive import check_archive
from zoo.benchmark.slot.sizes import REHEARSAL
from zoo.benchmark.slot.speed import rows
from zoo.benchmark.slot.training import RESUMED
from zoo.model_files.pretrained import load_weights
from zoo.training.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]


def start(*words: str | Path) -> subprocess.Popen[str]:
    """The program, in a session of its own, with everything hidden that a bare machine lacks."""
    command = [sys.executable, "-m", "tests.support.bare", "zoo.benchmark.slot", "--rehearse", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def running(session: int) -> list[str]:
    """The processes of a session that have not ended."""
    alive = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, *rest = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(rest[2]) == session and state != "Z":
            alive.append(path.parent.name)
    return alive


def until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def check_output(folder: Path) -> list[str]:
    """That everything in an output folder is whole and small; the names of its archives."""
    files = [path for path in folder.iterdir() if path.suffix != ".tmp"]  # which a kill may leave
    assert len(list(folder.iterdir())) <= 8
    assert all(path.stat().st_size < 16 * 2**20 for path in files)
    names = sorted(path.name for path in files)
    assert "slot.json" in names
    assert json.loads((folder / "slot.json").read_text())["minutes"] > 0
    for name in names:
        if name.endswith(".zip"):
            check_archive(folder / name, [])
    if "speed.zip" in names:
        table = read(folder / "speed.zip", "speed.csv")
        if table is not None:
            lines = list(csv.DictReader(table.decode().splitlines()))
            assert [line["row"] for line in lines] == [measure.name for measure in rows(REHEARSAL)]
            assert {line["state"] for line in lines} <= {"measured", "failed", "not measured"}
    return names


def test_a_kill_at_any_second_leaves_what_was_done_and_the_next_call_goes_on(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    program = start("--minutes", "5", "-o", first)
    assert until((first / "slot.json").exists, 120), program.communicate()[0]
    seconds = random.uniform(0, 12 if deep() else 3)
    try:
        program.wait(seconds)
    except subprocess.TimeoutExpired:
        program.kill()
    program.communicate()
    assert until(lambda: not running(program.pid), 10), "a part outlives the program"
    names = check_output(first)
    resume: list[Any] = []
    if "train.zip" in names and read(first / "train.zip", RESUMED[1]):
        resume = ["--resume", first / "train.zip"]

    program = start("--minutes", "5", "-o", second, *resume)
    printed, _ = program.communicate(timeout=240)
    assert program.returncode == 0, printed
    assert check_output(second) == ["slot.json", "speed.zip", "tests.zip", "train.zip"], f"killed after {seconds} s"
    states = {name: one["state"] for name, one in json.loads((second / "slot.json").read_text())["parts"].items()}
    assert states == {"tests": "finished", "speed": "finished", "train": "finished"}
    check_tests(second / "tests.zip")
    check_speed(second / "speed.zip")
    check_training(second / "train.zip", tmp_path / "unpacked")


def check_tests(archive: Path) -> None:
    """Every test for CUDA was collected, and is skipped here with a reason."""
    lines = list(csv.DictReader((read(archive, "tests.csv") or b"").decode().splitlines()))
    assert {line["test"].split("::")[0] for line in lines} == {
        f"tests/cuda/{path.name}" for path in (ROOT / "tests" / "cuda").glob("test_*.py")
    }
    if not torch.cuda.is_available():
        assert {(line["outcome"], line["reason"]) for line in lines} == {("skipped", "Skipped: torch sees no GPU")}


def check_speed(archive: Path) -> None:
    """Everything is measured but what needs a GPU."""
    lines = list(csv.DictReader((read(archive, "speed.csv") or b"").decode().splitlines()))
    for line in lines:
        if "graph" in line["row"]:
            assert (line["state"], line["note"]) == ("failed", "this variant is not for a cpu device")
        else:
            assert (line["state"], float(line["seconds"]) > 0) == ("measured", True), line
    for line in lines:
        if line["row"].endswith("bf16") and "batch" in line["row"]:
            assert float(line["product_share"]) > 0
            assert 0 <= float(line["pointwise_share"]) <= 1
            assert 0 < float(line["difference"]) < 0.1
            assert bool(line["convolutions_share"]) == (line["row"].startswith("conv") and "paper" in line["row"])
    assert b"convolution" in (read(archive, "kernels-conv-lstm-paper-bf16.csv") or b"")


def check_training(archive: Path, folder: Path) -> None:
    """The run ended, and what it learnt came along: weights in 16 bits, curves, samples, scores."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    steps = [int(row["step"]) for row in csv.DictReader((folder / "run" / "metrics.csv").open())]
    assert steps == sorted(set(steps))
    assert steps[-1] == load_checkpoint(folder / "run" / "checkpoints" / "last.ckpt")["step"] == 30
    assert {tensor.dtype for tensor in load_file(folder / "weights.safetensors").values()} == {torch.float16}
    model, recipe = load_weights(folder / "weights.safetensors")
    assert recipe.training.steps == 30
    assert model(torch.rand(1, 2, 1, 64, 64), 2).isfinite().all()
    assert all((folder / name).read_bytes()[1:4] == b"PNG" for name in ("curves.png", "sample-0.png"))
    assert json.loads((folder / "scores.json").read_text())["per_frame"]["ssim"]

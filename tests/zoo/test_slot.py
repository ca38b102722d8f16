"""The program for a quarter of an hour at a GPU, rehearsed on the CPU."""

import csv
import multiprocessing
import os
import signal
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.bare import closure
from tests.support.slot import read
from zoo.benchmark.slot import parts, testing
from zoo.benchmark.slot.__main__ import main
from zoo.benchmark.slot.archive import MOST_BYTES, pack_folder
from zoo.benchmark.slot.bench import Bench, Measure
from zoo.benchmark.slot.pack import MNIST, MOST_MB, WHEELS, pack, tracked
from zoo.benchmark.slot.parts import run_parts
from zoo.benchmark.slot.plan import PACKING, SPARE, Plan
from zoo.benchmark.slot.sizes import REAL, REHEARSAL
from zoo.benchmark.slot.speed import fastest, measure_speed, rows
from zoo.benchmark.slot.training import RESUMED, make_recipe
from zoo.errors import ZooError

ROOT = Path(__file__).parents[2]


# ---- time and processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "shares", "message"),
    [
        (0.5, ["tests"], "--minutes = 0.5 leaves no time"),
        (float("nan"), ["tests"], "--minutes = nan"),
        (float("inf"), ["tests"], "--minutes = inf"),
        (9, ["test"], "no part 'test'; did you mean 'tests'"),
        (9, [], "names no part"),
    ],
)
def test_a_plan_that_cannot_be(minutes: float, shares: list[str], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        Plan(minutes, shares)


def test_time_that_a_part_leaves_goes_to_the_training() -> None:
    plan = Plan(9, ["tests", "speed", "train"])
    assert plan.end("speed", 20.0) == 20.0 + 3.5 * 60
    assert plan.end("train", 100.0) == 9 * 60 - SPARE - PACKING
    assert Plan(4, ["train"]).end("train", 0.0) == 4 * 60 - SPARE - PACKING


def long(folder: Path, end: float) -> None:
    (folder / "early.txt").write_text("done")
    subprocess.run(["sleep", "600"], check=False)


def crash(folder: Path, end: float) -> None:
    print("about to crash")
    os.kill(os.getpid(), signal.SIGKILL)


def fail(folder: Path, end: float) -> None:
    raise ZooError("no such thing")


def quick(folder: Path, end: float) -> None:
    (folder / "done.txt").write_text("all")


def test_a_part_that_hangs_crashes_or_fails_takes_nothing_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Plan, "end", lambda plan, part, begin: begin + (1.0 if part == "tests" else 30.0))
    plan, began = Plan(9, ["tests", "speed", "train"]), time.monotonic()
    outcomes = run_parts(plan, {"tests": long, "speed": crash, "train": quick}, tmp_path, began)
    assert [one.state for one in outcomes.values()] == ["cut short", "failed", "finished"]
    assert time.monotonic() - began < 50
    assert read(tmp_path / "tests.zip", "early.txt") == b"done"
    assert b"about to crash" in (read(tmp_path / "speed.zip", "log.txt") or b"")
    assert read(tmp_path / "train.zip", "done.txt") == b"all"
    assert capsys.readouterr().out.splitlines()[2] == "train: finished after 0 s"
    run_parts(Plan(9, ["speed"]), {"speed": fail}, tmp_path / "again", time.monotonic())
    assert b"no such thing" in (read(tmp_path / "again" / "speed.zip", "log.txt") or b"")


def idle(folder: Path, end: float) -> None:
    (folder / "pid.txt").write_text(str(os.getpid()))
    time.sleep(600)


def test_a_part_dies_with_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PACK_SECONDS", 0.0)
    words = (Plan(9, ["tests"]), {"tests": idle}, tmp_path, time.monotonic())
    program = multiprocessing.get_context("fork").Process(target=run_parts, args=words)
    program.start()
    while not ((tmp_path / "tests.zip").exists() and read(tmp_path / "tests.zip", "pid.txt")):
        time.sleep(0.05)
    part = Path("/proc", (read(tmp_path / "tests.zip", "pid.txt") or b"").decode(), "stat")
    assert part.exists()
    program.kill()
    program.join()
    end = time.monotonic() + 50
    while part.exists() and " Z " not in part.read_text() and time.monotonic() < end:
        time.sleep(0.05)
    assert time.monotonic() < end


def test_results_are_packed_while_a_part_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PACK_SECONDS", 0.0)
    monkeypatch.setattr(Plan, "end", lambda plan, part, begin: begin + 2.0)
    packed: list[bool] = []
    ordinary = pack_folder

    def noting(folder: Path, archive: Path) -> list[str]:
        left = ordinary(folder, archive)
        packed.append(read(archive, "early.txt") == b"done")
        return left

    monkeypatch.setattr(parts, "pack_folder", noting)
    run_parts(Plan(9, ["tests"]), {"tests": long}, tmp_path, time.monotonic())
    assert packed in ([True] * 2, [False, True, True], [False] + [True] * 2)  # while it ran, and at its end


def test_an_archive_stays_small_and_leaves_out_what_nobody_needs(tmp_path: Path) -> None:
    folder = tmp_path / "part"
    for name, size in {
        "small.txt": 10,
        "large.bin": 2**20,
        "huge.bin": MOST_BYTES,
        "run/checkpoints/last.ckpt": 20,
        "run/checkpoints/best.ckpt": 20,
        "run/tensorboard/events": 20,
        ".half.tmp": 20,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(size))
    assert pack_folder(folder, tmp_path / "part.zip") == ["huge.bin"]
    with zipfile.ZipFile(tmp_path / "part.zip") as file:
        assert set(file.namelist()) == {"small.txt", "large.bin", "run/checkpoints/last.ckpt"}
    assert (tmp_path / "part.zip").stat().st_size < 16 * 2**20


# ---- the parts --------------------------------------------------------------------------------------------


def test_outcomes_of_tests_are_written_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = tmp_path / "checkout" / "tests" / "cuda"
    checkout.mkdir(parents=True)
    (checkout / "test_some.py").write_text(
        "import os, pytest\n"
        "def test_passes(): pass\n"
        "def test_fails(): assert 1 == 2\n"
        "@pytest.fixture\n"
        "def broken(): raise OSError('no disk')\n"
        "def test_errs(broken): pass\n"
        "@pytest.mark.skip(reason='too cold')\n"
        "def test_skipped(): pass\n"
        "def test_crashes(): os._exit(3)\n"
    )
    monkeypatch.setattr(testing, "ROOT", tmp_path / "checkout")
    monkeypatch.setattr(testing, "TESTS", checkout)
    outcomes = run_parts(Plan(9, ["tests"]), {"tests": testing.run_tests}, tmp_path / "out", time.monotonic())
    assert outcomes["tests"].state == "failed"
    lines = list(csv.DictReader((read(tmp_path / "out" / "tests.zip", "tests.csv") or b"").decode().splitlines()))
    assert [(line["test"].split("::")[1], line["outcome"]) for line in lines] == [
        ("test_passes", "passed"),
        ("test_fails", "failed"),
        ("test_errs", "failed"),
        ("test_skipped", "skipped"),
    ]
    assert lines[3]["reason"] == "Skipped: too cold"
    failures = (read(tmp_path / "out" / "tests.zip", "failures.txt") or b"").decode()
    assert "assert 1 == 2" in failures
    assert "no disk" in failures


def test_without_a_checkout_there_are_no_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "TESTS", tmp_path / "none")
    with pytest.raises(ZooError, match=r"there are no tests in .*none; run this program in a checkout"):
        testing.run_tests(tmp_path, time.monotonic())


def test_rows_come_in_order_of_their_value() -> None:
    names = [measure.name for measure in rows(REAL)]
    assert names[:3] == [f"conv-lstm paper, batch 32, {way}" for way in ("plain", "bf16-graph", "bf16-compiled-graph")]
    order = [
        "conv-tt-lstm-sw paper, batch 32, plain",
        "convolutions of conv-lstm in bf16",
        "conv-tt-lstm-sw small, batch 256, bf16-graph",
        "predrnn-pp paper, batch 32, bf16-graph",
        "conv-lstm paper, batch 32, tf32-graph",
        "decomposition cttd",
        "layer tucker2",
    ]
    assert [name for name in names if name in order] == order


def test_rows_that_are_not_reached_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(bench: Bench) -> dict[str, Any]:
        raise RuntimeError("no such kernel\nand more")

    planned = [
        Measure("a, plain", lambda bench: {"seconds": 2.0}, 1.0),
        Measure("b", broken, 1.0),
        Measure("a, fast", lambda bench: {"seconds": 0.5}, 1.0),
        Measure("c", lambda bench: {"seconds": 1.0}, 1e9),
        Measure("a, other", lambda bench: {"seconds": 1.0}, 1.0),
    ]
    monkeypatch.setattr("zoo.benchmark.slot.speed.rows", lambda sizes: planned)
    measure_speed(tmp_path, time.monotonic() + 100, REHEARSAL, None)
    lines = list(csv.DictReader((tmp_path / "speed.csv").open()))
    states = [(line["row"], line["state"]) for line in lines]
    assert states == [
        ("a, plain", "measured"),
        ("b", "failed"),
        ("a, fast", "measured"),
        ("c", "not measured"),
        ("a, other", "measured"),
    ]
    assert lines[1]["note"] == "failed: RuntimeError: no such kernel"
    assert fastest(tmp_path / "speed.csv", "a, ") == ("fast", 0.5)
    assert fastest(tmp_path / "speed.csv", "b") is None
    assert fastest(tmp_path / "none.csv", "a, ") is None


@pytest.mark.parametrize(
    ("speed", "steps", "compiled"),
    [(("bf16-compiled-graph", 0.05), 3600, True), (("bf16-graph", 0.1), 1800, False), (None, 4000, False)],
)
def test_the_schedules_end_with_the_time(speed: tuple[str, float] | None, steps: int, compiled: bool) -> None:
    recipe = make_recipe(REAL, speed, 200.0)
    assert (recipe.training.steps, recipe.training.compile) == (steps, compiled)
    assert recipe.sampling.stop == steps // 2
    assert (recipe.training.batch_size, recipe.training.precision, recipe.training.graph) == (256, "bf16-mixed", True)
    assert recipe.data.endless


# ---- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "0.1"], "leaves no time"),
        (["--parts", "tests,sped"], "did you mean 'speed'"),
        (["--parts", ","], "names no part"),
        (["--later", "-1"], "--later = -1 must be a number of minutes"),
        (["--resume", "none.zip"], "none.zip cannot be read"),
        (["--resume", "README.md"], "README.md cannot be read"),
        (["--resume", "other.zip"], "other.zip lacks run/"),
        (["--resume", "cut.zip"], "cut.zip cannot be read"),
        (["--resume", "bent.zip"], "bent.zip is damaged in run/config.yaml"),
        (["-o", "README.md"], "-o README.md cannot be created"),
    ],
)
def test_bad_words_are_named(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text("text")
    with zipfile.ZipFile("other.zip", "w") as file:
        file.writestr("speed.csv", "row\n")
    with zipfile.ZipFile("whole.zip", "w") as file:
        for name in RESUMED:
            file.writestr(name, "some text")
    whole = Path("whole.zip").read_bytes()
    Path("cut.zip").write_bytes(whole[: len(whole) // 2])
    Path("bent.zip").write_bytes(whole.replace(b"some text", b"same text", 1))
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as stop:
            main(["--rehearse", "-o", str(tmp_path / "out"), *words])
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_is_only_the_rehearsal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit):
            main(["-o", str(tmp_path / "out")])
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert "torch finds no GPU; --rehearse" in capsys.readouterr().err


# ---- what travels -----------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    root.mkdir()
    (root / ".gitignore").write_text("/slot/\n/built/\n")
    (root / "code.py").write_bytes(b"x" * 2_000_000)
    (root / "built").mkdir()
    (root / "built" / "large").write_bytes(b"x" * 9_000_000)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    for name in MNIST:
        (tmp_path / "data" / "mnist" / name).write_bytes(b"x" * 1_000_000)
    (tmp_path / "wheels").mkdir()
    for name in ("pydantic", "typing_inspection"):
        (tmp_path / "wheels" / f"{name}-1-py3-none-any.whl").write_bytes(b"x" * 250_000)
    return root


def test_what_travels_is_copied_and_counted(checkout: Path) -> None:
    above = checkout.parent
    line = pack(checkout, above / "data", above / "wheels")
    assert line.startswith("6.5 of 60 MB: 2.0 of the checkout, 4.5 in ")
    assert line.endswith("; no wheel of pydantic_core, annotated_types: the machine must have them")
    copied = sorted(path.name for path in (checkout / "slot").rglob("*") if path.is_file())
    assert copied == sorted([*MNIST, "pydantic-1-py3-none-any.whl", "typing_inspection-1-py3-none-any.whl"])
    assert pack(checkout, above / "data", None).startswith("6.0 of 60 MB")
    assert not (checkout / "slot" / "wheels").exists()


def test_wheels_are_those_of_pydantic_and_what_it_needs() -> None:
    needed = closure(["pydantic"]) - closure(["torch"])  # typing_extensions is there
    assert {name.replace("_", "-") for name in WHEELS} == needed


def test_too_much_does_not_travel(checkout: Path) -> None:
    (checkout / "huge.bin").write_bytes(b"x" * 55_000_000)
    with pytest.raises(
        ZooError, match=r"the files have 61.0 MB, but at most 60 MB are allowed; the largest are huge.bin \(55.0 MB\)"
    ):
        pack(checkout, checkout.parent / "data", None)


def test_what_cannot_be_packed_is_named(checkout: Path) -> None:
    above = checkout.parent
    pack(checkout, above / "data", above / "wheels")
    with pytest.raises(ZooError, match=r"is inside .*slot, which is emptied first"):
        pack(checkout, above / "data", checkout / "slot" / "wheels")
    (checkout / ".git").rename(above / "git")
    with pytest.raises(ZooError, match="is not a checkout: fatal: not a git repository"):
        pack(checkout, above / "data", None)
    (above / "data" / "mnist" / MNIST[0]).unlink()
    with pytest.raises(ZooError, match=rf"{MNIST[0]} cannot be copied"):
        pack(checkout, above / "data", None)


def test_this_checkout_is_small_enough(data_root: Path) -> None:
    """With MNIST, whose files are left where they are."""
    sizes = [path.stat().st_size for path in tracked(ROOT)]
    sizes += [(data_root / "mnist" / name).stat().st_size for name in MNIST]
    assert sum(sizes) < 1e6 * MOST_MB

"""The command answers before torch is imported: its help, its version, its models, and every misspelt name."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.runs import run_command
from zoo import names
from zoo.cli import COMMANDS
from zoo.commands.options import write_out_numbers

SHIPPED = "conv-lstm:moving-mnist-small"
HELP = ["--help", "--version", "models", *(f"{command} --help" for command in COMMANDS)]
MISSPELT = [
    "modles",
    "train conv-lstmm moving-mnist",
    "train conv-lstm moving-mnst",
    "train conv-lstm kth --preset smal",
    "train conv-lstm kth --preset paper --protocol prednn",
    "train conv-lstm moving-mnist --training.stps 4",
    "train conv-lstm moving-mnist --options.kernl 3",
    "train conv-lstm moving-mnist --sampling.schedule lin",
    "train conv-lstm moving-mnist --training.precision 33",
    "train conv-lstm moving-mnist --training.accelerator gup",
    "evaluate conv-lstmm:kth-small",
    "evaluate conv-lstm:kth-smal",
    f"evaluate {SHIPPED} --convention corect",
    f"evaluate {SHIPPED} --curves x.jpg",
    "evaluate no-run",
    f"compare {SHIPPED} --layout corect",
    f"compare {SHIPPED} --convention corect",
    "compare no-run",
    f"predict {SHIPPED} -o x.pgn",
    "predict no-run -o x.png",
    "gradients no-run -o x.png",
    "entanglement -o x.jpg",
    "export no-run -o x.safetensors",
    "export no-run -o x.safetensor",
    "benchmark conv-lstmm",
    "benchmark conv-lstm --jobs trainig",
    "benchmark conv-lstm --variants egaer",
    "benchmark conv-lstm --preset smll",
    "data kthh",
]
# runs every line in a fork that has not imported torch, and prints those that import it or end with another status
PROGRAM = """
import os, sys
from zoo.cli import main
status, *lines = sys.argv[1:]
for line in lines:
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr = open(os.devnull, "w")
        try:
            main(line.split())
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        os._exit(code + 100 * ("torch" in sys.modules))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != int(status):
        print(line, code)
"""


@pytest.mark.parametrize(("status", "lines"), [(0, HELP), (2, MISSPELT)])
def test_torch_is_not_imported(status: int, lines: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, str(status), *lines]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
    assert done.stdout.splitlines() == []


def test_help_takes_at_most_half_the_time_of_torch() -> None:
    def seconds(*words: str) -> float:
        """Of the processor, which does not depend on what else the machine does; the best of two."""
        times = []
        for _ in range(2):
            before = os.times()
            subprocess.run([sys.executable, *words], capture_output=True, check=True)
            after = os.times()
            times.append(after.children_user + after.children_system - before.children_user - before.children_system)
        return min(times)

    torch = seconds("-c", "import torch")
    for words in (["--help"], ["models"], ["train", "conv-lstm", "moving-mnist", "--help"]):
        assert seconds("-m", "zoo", *words) < torch / 2


def test_the_names_are_those_of_the_things() -> None:
    from zoo.benchmark import JOBS, VARIANTS
    from zoo.evaluation import CONVENTIONS, LAYOUTS
    from zoo.evaluation.pictures import _WRITERS

    known: list[tuple[Any, Any]] = [
        (names.JOBS, JOBS),
        (names.VARIANTS, VARIANTS),
        (names.CONVENTIONS, CONVENTIONS),
        (names.LAYOUTS, LAYOUTS),
        (names.PREDICTIONS[:3], _WRITERS),
    ]
    for listed, things in known:
        assert list(listed) == list(things)


def test_a_whole_number_may_have_an_exponent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more.yaml").write_text("training: {batch_size: 1e1}\noptions: {hidden: [2e0, 1.5e1]}\n")
    words = f"conv-lstm moving-mnist --training.steps 1e3 --config {tmp_path}/more.yaml --learning_rate.base 1e0"
    assert run_command("train", *words.split(), "--print_config") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["training"]["steps"], printed["training"]["batch_size"]) == (1000, 10)
    assert printed["options"]["hidden"] == [2, 15]
    assert printed["learning_rate"]["base"] == 1.0


@pytest.mark.parametrize("number", ["1.5e0", "1e-3", "1e3x", "1e400", "e3"])
def test_what_is_no_whole_number_is_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("train", "conv-lstm", "moving-mnist", "--training.steps", number) == 2
    assert "training.steps" in capsys.readouterr().err


def test_names_that_look_like_numbers_are_left_alone() -> None:
    line = "evaluate 1e3 --checkpoint 1e3 --data-root=1e3 -o 1e3"
    assert write_out_numbers(line.split()) == line.split()
    written = write_out_numbers(["compare", "a", "--horizon", "1e1", "20", "3e1"])
    assert written == ["compare", "a", "--horizon", "10", "20", "30"]

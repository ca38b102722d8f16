"""Every command of both packages, in processes whose standard output is closed, full, without a reader or ASCII.

`python -m tests.support.terminals` runs them in the current folder and prints how each ended, as JSON. Each runs in a
fork of one process, since importing the commands takes seconds.
"""

import importlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file

from tensortrain import cli as tensortrain_cli
from tensortrain import terminal
from zoo import cli as zoo_cli

SITUATIONS = ("ascii", "closed", "full", "unread")

TINY = (
    "--options.hidden=[2] --options.layers=[1] --options.kernel=3 --options.patch=4 --data.digits=1 --data.size=32"
    " --data.length=6 --data.observed=3 --data.source=embedded --training.steps=1 --training.batch_size=1"
    " --training.validation_clips=1 --training.accelerator=cpu --data-root data"
)
TEST = "--horizon 1 --data-root data"
COMMANDS = (  # some read what those before them have written
    "tensortrain decompose net.st --kernel-sizes 3,3 --ranks 2 -o small.st",
    "tensortrain info small.st",
    "tensortrain verify small.st --against net.st",
    "tensortrain --version",
    "tensortrain --help",
    f"zoo train conv-lstm moving-mnist {TINY} -o run-SITUATION",
    f"zoo evaluate run-ascii {TEST} --count 1",
    f"zoo compare run-ascii {TEST} --count 1",
    f"zoo predict run-ascii {TEST} -o x.png",
    f"zoo gradients run-ascii {TEST} --count 1 -o x.png",
    "zoo entanglement --length 1 --count 1 --data-root data -o x.png",
    "zoo export run-ascii -o x.safetensors",
    "zoo data mnist --data-root data",
    "zoo models",
    "zoo --version",
    "zoo train --help",
    "zoo --print_completion=shtab-bash",
)
SLOW = ("zoo.training", "zoo.evaluation", "matplotlib.figure", "torch.utils.tensorboard", "sklearn.datasets", "lpips")
MAIN: dict[str, Callable[[], None]] = {"tensortrain": tensortrain_cli.main, "zoo": zoo_cli.main}


class Outcome(NamedTuple):
    """How a command ended in a situation, and what it wrote."""

    command: str
    situation: str
    status: int
    out: str
    err: str


def redirect(situation: str) -> None:
    """Make standard output and error what they are when Python starts in such a situation."""
    for number, path in ((1, "/dev/full" if situation == "full" else "out"), (2, "err")):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    if situation == "unread":
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.close(reader)
        os.close(writer)
    encoding = "ascii" if situation == "ascii" else "utf-8"
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w", closefd=False)), encoding, line_buffering=number == 2)
        for number in (1, 2)
    )
    if situation == "closed":
        os.close(1)
        sys.stdout = None  # type: ignore[assignment]


def run(command: str, situation: str) -> Outcome:
    """Run a command in a fork of this process."""
    words = command.replace("SITUATION", situation).split()
    child = os.fork()
    if child == 0:
        redirect(situation)
        sys.argv = words
        try:
            terminal.run(words[0], lambda: MAIN[words[0]])
        except SystemExit as ended:
            os._exit(int(ended.code or 0))
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    out = "" if situation in ("full", "unread") else Path("out").read_text("utf-8", "replace")
    return Outcome(command, situation, status, out, Path("err").read_text("utf-8", "replace"))


def main() -> None:
    """Make the checkpoint that the commands read, and run them."""
    for module in SLOW:
        importlib.import_module(module)
    torch.set_num_threads(1)  # a fork has no other threads
    save_file({"conv.weight": torch.randn(4, 4, 5)}, "net.st")
    pairs = [(command, situation) for situation in SITUATIONS for command in COMMANDS]
    # with standard output closed a command does all its work, which the first situation has tried
    outcomes = [run(*pair) for pair in pairs if not (pair[1] == "closed" and "data" in pair[0])]
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main()

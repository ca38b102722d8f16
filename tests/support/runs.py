"""Tiny runs for the training tests, in this process or in others that are killed, signalled or joined."""

import csv
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.predictors.recurrent import RecurrentPredictor
from zoo.registry import register
from zoo.settings import ConstantRate, LinearSampling, MovingMNISTData, PlateauRate, PlateauSampling, Recipe, Training
from zoo.training.checkpoint import load_checkpoint


@register("test-tiny", paper="none")
class Tiny(RecurrentPredictor):
    """One recurrent convolution."""

    def __init__(self, hidden: int = 3, patch: int = 4) -> None:
        super().__init__(patch=patch)
        self.hidden = hidden
        self.mix = nn.Conv2d(patch**2 + hidden, hidden, 3, padding=1)
        self.frame = nn.Conv2d(hidden, patch**2, 1)

    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> Tensor:
        return torch.zeros(batch, self.hidden, *size, device=device, dtype=dtype)

    def read(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        predictions = []
        for frame in frames:
            state = torch.tanh(self.mix(torch.cat([frame, state], 1)))
            predictions.append(self.frame(state))
        return torch.stack(predictions), state


@register("test-cliff", paper="none")
class Cliff(Tiny):
    """Its gradient is finite while `gain` is positive, and training drives it down."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def read(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        predictions, state = super().read(frames, state)
        return predictions + 100 * torch.sqrt(self.gain * (self.gain > 0)), state


@register("test-critic", paper="none")
class Critic(Tiny):
    """Its loss runs a layer of its own on the predictions."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = nn.Conv2d(1, 2, 3)

    def loss(self, predictions: Tensor, clips: Tensor, *weights: float, **named: float) -> Tensor:
        judged = self.critic(predictions.flatten(0, 1)) - self.critic(clips[:, 1:].flatten(0, 1))
        return super().loss(predictions, clips, *weights, **named) + judged.square().mean()


RECIPE = Recipe(
    "test-tiny",
    data=MovingMNISTData(size=28, observed=2, length=5, clips_per_epoch=10, source="embedded"),
    sampling=PlateauSampling(patience=0, decay=0.2),
    learning_rate=PlateauRate(base=0.3, patience=0, factor=0.5, every=1),
    training=Training(
        steps=24,
        batch_size=4,
        seed=3,
        log_every=5,
        validate_every=3,
        validation_clips=7,
        save_every=8,
        accelerator="cpu",
    ),
)


def with_training(**changes: Any) -> Recipe:
    """`RECIPE` with other training settings."""
    return replace(RECIPE, training=replace(RECIPE.training, **changes))


def run_command(*arguments: str | Path) -> int:
    """The exit status of `zoo …`."""
    from zoo.cli import main  # its parser is missing where only the CUDA tests run

    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


CLIFF = replace(
    with_training(log_every=4, validate_every=100),
    model="test-cliff",
    options={"gain": 0.45},
    learning_rate=ConstantRate(base=0.1),
    sampling=LinearSampling(),
)


def start(target: Callable[..., None], *args: Any) -> multiprocessing.process.BaseProcess:
    """Run a function of this module in a fresh process; Lightning is imported once for all of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoo.training", "zoo.models"])
    process = context.Process(target=target, args=args)
    process.start()
    return process


def exit_code(process: multiprocessing.process.BaseProcess) -> int | None:
    """Wait for a process; a minute is far too long."""
    process.join(60)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def train_until(recipe: Recipe, folder: Path, number: int, event: str, count: int, save_seconds: float) -> None:
    """Train, and send this process a signal when `event` is reached for the `count`-th time in it."""
    from zoo.training import fit, graph, session, step, validation

    torch.set_num_threads(1)
    session.SAVE_SECONDS = save_seconds
    if event == "file operation":
        count_operations(folder, lambda done: os.kill(os.getpid(), number) if done == count else None)
        fit(recipe, folder, progress=False)
        return
    owner, name = {
        "forward": (graph, "train_step"),
        "backward": (step, "clip_gradients"),
        "validation": (validation, "validate_batch"),
        "writing": (torch, "save"),
        "renaming": (os, "replace"),
        "row": (session.MetricsLog, "write"),
    }[event]
    ordinary, calls = getattr(owner, name), 0

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), number)
        return ordinary(*args, **kwargs)

    setattr(owner, name, counting)
    fit(recipe, folder, progress=False)


def count_operations(folder: Path, note: Callable[[int], None]) -> None:
    """From now on in this process, call `note` with 1, 2, 3, … before each operation that changes `folder`: making,
    locking, renaming and removing it and its files, and opening them to write."""
    places, done = {str(folder), *map(str, folder.parents)}, 0

    def look(event: str, args: tuple[Any, ...]) -> None:
        nonlocal done
        inside = event == "fcntl.flock" or (event in CHANGES and str(args[0]).startswith(str(folder)))
        reading = event == "open" and args[1] in ("r", "rb")
        if (inside or (event == "os.mkdir" and str(args[0]) in places)) and not reading:
            done += 1
            note(done)

    sys.addaudithook(look)


def train_beside(recipe: Recipe, folder: Path, output: Path) -> None:
    """Train as the first of two processes, whose other one is killed at once; write what is said to a file."""
    from lightning.fabric.strategies.launchers import subprocess_script

    from zoo.training import fit

    dying = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    subprocess_script._basic_subprocess_cmd = lambda: dying
    with output.open("w") as sys.stderr:
        fit(recipe, folder, progress=False)


def train_as_rank(
    recipe: Recipe,
    folder: Path,
    rank: int,
    ranks: int,
    port: int,
    event: str,
    count: int,
    number: int = signal.SIGTERM,
) -> None:
    """Train as one of several processes that `torchrun` would have started, with a signal at an event; note the
    validation clips looked at, and what went wrong."""
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "test",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    from zoo.training import validation

    seen: list[int] = []
    ordinary = validation.validate_batch

    def noting(state: Any, indices: Sequence[int]) -> Tensor:
        seen.extend(indices)
        return ordinary(state, indices)

    validation.validate_batch = noting
    try:
        train_until(recipe, folder, number, event, count, 1000.0)
    except ZooError as error:
        (folder / f"error-{rank}.txt").write_text(str(error))
    finally:
        (folder / f"validated-{rank}.txt").write_text(" ".join(map(str, seen)))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics file, as text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rows(folder: Path) -> list[dict[str, str]]:
    """The metrics, but for the time they took."""
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in read_metrics(folder / "metrics.csv")
    ]


def last(folder: Path, name: str = "last") -> dict:
    return load_checkpoint(folder / "checkpoints" / f"{name}.ckpt")


CHANGES = (
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "os.truncate",
)  # events of Python's audit
TIMED = ("seconds", "metrics")


def same(a: object, b: object) -> bool:
    """Bit for bit, tensors in nested containers included; but for times, which the text of the metrics has too."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a if k not in TIMED)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def subnormals_are_zero() -> bool:
    """In 32 bits, on this thread."""
    return not torch.tensor(1e-40, dtype=torch.float32) * 1

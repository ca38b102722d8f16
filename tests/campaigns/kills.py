"""A campaign of kills: training, preparation of data and decomposition, killed anywhere and started again.

    python tests/campaigns/kills.py --chosen 100 --random 100 --seed 0 --seconds 900

A job is a command as a user types it, run in a process that is forked from this one, so that PyTorch is imported once.
It is killed (SIGKILL) before one of its file operations, counted from the very first one on, or after a random time;
then the same command is run again and has to end with exactly what an unbroken run leaves: the same bytes, or for a
training the same weights and metrics, and no temporary file. In the last rows a second command is started on the
output of one that is still running: it must be refused, by a message that names the process, or wait for nothing and
leave both whole. The program prints a table and fails if any run ends otherwise.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.campaigns.formats import metrics
from tests.support.videos import make_kth
from zoo.data.frame_store import CHECKED

# audit events of file operations whose first argument is a path
OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate", "os.chmod"}
ALWAYS = 20  # the first operations of every job are all tried


@dataclass(frozen=True)
class Job:
    """A command, and what it leaves.

    Attributes:
        name: in the table.
        prepare: makes the inputs in an empty folder.
        main: the entry point of the command line.
        words: the command's words; they name paths inside the folder.
        result: what has to be equal after it has ended, read from the folder.
        output: the folder or file that the command writes, relative to the folder.
    """

    name: str
    prepare: Callable[[Path], None]
    main: Callable[[list[str]], None]
    words: list[str]
    result: Callable[[Path], Any]
    output: str


@dataclass
class Row:
    """One line of the table."""

    job: str
    kills: str
    tried: int = 0
    survived: int = 0
    failures: list[str] = field(default_factory=list)


def fork(job: Job, folder: Path, kill_before: int | None = None, count: bool = False) -> int:
    """Start the job in a forked process, in `folder`; returns the process.

    Args:
        job: what to run.
        folder: its working directory.
        kill_before: the number of the file operation before which the process kills itself, from 0.
        count: write the number of operations to a file `operations` beside the folder.
    """
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        os.chdir(folder)
        log = os.open(folder.parent / f"{folder.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        done = 0

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal done
            if event in OPERATIONS and _is_output(event, arguments, folder):
                if done == kill_before:
                    os.kill(os.getpid(), signal.SIGKILL)
                done += 1

        sys.addaudithook(watch)
        try:
            job.main(list(job.words))
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        if count:
            (folder.parent / f"{folder.name}.operations").write_text(str(done))
    finally:
        os._exit(status)


def _is_output(event: str, arguments: tuple[Any, ...], folder: Path) -> bool:
    """Whether a file operation changes something in the folder of the job."""
    path = arguments[0]
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    if not os.path.abspath(os.fsdecode(path)).startswith(str(folder)):
        return False
    return event != "open" or bool(int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def wait(process: int, seconds: float = 120) -> int:
    """The exit status of a process, negative for a signal; one that takes longer is killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -signal.SIGALRM


def leftovers(folder: Path) -> list[str]:
    """Temporary files that are still there; a lock that nobody holds is none."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.endswith(".tmp")]


class Campaign:
    """Runs jobs in a scratch folder and compares what they leave with what unbroken runs leave."""

    def __init__(self, scratch: Path, seed: int, deadline: float) -> None:
        self.scratch, self.random, self.deadline = scratch, random.Random(seed), deadline
        self.rows: list[Row] = []
        self.case = 0

    def fresh(self, job: Job) -> Path:
        """A new folder with the job's inputs."""
        self.case += 1
        folder = self.scratch / f"{self.case:04}"
        folder.mkdir()
        job.prepare(folder)
        return folder

    def unbroken(self, job: Job) -> tuple[Any, int, float]:
        """The result of an unbroken run, the number of its file operations, and its seconds."""
        folder = self.fresh(job)
        start = time.monotonic()
        status = wait(fork(job, folder, count=True))
        if status:
            raise SystemExit(f"{job.name} fails without any kill ({status}):\n{self.log(folder)}")
        operations = int((self.scratch / f"{folder.name}.operations").read_text())
        return job.result(folder), operations, time.monotonic() - start

    def log(self, folder: Path) -> str:
        """The end of what a job has printed, two processes together perhaps."""
        return (self.scratch / f"{folder.name}.log").read_text()[-4000:]

    def check(self, row: Row, job: Job, folder: Path, expected: Any, what: str) -> None:
        """Run the job again after a kill, and note whether it ends as an unbroken one."""
        row.tried += 1
        status = wait(fork(job, folder))
        problem = ""
        if status:
            problem = f"ends with {status}: {self.log(folder).strip().splitlines()[-1:]}"
        elif job.result(folder) != expected:
            problem = "ends with another result"
        elif left := leftovers(folder):
            problem = f"leaves {left}"
        if problem:
            row.failures.append(f"{what}: {problem}")
        else:
            row.survived += 1
            shutil.rmtree(folder)

    def kill(self, job: Job, chosen: int, at_random: int) -> None:
        """Kill a job at chosen file operations and at random times."""
        expected, operations, seconds = self.unbroken(job)
        first = Row(job.name, f"before one of {operations} file operations")
        second = Row(job.name, f"at a random time of {seconds:.1f} s")
        self.rows += [first, second]
        rest = list(range(min(ALWAYS, operations), operations))
        self.random.shuffle(rest)
        numbers = (list(range(min(ALWAYS, operations))) + rest)[:chosen]
        for number in numbers:
            if time.monotonic() > self.deadline:
                return
            folder = self.fresh(job)
            status = wait(fork(job, folder, kill_before=number))
            if status != -signal.SIGKILL:
                first.failures.append(f"operation {number}: the process ended with {status} before it")
            self.check(first, job, folder, expected, f"operation {number}")
        for _ in range(at_random):
            if time.monotonic() > self.deadline:
                return
            folder, pause = self.fresh(job), self.random.uniform(0, seconds)
            process = fork(job, folder)
            time.sleep(pause)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            wait(process)
            self.check(second, job, folder, expected, f"after {pause:.2f} s")

    def start_twice(self, job: Job, times: int) -> None:
        """Start a second process on the output of a running one: it is refused by name; the first ends well."""
        expected, _, seconds = self.unbroken(job)
        row = Row(job.name, "two at once in one folder")
        self.rows.append(row)
        for _ in range(times):
            if time.monotonic() > self.deadline:
                return
            row.tried += 1
            folder = self.fresh(job)
            first = fork(job, folder)
            time.sleep(self.random.uniform(0, 0.8 * seconds))
            second = fork(job, folder)
            statuses = wait(first), wait(second)
            text = self.log(folder)
            ended = statuses.count(0)
            refused = statuses.count(2) == 1 and (f"process {first}" in text or f"process {second}" in text)
            whole = job.result(folder) == expected and not leftovers(folder)
            if whole and (ended == 2 or (ended == 1 and refused)):  # the first may have ended before the second began
                row.survived += 1
            else:
                row.failures.append(f"statuses {statuses}, same result {whole}: {text.strip().splitlines()[-2:]}")


# ---- the jobs -------------------------------------------------------------------------------------------------


def training_job() -> Job:
    """A training of a few steps, with several checkpoints and validations."""
    from tests.support.runs import RECIPE
    from zoo.cli import main

    words = ["train", RECIPE.model, "moving-mnist", "--preset", "demo", "-o", "run", "--training.steps", "6"]
    words += ["--training.validate_every", "2", "--training.validation_clips", "4", "--training.save_every", "3"]
    words += ["--training.log_every", "1", "--training.batch_size", "2", "--data.size", "28", "--data.source"]
    words += ["embedded", "--data.observed", "2", "--data.length", "4", "--training.accelerator", "cpu"]
    return Job("zoo train", lambda folder: None, main, words, training_result, "run")


def training_result(folder: Path) -> Any:
    """Weights of every checkpoint as bytes, and the metrics without their times."""
    from zoo.training.checkpoint import load_checkpoint

    weights = {
        path.name: {name: value.numpy().tobytes() for name, value in load_checkpoint(path)["weights"].items()}
        for path in sorted((folder / "run" / "checkpoints").glob("*.ckpt"))
    }
    return weights, metrics(folder / "run")


def preparation_job() -> Job:
    """The preparation of a folder of videos."""
    from zoo.cli import main

    words = ["data", "kth", "--source", "clips", "--size", "16", "--data-root", "root"]
    return Job("zoo data", _make_clips, main, words, preparation_result, "root")


def _make_clips(folder: Path) -> None:
    for path in sorted(make_kth(folder / "clips").iterdir()):
        os.utime(path, (0, 0))  # the store remembers which files it was made from
    (folder / "root").mkdir()


def preparation_result(folder: Path) -> Any:
    """Every file of the store, by name and content, but for the times at which its checksums were compared."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "root").rglob("*"))
        if path.is_file() and not path.name.endswith(".lock") and path.name != CHECKED
    }


def decomposition_job() -> Job:
    """The decomposition of a checkpoint with two kernels."""
    from tensortrain.cli import main

    words = ["decompose", "weights.safetensors", "--ranks", "2", "--kernel-sizes", "2,2", "-o", "small.safetensors"]
    return Job("tensortrain decompose", _make_weights, main, words, decomposition_result, "small.safetensors")


def _make_weights(folder: Path) -> None:
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    kernels = {f"{name}.weight": torch.randn(4, 3, 3, 3, generator=generator) for name in ("first", "second")}
    save_file(kernels, folder / "weights.safetensors")


def decomposition_result(folder: Path) -> Any:
    """All tensors of the written file."""
    from tensortrain import storage

    tensors, _ = storage.read(folder / "small.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def run(chosen: int, at_random: int, seed: int, seconds: float) -> list[Row]:
    """Half of the kills for training, a quarter each for preparation and decomposition."""
    torch.set_num_threads(1)
    import zoo.training  # so that the forked processes need not import it

    assert zoo.training
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(Path(os.path.realpath(scratch)), seed, time.monotonic() + seconds)
        for job, share in ((training_job(), 2), (preparation_job(), 4), (decomposition_job(), 4)):
            campaign.kill(job, -(-chosen // share), -(-at_random // share))
        campaign.start_twice(training_job(), max(1, at_random // 10))
    return campaign.rows


def main() -> None:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chosen", type=int, default=100, help="kills before chosen file operations")
    parser.add_argument("--random", type=int, default=100, help="kills at random times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=900, help="after which no further case is begun")
    arguments = parser.parse_args()
    rows = run(arguments.chosen, arguments.random, arguments.seed, arguments.seconds)
    for row in rows:
        print(f"{row.job:22s} {row.kills:42s} tried {row.tried:4d}  ended as an unbroken run {row.survived:4d}")
        for failure in row.failures[:5]:
            print(f"    {failure}")
    sys.exit(any(row.failures for row in rows))


if __name__ == "__main__":
    main()

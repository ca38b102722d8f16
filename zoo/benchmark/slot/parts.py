"""Run the parts one after the other, each in a process that is stopped in time, and pack their results."""

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from zoo.benchmark.slot.archive import contents, pack_folder
from zoo.benchmark.slot.plan import Plan
from zoo.errors import ZooError
from zoo.files import aside

PACK_SECONDS = 10.0  # time between two archives of a running part
_PARENT_DEATH = 1  # the option of prctl that sets the signal to receive when the parent dies

Work = Callable[[Path, float], None]  # takes the part's folder, and the value of `time.monotonic` at which it must end


@dataclass
class Outcome:
    """How a part ended.

    Args:
        state: "running", "finished", "cut short" or "failed".
        seconds: the time that it took.
        left_out: its files that did not fit into the archive.
    """

    state: str = "running"
    seconds: float = 0.0
    left_out: tuple[str, ...] = ()


def run_parts(plan: Plan, works: Mapping[str, Work], output: Path, began: float) -> dict[str, Outcome]:
    """Run the parts of a plan.

    The output folder gets an archive for each part, which is written again and again while the part runs, and
    `slot.json`, which says how each part ended.

    Args:
        plan: the parts, and when they end.
        works: the function that each part runs.
        output: the folder for the archives; it is created.
        began: the value of `time.monotonic` from which the plan counts.

    Raises:
        ZooError: if the output folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZooError(f"-o {output} cannot be created ({error.strerror}); choose another folder") from error
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="slot-") as temporary:
        for part in plan.parts:
            folder = Path(temporary) / part
            folder.mkdir()
            outcomes[part] = Outcome()
            _note(plan, outcomes, output)
            start = time.monotonic()
            end = began + plan.end(part, start - began)
            outcome = _run(works[part], folder, end, output / f"{part}.zip")
            outcome.seconds = round(time.monotonic() - start, 1)
            outcomes[part] = outcome
            _note(plan, outcomes, output)
            print(f"{part}: {outcome.state} after {outcome.seconds:.0f} s", flush=True)
    return outcomes


def sees_gpu() -> bool:
    """Whether another process finds a GPU. This process must not ask, so that its forks can use the GPU."""
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(not torch.cuda.is_available()))
    process.start()
    process.join()
    return process.exitcode == 0


def _note(plan: Plan, outcomes: Mapping[str, Outcome], output: Path) -> None:
    plain: dict[str, Any] = {"minutes": plan.minutes, "parts": {name: asdict(one) for name, one in outcomes.items()}}
    with aside(output / "slot.json") as temporary:
        temporary.write_text(json.dumps(plain, indent=2) + "\n")


def _run(work: Work, folder: Path, end: float, archive: Path) -> Outcome:
    """Let a process work until it is done or its time is over. Its folder is packed meanwhile and at the end."""
    # a fork of this process, which has imported everything and has not used the GPU
    process = multiprocessing.get_context("fork").Process(target=_work, args=(work, folder, end))
    process.start()
    packed, state = time.monotonic(), "finished"
    seen: list[tuple[Path, int]] = []
    try:
        while process.is_alive():
            now = time.monotonic()
            if now > end:
                state = "cut short"
                break
            if now - packed > PACK_SECONDS and (files := _versions(folder)) != seen:
                pack_folder(folder, archive)
                seen, packed = files, time.monotonic()
            process.join(min(0.5, max(0.05, end - now)))
    finally:
        if process.is_alive():
            _kill(process)
        left = pack_folder(folder, archive)
    if state == "finished" and process.exitcode:
        state = "failed"
    return Outcome(state, left_out=tuple(left))


def _versions(folder: Path) -> list[tuple[Path, int]]:
    """The files of a folder and the times of their last change. A file that vanishes meanwhile is skipped."""
    versions = []
    for path in contents(folder):
        with contextlib.suppress(OSError):
            versions.append((path, path.stat().st_mtime_ns))
    return versions


def _kill(process: Any) -> None:
    """Kill a process and those that it has started, such as compilers."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # in case it has no group of its own yet
    process.join()


def _work(work: Work, folder: Path, end: float) -> None:
    """The process of a part. Everything that it prints is written to its folder."""
    os.setpgid(0, 0)
    with contextlib.suppress(OSError, AttributeError):  # it dies with its parent, on systems that support this
        ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log = (folder / "log.txt").open("a", buffering=1)
    for descriptor in (1, 2):  # this includes what libraries print
        os.dup2(log.fileno(), descriptor)
    sys.stdout = sys.stderr = log
    try:
        work(folder, end)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

"""If one of the processes of a training dies, the others end too and say which it was."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.runs import exit_code, free_port, last, start, train_as_rank, train_beside, with_training
from zoo.errors import ZooError
from zoo.training import fit, processes
from zoo.training.processes import watching

SHORT = with_training(steps=6)
LOST = RuntimeError("[gloo] Connection closed by peer")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def fabric(*children: subprocess.Popen[bytes], local_rank: int = 0) -> Any:
    """What is looked at of a Fabric that has started these processes."""
    launcher = SimpleNamespace(procs=list(children), num_processes=1 + len(children))
    return SimpleNamespace(world_size=2, local_rank=local_rank, strategy=SimpleNamespace(launcher=launcher))


def train_with(fabric: Any, event: Callable[[], object], error: BaseException = LOST) -> None:
    """What happens beside it, and then to this process."""
    with watching(fabric):
        event()
        raise error


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV"), (40, "40")])
def test_the_first_process_names_the_dead_one(child: subprocess.Popen[bytes], number: int, name: str) -> None:
    first = fabric(child)
    with pytest.raises(ZooError, match=rf"process 1 \(pid {child.pid}\) was killed by (signal )?{name}; repeat the"):
        train_with(first, lambda: child.send_signal(number))
    assert first.strategy.launcher.procs == []  # or Fabric's own watch would kill this process without a word


def test_a_process_that_ended_by_itself(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    with pytest.raises(ZooError, match=rf"process 1 \(pid {child.pid}\) ended with exit status 1; repeat the"):
        train_with(fabric(child), child.stdin.close)  # what it waits for


def test_another_process_names_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot ask for its signal."""
    parent = os.getppid()
    with pytest.raises(
        ZooError, match=rf"process 0 \(pid {parent}\), which started this one, has died; repeat the command"
    ):
        train_with(fabric(local_rank=1), lambda: monkeypatch.setattr(os, "getppid", lambda: 1))


def test_errors_of_ones_own_stay_what_they_are(child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.1)
    for error in (RuntimeError("out of memory"), ZooError("a full disk"), SystemExit(3)):
        with pytest.raises(type(error), match=str(error)):
            train_with(fabric(child), lambda: None, error)
    assert child.poll() is None


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_ctrl_c_kills_the_others(child: subprocess.Popen[bytes], seconds: float) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_with(fabric(child), lambda: time.sleep(seconds), KeyboardInterrupt())
    assert child.wait(10) == -signal.SIGKILL


def test_one_killed_of_two_that_a_launcher_started(tmp_path: Path) -> None:
    """As under torchrun, which says itself who died. The run resumes."""
    recipe, port = with_training(steps=6, devices=2), free_port()
    events = [("forward", 10**9), ("forward", 5)]
    ranks = [
        start(train_as_rank, recipe, tmp_path / "run", rank, 2, port, event, count, signal.SIGKILL)
        for rank, (event, count) in enumerate(events)
    ]
    assert [exit_code(process) for process in ranks] == [0, -signal.SIGKILL]
    message = (tmp_path / "run" / "error-0.txt").read_text()
    assert message.startswith("training stopped: the connection to another process was lost (")
    assert "it may have died; repeat the command or call to resume from the last checkpoint" in message
    assert last(tmp_path / "run")["step"] == 3
    with pytest.warns(UserWarning, match="from step 3: processes was 2 and is 1"):
        fit(SHORT, tmp_path / "run", progress=False)
    assert last(tmp_path / "run")["step"] == 6


def test_a_process_that_dies_before_it_joins(tmp_path: Path) -> None:
    """The first one, which waits for it inside a library, is ended too."""
    process = start(train_beside, with_training(steps=6, devices=2), tmp_path / "run", tmp_path / "error.txt")
    assert exit_code(process) == 2
    message = (tmp_path / "error.txt").read_text()
    assert message.startswith("zoo: training stopped: process 1 (pid ")
    assert message.endswith("was killed by SIGKILL; repeat the command or call to resume from the last checkpoint\n")
    fit(SHORT, tmp_path / "run", progress=False)
    assert last(tmp_path / "run")["step"] == 6

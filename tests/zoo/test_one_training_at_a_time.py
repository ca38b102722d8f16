"""A run's folder belongs to one training; what stops that training, such as a full disk, is said, and it resumes."""

import errno
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tensortrain.files import TEMPORARY
from tests.support.runs import exit_code, last, rows, same, start, train_until, with_training
from zoo.errors import ZooError
from zoo.files import aside
from zoo.training import fit, open_run
from zoo.training.run_lock import LOCK, locked

SHORT = with_training(steps=6)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    fit(SHORT, folder, progress=False)
    return folder


def ends_like(folder: Path, unbroken: Path) -> bool:
    fit(SHORT, folder, progress=False)
    assert not list(folder.rglob(".*"))
    return rows(folder) == rows(unbroken) and same(last(folder), last(unbroken))


def test_a_second_training_is_told_who_is_first(tmp_path: Path, unbroken: Path) -> None:
    """It changes nothing; whoever only reads is let in."""
    folder = tmp_path / "run"
    fit(with_training(steps=6, max_time=1e-9), folder, progress=False)
    process = start(train_until, SHORT, folder, signal.SIGSTOP, "writing", 1, 1000.0)
    while "T (stopped)" not in Path(f"/proc/{process.pid}/status").read_text():
        assert process.is_alive()
        time.sleep(0.01)
    assert list(folder.glob("checkpoints/.*.tmp"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ZooError) as raised:
        fit(SHORT, folder, progress=False)
    who = rf"process {process.pid} on {re.escape(socket.gethostname())}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.search(
        rf"run is in use: {who} is training in it; wait for it, stop it, or choose another", str(raised.value)
    )
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert open_run(folder, "last").step == 1
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    assert exit_code(process) == -signal.SIGKILL
    assert (folder / LOCK).exists()
    assert ends_like(folder, unbroken)


def test_locks(tmp_path: Path) -> None:
    """Held by this process, free again after it, and not held by a file that a kill has left."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / LOCK).write_text("process 1 on nowhere, since for ever\n")
    with locked(folder):
        for refused in (lambda: fit(SHORT, folder, progress=False), locked(folder).__enter__):
            with pytest.raises(ZooError, match=rf"in use: process {os.getpid()} on"):
                refused()
        assert [path.name for path in folder.iterdir()] == [LOCK]
    assert list(folder.iterdir()) == []
    (folder / LOCK).mkdir()
    with pytest.raises(ZooError, match=r"run cannot be created \(Is a directory\)"):
        locked(folder).__enter__()


def test_a_live_writer_loses_nothing(tmp_path: Path, unbroken: Path) -> None:
    """An export may be written into the folder at that moment; what a kill has left is removed."""
    folder = tmp_path / "run"
    fit(with_training(steps=6, max_time=1e-9), folder, progress=False)
    left = [folder / TEMPORARY.replace("*", "x"), folder / "checkpoints" / TEMPORARY.replace("*", "x")]
    for path in left:
        path.mkdir()
        (path / "last.ckpt").write_text("half a checkp")
    with aside(folder / "weights.safetensors") as one, aside(folder / "checkpoints" / "mine.ckpt") as other:
        one.write_text("exported")
        other.write_text("a copy")
        fit(SHORT, folder, progress=False)
        assert (one.read_text(), other.read_text()) == ("exported", "a copy")
        assert not any(path.exists() for path in left)
    assert ends_like(folder, unbroken)


# ---- a full disk --------------------------------------------------------------------------------------------


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("owner", "name", "count", "what"),
    [
        (os, "fsync", 1, "last.ckpt"),
        (os, "fsync", 2, "metrics.csv"),
    ],
)
def test_a_full_disk(
    tmp_path: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, count: int, what: str
) -> None:
    ordinary: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def sometimes(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return full() if calls == count else ordinary(*args)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, sometimes)
        with pytest.raises(ZooError, match=rf"cannot write .*{what}.*No space left on device") as raised:
            fit(SHORT, folder, progress=False)
    assert "\n" not in str(raised.value)
    assert ends_like(folder, unbroken)

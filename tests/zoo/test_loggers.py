"""Loggers: each row once, the same run after a resumption, and none that stops a training."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import rows, run_command, with_training
from zoo.errors import ZooError
from zoo.settings import Recipe
from zoo.training import fit, loggers
from zoo.training.loggers import RECORD, Joined

SHORT = with_training(steps=12)  # rows after 3, 5, 6, 8, 9, 10 and 12 steps


class Service(loggers.Logger):
    """A service with runs by name, each a list of rows; it may fail."""

    runs: dict[str, list[tuple[int, dict[str, float]]]]
    described: list[str]
    fails: str

    def __init__(self, run: str) -> None:
        self.run = run
        self.runs.setdefault(run, [])
        self.fail("begin")

    def fail(self, when: str) -> None:
        if self.fails == when:
            raise ConnectionError(f"nobody answers when you {when}\nand so on")

    @property
    def name(self) -> str:
        return "service"

    @property
    def version(self) -> str:
        return self.run

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.fail("log")
        assert step is not None
        self.runs[self.run].append((step, metrics))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.described.append(params["model"])

    def finalize(self, status: str) -> None:
        self.fail("finalize")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> type[Service]:
    """Takes the place of MLflow."""

    def start(folder: Path, joined: Joined, row: int) -> loggers.Logger:
        joined.run = joined.run or f"run {len(Service.runs) + 1}"
        return Service(joined.run)

    monkeypatch.setattr(Service, "runs", {}, raising=False)
    monkeypatch.setattr(Service, "described", [], raising=False)
    monkeypatch.setattr(Service, "fails", "", raising=False)
    monkeypatch.setitem(loggers._OPEN, "mlflow", start)
    monkeypatch.setitem(loggers.PACKAGES, "mlflow", "json")  # installed everywhere
    return Service


def steps(run: list[tuple[int, Any]]) -> list[int]:
    return [step for step, _ in run]


def test_a_resumed_run_joins_its_old_one_and_writes_no_step_twice(tmp_path: Path, service: type[Service]) -> None:
    """Killed after a row that the last checkpoint does not know, and resumed without naming the logger again."""
    folder = tmp_path / "run"

    def kill(step: int, loss: float) -> bool:
        if step == 9:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        fit(SHORT, folder, progress=False, loggers=["mlflow"], watch=kill)
    (before,) = service.runs.values()
    assert steps(before)[-1] == 9
    checkpoint = folder / "checkpoints" / "last.ckpt"
    os.replace(folder / "checkpoints" / "step-8.ckpt", checkpoint)  # as if the last save had not come to pass
    fit(SHORT, folder, progress=False)
    (run,) = service.runs.values()
    expected = rows(folder)
    assert steps(run) == [int(row["step"]) for row in expected]
    assert [metrics["loss"] for _, metrics in run] == [float(row["loss"]) for row in expected]
    assert service.described == ["test-tiny"]
    assert json.loads((folder / RECORD).read_text()) == {"mlflow": {"run": "run 1", "step": steps(run)[-1]}}


def test_a_logger_that_fails_never_stops_a_run(
    tmp_path: Path, service: type[Service], capsys: pytest.CaptureFixture[str]
) -> None:
    for when in ("log", "finalize"):
        service.fails = when
        fit(SHORT, tmp_path / when, loggers=["csv", "mlflow"])
        said = " ".join(capsys.readouterr().out.split())
        assert f"The logger mlflow failed (ConnectionError: nobody answers when you {when} and so on)" in said
        assert said.count("The logger mlflow failed") == 1
        assert len(rows(tmp_path / when)) == len(rows(tmp_path / "log"))
        assert not (tmp_path / when / "tensorboard").exists()


def test_a_logger_that_cannot_begin_is_named_before_training(tmp_path: Path, service: type[Service]) -> None:
    service.fails, before = "begin", signal.getsignal(signal.SIGINT)
    with pytest.raises(ZooError, match=r"the logger mlflow cannot start \(ConnectionError: nobody answers") as raised:
        fit(SHORT, tmp_path / "run", progress=False, loggers=["mlflow"])
    assert "\n" not in str(raised.value)
    assert signal.getsignal(signal.SIGINT) is before  # Ctrl-C works as ever
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    fit(SHORT, tmp_path / "run", progress=False, loggers="csv")  # the same folder without it
    assert rows(tmp_path / "run")


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "mlflow"])
def test_a_logger_that_is_not_installed(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loggers.PACKAGES, kind, "no_such_package")
    with pytest.raises(
        ZooError, match=f"the logger {kind} is not installed; install it with: pip install no_such_package, or leave"
    ):
        fit(SHORT, tmp_path / "run", progress=False, loggers=["csv", kind])
    assert not (tmp_path / "run").exists()


def test_unknown_loggers_and_damaged_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZooError, match="did you mean 'mlflow'"):
        fit(SHORT, tmp_path / "run", progress=False, loggers=["mlfow"])
    assert run_command("train", "conv-lstm", "moving-mnist", "--logger", "csv,tensorbord", "-o", tmp_path / "run") == 2
    assert "no logger 'tensorbord'; did you mean 'tensorboard'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    (tmp_path / RECORD).write_text('{"wandb": {"run": 3}}')
    with pytest.raises(ZooError, match=r"loggers\.json, which may be removed"):
        loggers.make_loggers(None, tmp_path, Recipe("test-tiny"))


def test_a_run_without_tensorboard_resumes_without(tmp_path: Path) -> None:
    recipe = Recipe("test-tiny")
    assert [each.kind for each in loggers.make_loggers(None, tmp_path, recipe)] == ["tensorboard"]
    (tmp_path / "metrics.csv").touch()
    assert loggers.make_loggers(None, tmp_path, recipe) == []
    (tmp_path / "tensorboard").mkdir()
    assert [each.kind for each in loggers.make_loggers(None, tmp_path, recipe)] == ["tensorboard"]


def test_tensorboard_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for row, values in ((0, {5: 1.0, 10: 2.0, 15: 3.0}), (10, {15: 4.0, 20: 5.0})):
        (logger,) = loggers.make_loggers(["tensorboard"], tmp_path, Recipe("test-tiny"))
        logger.start(row, print)
        for step, value in values.items():
            logger.log_metrics({"loss": value}, step)
        if row:
            logger.finalize("success")  # the first session is killed: what it wrote is on the disk
    board = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in board.Scalars("loss")] == [(5, 1), (10, 2), (15, 4), (20, 5)]


# ---- the services themselves, if they are installed ---------------------------------------------------------------


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for row, told in ((0, (5, 10)), (5, (10, 15))):
        (logger,) = loggers.make_loggers(["mlflow"], tmp_path, Recipe("test-tiny"))
        logger.start(row, print)
        for step in told:
            logger.log_metrics({"loss": step / 2}, step)
        logger.finalize("success")
    client = mlflow.tracking.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    history = client.get_metric_history(logger.version, "loss")
    assert [(each.step, each.value) for each in history] == [(5, 2.5), (10, 5.0), (15, 7.5)]
    assert client.get_run(logger.version).data.params["model"] == "test-tiny"


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline: both sessions are of one run, and each step is in one of them."""
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    names = []
    for row, told in ((0, (5, 10)), (5, (10, 15))):
        (logger,) = loggers.make_loggers(["wandb"], tmp_path, Recipe("test-tiny"))
        logger.start(row, print)
        for step in told:
            logger.log_metrics({"loss": step / 2}, step)
        logger.finalize("success")
        names.append(logger.version)
    assert names[0] == names[1]
    assert {path.stem for path in tmp_path.glob("wandb/offline-run-*/*.wandb")} == {f"run-{names[0]}"}
    assert json.loads((tmp_path / RECORD).read_text())["wandb"]["step"] == 15

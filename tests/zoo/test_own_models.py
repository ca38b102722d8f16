"""Models of the user's own: files named on the command line, and the promises that a model must keep."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.support.runs import Tiny, run_command
from tests.support.tiny import OPTIONS
from zoo.errors import ZooError
from zoo.importing import import_file, import_named
from zoo.predictors.video_model import VideoModel
from zoo.testing import check_model


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_model_of_the_package_keeps_its_promises(name: str) -> None:
    def make() -> VideoModel:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return zoo.create_model(name, **OPTIONS[name])

    check_model(make)


class Own(Tiny):
    """With one promise broken by each subclass."""

    def __init__(self) -> None:
        super().__init__(patch=1)


class WrongShape(Own):
    def forward(self, x: Tensor, horizon: int, *more: Any) -> Tensor:
        return super().forward(x, horizon, *more)[..., :-1]


class TooFew(Own):
    def forward(self, x: Tensor, horizon: int, *more: Any) -> Tensor:
        return super().forward(x, horizon, *more)[:, -1:]


class NotFinite(Own):
    def read(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        predictions, state = super().read(frames, state)
        return predictions / 0, state


class KeepsState(Own):
    calls = 0

    def read(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        predictions, state = super().read(frames, state)
        return predictions + self.calls, state


class ChangesInput(Own):
    def forward(self, x: Tensor, horizon: int, *more: Any) -> Tensor:
        return super().forward(x.mul_(0.5), horizon, *more)


class MixesClips(Own):
    def read(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        predictions, state = super().read(frames, state)
        return predictions - predictions.mean(1, keepdim=True), state


class HorizonMatters(Own):
    def forward(self, x: Tensor, horizon: int, *more: Any) -> Tensor:
        return super().forward(x, horizon, *more) / horizon


class AnyChannels(Own):
    def forward(self, x: Tensor, horizon: int, *more: Any) -> Tensor:
        return super().forward(x[:, :, :1], horizon, *more)


class Unchecked(VideoModel):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor, horizon: int, *more: Any) -> Tensor:
        return self.mix(x[:, -1])[:, None].expand(-1, horizon, -1, -1, -1)


class Dead(Own):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(3))


class TwoLosses(Own):
    def loss(self, predictions: Tensor, clips: Tensor, *more: Any, **named: Any) -> Tensor:
        return (predictions - clips[:, 1:]).square().mean((1, 2, 3, 4))


class Unsaved(Own):
    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.rand(())

    def read(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        predictions, state = super().read(frames, state)
        return predictions + self.shift, state


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (WrongShape, r"shape \(2, 5, 1, 16, 15\), but horizon 3 needs \(2, T from 3 to 5, 1, 16, 16\)"),
        (TooFew, "predicts frames of shape"),
        (NotFinite, "not finite"),
        (KeepsState, "keeps state"),
        (ChangesInput, "changes the frames that it reads"),
        (MixesClips, "if the batch holds other clips"),
        (HorizonMatters, "if the horizon is longer"),
        (AnyChannels, "reads frames of 2 channels"),
        (Unchecked, "raises RuntimeError for frames of 2 channels; call self.check"),
        (Dead, "without a gradient of its loss: unused"),
        (TwoLosses, "must have a finite number"),
        (Unsaved, "after its weights were loaded"),
        (lambda: nn.Conv2d(1, 1, 1), "is a Conv2d, but must be a zoo.VideoModel"),
    ],
)
def test_a_broken_promise_is_named(make: Callable[[], VideoModel], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        check_model(make)


# ---- files named on the command line -------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("missing.py", None, "is not a Python file"),
        ("models.txt", "", "is not a Python file"),
        ("syntax.py", "def", "SyntaxError"),
        ("raises.py", "import zoo\n\nraise KeyError('x')", r"KeyError: 'x', line 3"),
        ("taken.py", "import zoo\nzoo.register('conv-lstm', '')(print)", "registered already"),
    ],
)
def test_files_that_cannot_be_imported_are_refused(name: str, text: str | None, words: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ZooError, match=words):
        import_file(tmp_path / name)


@pytest.mark.parametrize("name", ["channels", "patch", "multiple"])
def test_sizes_of_a_model_are_at_least_one(name: str) -> None:
    class Still(zoo.VideoModel):
        def forward(
            self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None
        ) -> Tensor:
            return x

    with pytest.raises(ZooError, match=f"{name} = 0 must be at least 1"):
        Still(**{name: 0})


def test_import_needs_a_file() -> None:
    with pytest.raises(ZooError, match="--import needs the name of a Python file"):
        import_named(["models", "--import"])


def test_files_are_imported_wherever_they_are_named(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "helper.py").write_text("VALUE = 'x'\n")
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(f"from helper import VALUE\nopen({str(marker)!r}, 'a').write(VALUE)\n")
    line = ["train", "--import", f"{tmp_path}/one.py", "conv-lstm", f"--import={tmp_path}/two.py"]
    assert import_named(line) == ["train", "conv-lstm"]
    assert import_named(line) == ["train", "conv-lstm"]
    assert marker.read_text() == "xx"  # once each


def test_a_configuration_cannot_name_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for key in ("import", "--import"):
        (tmp_path / "c.yaml").write_text(f"{key}: {tmp_path}/evil.py\n")
        assert run_command("train", "conv-lstm", "moving-mnist", "--config", tmp_path / "c.yaml") == 2
        assert "import" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()

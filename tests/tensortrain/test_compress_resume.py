"""An interrupted compression goes on where it stopped; what a long one says while it works."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tensortrain as tt
from tensortrain.compression import analysed
from tensortrain.compression.budget import resume
from tensortrain.compression.budget.progress import Stages
from tensortrain.compression.budget.resume import Progress
from tests.support.networks import images, residual_network


class Recurrent(nn.Module):
    """Calls its layers several times."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read, self.step, self.out = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), 16)
        for _ in range(3):
            h = torch.tanh(self.read(x) + self.step(h))
            x = self.out(h)
        return x


class Counting(nn.Module):
    """Counts its passes in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.passes.add_(1)
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x + self.passes


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*[part for _ in range(6) for part in (nn.Linear(16, 16), nn.ReLU())])


def convs() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(32, 5),
    ).to(memory_format=torch.channels_last)  # fmt: skip


class Refits:
    """The refits, and the estimate of batch norm, that have begun, and whether the file existed then.

    The one after `stop` others is interrupted.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.names, self.existed, self.stop = file, [], [], math.inf

    def begin(self, layer: str) -> None:
        if len(self.names) == self.stop:
            raise KeyboardInterrupt
        self.names.append(layer)
        self.existed.append(self.file.exists())

    def until(self, stop: float) -> None:
        self.names, self.existed, self.stop = [], [], stop


@pytest.fixture
def refits(tmp_path, monkeypatch):
    refits, shown = Refits(tmp_path / "progress.safetensors"), Stages.__call__

    def call(self, stage, layer=""):
        if stage in ("refit", "batch norm"):
            refits.begin(layer or stage)
        shown(self, stage, layer)

    monkeypatch.setattr(Stages, "__call__", call)
    return refits


def assert_same(result, whole):
    """Both networks and their reports have the same bits, and the same order of memory."""
    before, after = whole.model.state_dict(), result.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [value.stride() for value in after.values()] == [value.stride() for value in before.values()]
    layers = [
        [(layer.name, layer.form, layer.error, layer.following) for layer in each.report.layers]
        for each in (whole, result)
    ]
    assert layers[0] == layers[1]


@pytest.mark.parametrize("interval", [resume.INTERVAL, 0.0])
@pytest.mark.parametrize(
    ("build", "x", "options"),
    [
        (mlp, torch.randn(64, 16), {}),
        (convs, images(40, size=6), {}),
        (convs, images(40, size=6), {"formats": ["cp"], "effort": 0.02}),
        (convs, images(40, size=6), {"formats": ["depthwise", "tt4"], "effort": 0.02}),
        (Counting, torch.randn(64, 8), {}),
        (Recurrent, torch.randn(80, 6), {}),
        (lambda: nn.Linear(16, 16), torch.randn(64, 16), {}),
    ],
)
def test_an_interruption_keeps_the_layers_that_are_finished(refits, monkeypatch, build, x, options, interval):
    monkeypatch.setattr(resume, "INTERVAL", interval)
    net, file = build().eval(), refits.file
    whole = tt.compress(net, x, parameters=0.7, **options)
    order = refits.names
    assert order
    for stop in range(len(order)):
        refits.until(stop)
        with pytest.raises(KeyboardInterrupt):
            tt.compress(net, x, parameters=0.7, resume=file, **options)
        assert file.exists() is (stop > 0)
        refits.until(math.inf)
        result = tt.compress(net, x, parameters=0.7, resume=file, **options)
        assert refits.names == order[stop:]
        assert_same(result, whole)
        assert not list(file.parent.iterdir())


def test_finished_layers_are_written_while_the_network_runs_but_not_in_short_calls(refits, monkeypatch):
    net, x = mlp().eval(), torch.randn(64, 16)
    tt.compress(net, x, parameters=0.7, resume=refits.file)
    assert refits.existed == [False] * 4
    monkeypatch.setattr(resume, "INTERVAL", 0.0)
    refits.until(math.inf)
    tt.compress(net, x, parameters=0.7, resume=refits.file)
    assert refits.existed == [False, True, True, True]


def test_writing_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    """A write that takes a second is not repeated within the next twenty."""
    clock, written = [0.0], []

    def write(*arguments):
        written.append(clock[0])
        clock[0] += 1.0

    monkeypatch.setattr(resume.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(resume.storage, "write", write)
    progress = Progress(tmp_path / "progress.safetensors", [])
    progress.restored(nn.Sequential(nn.Linear(3, 3)))
    layer = tt.nn.LowRankLinear(torch.ones(3, 1), torch.ones(1, 3))
    for clock[0] in range(50):
        progress.add("0", layer, 0.5)
    assert written == [5, 26, 47]


def test_a_state_that_no_file_can_hold_is_refused_before_the_first_refit(refits):
    class Extra(nn.Sequential):
        def get_extra_state(self):
            return {"made": "by hand"}

        def set_extra_state(self, state):
            pass

    with pytest.raises(tt.TensorTrainError, match="cannot write _extra_state: it is a dict"):
        tt.compress(Extra(*mlp()).eval(), torch.randn(64, 16), parameters=0.7, resume=refits.file)
    assert not refits.names


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (3, "resume is a int; a str or a pathlib.Path is needed"),
        ("none/progress.safetensors", "cannot write none/progress.safetensors: No such file or directory"),
        ("/", "cannot write /: it is a folder"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_analysis(monkeypatch, name, message):
    monkeypatch.setattr(analysed, "analyse", lambda *_, **__: pytest.fail("the network was analysed"))
    with pytest.raises(tt.TensorTrainError, match=message):
        tt.compress(mlp(), torch.randn(64, 16), parameters=0.7, resume=name)


def test_an_interrupted_second_compression_goes_on(refits):
    x = torch.randn(80, 6)
    net = tt.compress(Recurrent().eval(), x, parameters=0.8).model
    refits.until(math.inf)
    whole = tt.compress(net, x, parameters=0.7)
    order = refits.names
    refits.until(1)
    with pytest.raises(KeyboardInterrupt):
        tt.compress(net, x, parameters=0.7, resume=refits.file)
    refits.until(math.inf)
    result = tt.compress(net, x, parameters=0.7, resume=refits.file)
    assert refits.names == order[1:]
    assert_same(result, whole)


def test_a_file_of_another_compression_is_refused(tmp_path):
    net, x, file = Recurrent().eval(), torch.randn(80, 6), tmp_path / "progress.safetensors"
    small = tt.compress(net, x, parameters=0.7)
    small.save(file)
    with pytest.raises(tt.TensorTrainError, match="belongs to another compression: its network"):
        tt.compress(net, x, parameters=0.7, resume=file)
    with pytest.raises(tt.TensorTrainError, match="resume keeps the layers of one network"):
        tt.compress(net, x, max_drop=0.1, metric=lambda m: 1.0, resume=file)
    for budget in ({"time": 0.5}, {"milliseconds": 3.0}):
        with pytest.raises(tt.TensorTrainError, match="depends on the clock"):
            tt.compress(net, x, **budget, resume=file)


def test_stages_are_named_where_there_is_no_terminal(capsys):
    tt.compress(residual_network(), images(64), parameters=0.6, samples=50, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "compress: inputs up to 50 samples, 0.0 MB in memory"
    assert any(line.startswith("compress: refit ") for line in lines)
    tt.compress(residual_network(), images(64), parameters=0.6, progress=False)
    assert not capsys.readouterr().err


def test_what_layers_do_one_by_one_is_set_beside_what_was_measured():
    report = tt.compress(residual_network(), images(300), parameters=0.5).report
    values = {layer.name: layer.alone for layer in report.layers}
    replaced = [layer.name for layer in report.layers if layer.state in ("factorised", "refitted")]
    assert {name for name, value in values.items() if value is not None} == set(replaced)
    assert max(values[name] for name in replaced) > 0
    assert "sum over the layers, each replaced alone" in str(report)

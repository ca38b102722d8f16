"""An interrupted compression goes on where it stopped; what a long one says while it works."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tensortrain as tt
from tensortrain.compression.budget.resume import Progress
from tests.support.networks import images, residual_network


class Recurrent(nn.Module):
    """Calls its layers several times, and is interrupted once a file exists."""

    interrupted_by: Path | None = None

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.read, self.step, self.out = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        if self.interrupted_by is not None and self.interrupted_by.exists():
            raise KeyboardInterrupt
        h = torch.zeros(len(x), 16)
        for _ in range(3):
            h = torch.tanh(self.read(x) + self.step(h))
            x = self.out(h)
        return x


def refitted_first(stderr: str) -> str:
    return next(line for line in stderr.splitlines() if line.startswith("compress: refit"))


def test_an_interrupted_refit_goes_on(tmp_path, capsys):
    net, x, file = Recurrent().eval(), torch.randn(80, 6), tmp_path / "progress.safetensors"
    whole = tt.compress(net, x, parameters=0.7, progress=True)
    assert refitted_first(capsys.readouterr().err) == "compress: refit step"
    net.interrupted_by = file
    with pytest.raises(KeyboardInterrupt):
        tt.compress(net, x, parameters=0.7, resume=file)
    net.interrupted_by = None
    capsys.readouterr()
    result = tt.compress(net, x, parameters=0.7, resume=file, progress=True)
    assert refitted_first(capsys.readouterr().err) == "compress: refit out"
    assert not file.exists()
    again = whole.model.state_dict()
    for name, value in result.model.state_dict().items():
        torch.testing.assert_close(value, again[name], rtol=1e-5, atol=1e-6)
    errors = [[layer.following for layer in r.report.layers] for r in (whole, result)]
    assert errors[0] == pytest.approx(errors[1])


def test_an_interrupted_second_compression_goes_on(tmp_path):
    file = tmp_path / "progress.safetensors"
    x = torch.randn(80, 6)
    net = tt.compress(Recurrent().eval(), x, parameters=0.8).model
    whole = tt.compress(net, x, parameters=0.7)
    net.interrupted_by = file
    with pytest.raises(KeyboardInterrupt):
        tt.compress(net, x, parameters=0.7, resume=file)
    net.interrupted_by = None
    result = tt.compress(net, x, parameters=0.7, resume=file)
    again = whole.model.state_dict()
    for name, value in result.model.state_dict().items():
        torch.testing.assert_close(value, again[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("formats", [["cp"], ["depthwise", "tt4"]])
def test_fitted_formats_go_on_after_an_interrupted_refit(tmp_path, monkeypatch, formats):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(32, 5),
    ).eval()  # fmt: skip
    arguments = {"parameters": 0.5, "formats": formats, "effort": 0.02}
    x, file, save = images(40, size=6), tmp_path / "progress.safetensors", Progress.save
    whole = tt.compress(net, x, **arguments)

    def interrupted(self, *arguments):
        save(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tt.compress(net, x, **arguments, resume=file)
    monkeypatch.setattr(Progress, "save", save)
    assert file.exists()
    result = tt.compress(net, x, **arguments, resume=file)
    assert not list(tmp_path.iterdir())
    assert [layer.form for layer in result.report.layers] == [layer.form for layer in whole.report.layers]
    assert torch.allclose(result.model(x), whole.model(x), rtol=1e-3, atol=1e-4)


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

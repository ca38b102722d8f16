"""Trained models that were made smaller: rollouts, files, the command, and what a ConvLSTM with a chain is."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tensortrain as tt
import zoo
from tests.support.command import run as tensortrain
from tests.support.runs import run_command
from zoo.cells import ConvLSTMCell, ConvTTLSTMCell
from zoo.errors import ZooError
from zoo.model_files.building import build_model
from zoo.model_files.compressed import compress_model, with_plain_convs
from zoo.model_files.pretrained import load_weights, save_weights
from zoo.predictors.video_model import VideoModel
from zoo.settings import Recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[VideoModel, Recipe, Path]:
    """A small model with its recipe, and its file."""
    recipe = zoo.recipe("conv-lstm", "demo", options={"hidden": [6], "layers": [1], "kernel": 3, "patch": 8})
    torch.manual_seed(0)
    model = zoo.create_model(recipe.model, **recipe.options).eval()
    path = tmp_path_factory.mktemp("trained") / "model.safetensors"
    save_weights(path, model, recipe)
    return model, recipe, path


@pytest.mark.parametrize("name", ["conv-lstm", "conv-tt-lstm-sw", "predrnn-pp"])
def test_plain_convs_compute_the_same(name: str) -> None:
    torch.manual_seed(0)
    sizes = {"hidden": [6], "layers": [1]} if "lstm" in name else {"hidden": [6, 6]}
    model = zoo.create_model(name, **sizes).eval()
    plain = with_plain_convs(model)
    assert {type(m) for m in plain.modules() if isinstance(m, nn.Conv2d)} == {nn.Conv2d}
    assert list(plain.state_dict()) == list(model.state_dict())
    x = torch.rand(1, 3, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain(x, 2), model(x, 2))


def test_the_command_and_what_reads_its_file(
    trained: tuple[VideoModel, Recipe, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _, path = trained
    small, root = tmp_path / "small.safetensors", ("--data-root", tmp_path)
    words = ("compress", path, "--parameters=.7", "--clips=2", "-o", small, "--report", tmp_path / "r.JSON", *root)
    assert run_command(*words) == 0
    assert "in layers that can be replaced" in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "r.JSON").read_text())["layers"]
    loaded, recipe = load_weights(small)
    assert recipe == trained[1]
    assert not loaded.training
    count = sum(p.numel() for p in loaded.parameters())
    assert count <= 0.7 * sum(p.numel() for p in model.parameters())
    assert tensortrain("verify", small, "--against", path) == 0
    assert run_command("compare", path, small, "--count=1", "--horizon=1", *root) == 0
    assert any(line.startswith("small ") for line in capsys.readouterr().out.splitlines())
    same = ("-o", small, "--report", tmp_path / "r.csv", tmp_path / "r.csv")
    for wrong in (
        same,
        ("--resume", small, "-o", small),
        ("-o", tmp_path / "small.pt"),
        ("--clips=0", "-o", small),
        ("--report", "r.txt", "-o", small),
    ):
        assert run_command("compress", path, "--parameters=.7", *wrong, *root) == 2


def test_a_compressed_model_is_opened_trained_and_saved_again(
    trained: tuple[VideoModel, Recipe, Path], tmp_path: Path
) -> None:
    small, root = tmp_path / "small.safetensors", ("--data-root", tmp_path)
    assert run_command("compress", trained[2], "--parameters=.7", "--clips=2", "-o", small, *root) == 0
    model = zoo.create_model("conv-lstm", pretrained=small).train()
    torch.manual_seed(0)
    clips = torch.rand(2, 4, 1, 40, 40)
    before = model(clips[:, :2], 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.loss(before, clips).backward()
    optimizer.step()
    model.save_pretrained(tmp_path / "tuned")
    tuned = tmp_path / "tuned" / "model.safetensors"
    for again in (zoo.create_model("conv-lstm", pretrained=tuned), zoo.VideoModel.from_pretrained(tmp_path / "tuned")):
        assert not again.training
        assert torch.equal(again(clips[:, :2], 2), model.eval()(clips[:, :2], 2))
        assert not torch.equal(again(clips[:, :2], 2), before)
    assert run_command("evaluate", tuned, "--count=1", "--horizon=1", *root) == 0
    assert run_command("export", tuned, "-o", tmp_path / "exported.safetensors") == 0
    assert load_weights(tmp_path / "exported.safetensors")[1] == trained[1]
    with pytest.raises(ZooError, match="holds the weights of 'conv-lstm', not of 'predrnn'"):
        zoo.create_model("predrnn", pretrained=str(small))
    with pytest.raises(ZooError, match="cannot be read"):
        zoo.create_model("conv-lstm", pretrained=tmp_path / "none.safetensors")


def test_the_budget_may_be_a_share_of_the_time(
    trained: tuple[VideoModel, Recipe, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether a tiny network gets faster depends on the machine; no network needs a thousandth of its time."""
    small, root = tmp_path / "small.safetensors", ("--data-root", tmp_path)
    assert run_command("compress", trained[2], "--time=.001", "--clips=1", "-o", small, *root) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert re.search(r"time = 0\.001: no network that fast was found; the fastest takes [\d.]+% of the orig", printed)
    assert run_command("compress", trained[2], "--time=.9", "--parameters=.7", "-o", small, *root) == 2
    assert not small.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one of the options --parameters, --macs, --bytes, --milliseconds, --time; passed: none"),
        (["--macs=.5", "--time=.25"], "exactly one budget is needed, .*; passed: --macs 0.5 and --time 0.25"),
        (["--parameters=-1"], "--parameters = -1; a fraction .* such as .25, or a number of parameters above 1, is"),
        (["--bytes=0"], "--bytes = 0; a fraction .* such as .25, or a number of bytes above 1, is needed"),
        (["--time=2"], "--time = 2; a fraction of the original network's time such as .5 is needed"),
        (["--milliseconds=0"], "--milliseconds = 0; a number of milliseconds above 0 is needed"),
        (["--parameters=abc"], "--parameters = 'abc'; a finite number is needed"),
    ],
)
def test_a_budget_is_checked_before_the_model_is_read(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("compress", tmp_path / "no.safetensors", "-o", tmp_path / "x.safetensors", *words) == 2
    assert re.search(message, " ".join(capsys.readouterr().err.split()))


def test_a_budget_that_changes_nothing_is_refused(
    trained: tuple[VideoModel, Recipe, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("compress", trained[2], "--parameters=1.0", "--clips=2", "-o", tmp_path / "x.safetensors")
    assert run_command(*words, "--data-root", tmp_path) == 2
    assert "model meets this budget as it is, so no layer was replaced" in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()
    # on some machines a layer of this tiny network is faster
    monkeypatch.setattr("zoo.model_files.compressed.is_compressed", lambda model: False)
    words = ("compress", trained[2], "--time=1.0", "--clips=2", "-o", tmp_path / "x.safetensors")
    assert run_command(*words, "--data-root", tmp_path) == 2
    assert "or none of its layers would be faster on this machine, so no layer" in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()


def test_a_compressed_model_normalises_like_the_original() -> None:
    data = {"size": [16, 16], "observed": 2, "length": 4, "mean": [0.4], "std": [0.2]}
    options = {"hidden": [6], "layers": [1], "kernel": 3, "patch": 4}
    recipe = zoo.recipe("conv-lstm", "demo", options, dataset="python", data=data)
    model = build_model(recipe).eval()
    assert recipe.options["sigmoid"]
    clips = torch.rand(2, 4, 1, 16, 16)
    result = compress_model(model, recipe, clips, parameters=0.9)
    with torch.no_grad():
        torch.testing.assert_close(with_plain_convs(model)(clips[:, :2], 2), model(clips[:, :2], 2))
        for parameter in result.model.parameters():
            parameter *= 100
        low, high = result.model(clips[:, :2], 2).aminmax()
    assert low < 0.1
    assert high > 0.9


def test_a_compressed_network_of_another_program_is_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(8, 8))
    tt.compress(net, parameters=0.6).save(tmp_path / "net.safetensors")
    with pytest.raises(ZooError, match="holds no recipe"):
        load_weights(tmp_path / "net.safetensors")


def test_clips_must_go_beyond_the_observed_frames(trained: tuple[VideoModel, Recipe, Path]) -> None:
    model, recipe, _ = trained
    with pytest.raises(ZooError, match="T > 10"):
        compress_model(model, recipe, torch.rand(2, 10, 1, 64, 64), parameters=0.5)


class PerStep(nn.Module):
    """A chain that pads at each of its cores, as the published network does."""

    def __init__(self, chain: tt.ConvTensorTrain) -> None:
        super().__init__()
        self.chain = chain

    def forward(self, x: Tensor) -> Tensor:
        return self.chain.evaluate(x, padding="same_per_step")


def test_a_conv_lstm_whose_hidden_kernel_is_a_chain_is_a_conv_tt_lstm_cell() -> None:
    """Of order 1: the inner core maps the hidden state to its window, the outer one is the core at the gates."""
    torch.manual_seed(0)
    cell = ConvLSTMCell(inputs=2, hidden=6, kernel=5)
    chain = tt.ConvTensorTrain.decompose(cell.from_h.weight.detach(), (3, 3), ranks=4)
    tt_cell = ConvTTLSTMCell(inputs=2, hidden=6, kernel=3, order=1, steps=1, rank=4)
    tt_cell.from_x = cell.from_x
    with torch.no_grad():
        tt_cell.gate_core.weight.copy_(chain.cores[0])
        tt_cell.windows.weight.copy_(chain.cores[1])
    cell.from_h = PerStep(chain)  # type: ignore[assignment]
    xs = torch.randn(5, 2, 2, 12, 12)
    with torch.no_grad():
        expected, _ = cell.run(xs, cell.initial_state(2, (12, 12)))
        outputs, _ = tt_cell.run(xs, tt_cell.initial_state(2, (12, 12)))
    torch.testing.assert_close(outputs, expected)

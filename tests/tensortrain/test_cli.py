"""The command: what it writes, prints and returns, from a checkpoint to a verified file and back to a network."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from functools import partial
from math import nan
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import tensortrain
from tensortrain import storage
from tensortrain.compression.state_dicts.checkpoints import read_checkpoint
from tensortrain.compression.state_dicts.records import read_network
from tensortrain.compression.verify import verify_network
from tensortrain.conv.checks import contradictions
from tensortrain.files import TEMPORARY
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.command import normal, run, shell
from tests.support.deep import leave_to_deep_tests


class Network(nn.Module):
    """One conv of each kind; the image shrinks and grows again."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 5, padding=2)
        self.bn1 = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2, bias=False)
        self.point = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 2, 3, stride=2, padding=1, output_padding=1)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.up(self.point(self.grouped(self.bn1(self.conv1(x)).relu())))


OPTIONS = ("--kernel-sizes", "separable", "--ranks", "2", "--exclude", "point", "--groups", "grouped=2")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint, what the command made of it, and the network."""
    folder = tmp_path_factory.mktemp("cli")
    torch.manual_seed(0)
    net = Network().eval()
    torch.save({"state_dict": {f"module.{n}": t for n, t in net.state_dict().items()}, "epoch": 1}, folder / "net.pth")
    assert run("decompose", folder / "net.pth", "-o", folder / "small.st", *OPTIONS, "--transposed", "up") == 0
    return folder / "net.pth", folder / "small.st", net


def test_effort_time_and_objective_as_typed(files, tmp_path, capsys):
    weights, _, _ = files
    options = (
        "--budget",
        "0.5",
        "--exclude",
        "point",
        "--groups",
        "grouped=2",
        "--transposed",
        "up",
        "--effort",
        "0.02",
    )
    more = ("--seconds", "60", "--objective", "speed", "--size", "12x16", "--resume", tmp_path / "fits")
    assert run("decompose", weights, "-o", tmp_path / "small.st", *options, *more) == 0
    text = capsys.readouterr().out
    rows = [line for line in text.splitlines() if line.startswith(("conv1 ", "grouped ", "up "))]
    assert sum(any(word in row for word in (" faster", " slower", " equal")) for row in rows) == 3
    assert "measured on this machine by chain.plan" in " ".join(text.split())
    assert [path.name for path in tmp_path.iterdir()] == ["small.st"]


def test_keys_are_the_state_dict_of_the_layers(files):
    weights, small, _ = files
    before, after = read_checkpoint(weights).tensors, load_file(small)
    for layer in ("conv1", "up"):
        assert {f"{layer}.cores.0.weight", f"{layer}.cores.1.weight", f"{layer}.cores.0.bias"} <= after.keys()
        assert f"{layer}.weight" not in after
        assert torch.equal(after[f"{layer}.cores.0.bias"], before[f"{layer}.bias"])
    for name in ("point.weight", "point.bias", "bn1.running_var", "bn1.num_batches_tracked", "head.weight"):
        assert torch.equal(after[name], before[name])
    assert "grouped.cores.0.bias" not in after


def test_the_header_tells_what_the_tensors_do_not(files):
    _, small, _ = files
    records = {record.name: record for record in read_network(small)[1]}
    assert records.keys() == {"conv1", "grouped", "up"}
    assert records["grouped"].groups == 2
    assert records["grouped"].shape == (8, 4, 3, 3)
    assert records["grouped"].dtype == "float32"
    assert [r.transposed for r in records.values()] == [False, False, True]
    assert records["conv1"].kernel_sizes == ((5, 1), (1, 5))
    assert not any(contradictions(r.lower_bound, r.error, r.upper_bound) for r in records.values())


def test_load_makes_a_network_of_it(files):
    _, small, net = files
    loaded = tensortrain.nn.load(Network().eval(), small)
    merged = Network().eval()
    merged.load_state_dict(net.state_dict())
    for name in ("conv1", "grouped", "up"):
        setattr(merged, name, loaded.get_submodule(name).merge())
    x = normal(0, 2, 3, 12, 12)
    torch.testing.assert_close(loaded(x), merged(x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(loaded(x), net(x))


def test_verify_and_info_as_typed(files):
    weights, small, _ = files
    result = shell("verify", small, "--against", weights)
    assert result.returncode == 0, result.stderr
    assert "verified: 3 layers" in result.stdout
    result = shell("info", small)
    assert result.returncode == 0
    assert "8×4×3×3 g2" in result.stdout
    assert "8×2×3×3 T" in result.stdout
    assert "5×1 | 1×5" in result.stdout


def test_info_shows_every_kind_of_file_and_refuses_others(files, tmp_path, capsys):
    assert run("info", files[0]) == 0
    assert "8×3×5×5" in capsys.readouterr().out
    tensortrain.ConvTensorTrain([normal(0, 4, 2, 3), normal(1, 2, 6, 3)]).save(tmp_path / "chain.safetensors")
    assert run("info", tmp_path / "chain.safetensors") == 0
    assert "6 → 4 channels" in capsys.readouterr().out
    TensorTrain.random((3, 4), 2).save(tmp_path / "train.safetensors")
    assert run("info", tmp_path / "train.safetensors") == 0
    assert "3×4" in capsys.readouterr().out
    storage.write(tmp_path / "odd.safetensors", {"x": torch.ones(1)}, {"kind": "odd"})
    assert run("info", tmp_path / "odd.safetensors") == 2


def test_equal_seeds_write_equal_bytes(files, tmp_path):
    weights, small, _ = files
    assert run("decompose", weights, "-o", tmp_path / "again.st", *OPTIONS, "--transposed", "up") == 0
    assert (tmp_path / "again.st").read_bytes() == small.read_bytes()


def test_the_seed_is_used(tmp_path):
    save_file({"conv.weight": normal(0, 4, 4, 5)}, tmp_path / "net.safetensors")
    for seed in (0, 1):
        limits = ("--kernel-sizes", "depthwise", "--ranks", "5", "--seed", seed)
        assert run("decompose", tmp_path / "net.safetensors", *limits, "-o", tmp_path / f"{seed}.st") == 0
    assert (tmp_path / "0.st").read_bytes() != (tmp_path / "1.st").read_bytes()


def tampered(small, folder, change):
    tensors, header = storage.read(small)
    change(tensors, header)
    storage.write(folder / "bad.st", tensors, {k: v for k, v in header.items() if k != "version"})
    return folder / "bad.st"


def set_value(key, value):
    return lambda tensors, header: header["layers"][0].update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, h: t["conv1.cores.0.weight"].mul_(1.01), "conv1: its error is"),
        (lambda t, h: t["bn1.running_mean"].add_(1e-6), "bn1.running_mean differs"),
        (lambda t, h: t["conv1.cores.0.bias"].add_(1e-6), "conv1.cores.0.bias differs"),
        (lambda t, h: t.pop("head.bias"), "head.bias is missing"),
        (lambda t, h: t.update(more=torch.ones(1)), "more is not in the original"),
        (lambda t, h: t.update({"head.bias": t["head.bias"].double()}), "head.bias differs"),
        (set_value("error", 0.1), "the file says 0.1"),
        (set_value("lower_bound", 0.99), "a lower bound of 0.99"),
        (set_value("upper_bound", 0.01), "above the upper bound"),
    ],
)
def test_verify_finds_every_change(files, tmp_path, capsys, change, message):
    weights, small, _ = files
    assert run("verify", tampered(small, tmp_path, change), "--against", weights) == 1
    assert message in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lower_bound": 2.0}, "below the lower bound"),
        ({"difference": 1e-9}, "differ"),
        ({"difference": nan}, "differ"),
    ],
)
def test_verify_states_what_can_only_fail_if_the_library_is_wrong(files, change, message):
    weights, small, _ = files
    check = verify_network(*read_network(small), read_checkpoint(weights).tensors).layers[0]
    assert check.failures == []
    assert message in dataclasses.replace(check, **change).failures[0]


def test_a_trained_network_verifies_without_recorded_errors(files, tmp_path):
    weights, small, _ = files
    tensortrain.nn.save(tensortrain.nn.load(Network(), small), tmp_path / "trained.st")
    assert read_network(tmp_path / "trained.st")[1][0].error is None
    assert run("verify", tmp_path / "trained.st", "--against", weights) == 0


def test_layers_that_cannot_be_decomposed_are_copied_and_listed(tmp_path, capsys):
    tensors = {"wide.weight": normal(0, 8, 8, 3, 3), "thin.weight": normal(1, 1, 1, 3, 3)}
    save_file(tensors, tmp_path / "net.safetensors")
    small = tmp_path / "small.safetensors"
    arguments = ("--kernel-sizes", "tucker2", "--budget", "0.4", "-o", small)
    assert run("decompose", tmp_path / "net.safetensors", *arguments) == 0
    assert "copied thin.weight: " in capsys.readouterr().out
    assert torch.equal(load_file(small)["thin.weight"], tensors["thin.weight"])
    assert run("verify", small, "--against", tmp_path / "net.safetensors") == 0


def test_a_chain_larger_than_its_kernel_is_not_written(tmp_path, capsys):
    save_file({"a.weight": normal(0, 2, 2, 5), "b.weight": normal(1, 8, 8, 5)}, tmp_path / "net.safetensors")
    small = tmp_path / "small.safetensors"
    assert run("decompose", tmp_path / "net.safetensors", "--kernel-sizes", "3,3", "--ranks", "4", "-o", small) == 0
    assert "copied a.weight: the chain would store 48 entries, but the kernel has only 20" in capsys.readouterr().out


@pytest.mark.parametrize(("outputs", "kept"), [(3, False), (4, True)])
def test_a_chain_as_large_as_its_kernel_is_not_written(tmp_path, capsys, outputs, kept):
    """Two cores of 3 at rank 2 store 6 (out + in) entries: 30 of 30 for 3 → 2 channels, 36 of 40 for 4 → 2."""
    save_file({"a.weight": normal(0, outputs, 2, 5)}, tmp_path / "net.safetensors")
    small = tmp_path / "small.safetensors"
    options = ("--kernel-sizes", "3,3", "--ranks", "2", "-o", small)
    assert run("decompose", tmp_path / "net.safetensors", *options) == (0 if kept else 2)
    assert small.exists() == kept
    assert ("the chain would store 30 entries, but the kernel has only 30" in capsys.readouterr().err) != kept


def test_kernels_need_not_be_called_weight(tmp_path):
    save_file({"kernel": normal(0, 8, 8, 5)}, tmp_path / "net.safetensors")
    small = tmp_path / "small.safetensors"
    assert run("decompose", tmp_path / "net.safetensors", "--kernel-sizes", "3,3", "--ranks", "2", "-o", small) == 0
    assert load_file(small).keys() == {"kernel.cores.0.weight", "kernel.cores.1.weight"}
    assert run("verify", small, "--against", tmp_path / "net.safetensors") == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_are_kept(tmp_path, dtype):
    """Errors are those of the cores as rounded to the dtype, so `verify` agrees; NaN elsewhere is copied."""
    tensors = {"a.weight": normal(0, 6, 6, 5), "b.weight": torch.zeros(6, 6, 5), "mean": torch.tensor(torch.nan)}
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, tmp_path / "net.safetensors")
    small = tmp_path / "small.safetensors"
    assert run("decompose", tmp_path / "net.safetensors", "--kernel-sizes", "3,3", "--ranks", "3", "-o", small) == 0
    assert {tensor.dtype for tensor in load_file(small).values()} == {dtype}
    assert "b.cores.0.weight" in load_file(small)
    assert run("verify", small, "--against", tmp_path / "net.safetensors") == 0


def test_a_decomposed_file_is_not_decomposed_again(files, tmp_path, capsys):
    assert run("decompose", files[1], "--budget", "0.5", "-o", tmp_path / "smaller.st") == 2
    assert "decomposed already (kind 'network'); use the original" in capsys.readouterr().err


def test_the_kind_of_a_file_is_known_without_its_tensors(files, monkeypatch):
    monkeypatch.setattr(storage, "read", None)
    assert storage.read_header(files[1])["kind"] == "network"
    assert storage.read_header(files[0]) is None


def test_verify_refuses_another_checkpoint(files, tmp_path, capsys):
    save_file({"conv.weight": normal(0, 4, 4, 5)}, tmp_path / "net.safetensors")
    assert run("verify", files[1], "--against", tmp_path / "net.safetensors") == 2
    assert "no such tensor for 'conv1.weight'" in capsys.readouterr().err


def test_an_interrupt_leaves_no_half_written_output(tmp_path):
    save_file({f"{i}.weight": normal(i, 96, 96, 7, 7) for i in range(20)}, tmp_path / "net.safetensors")
    (tmp_path / "small.st").write_text("old")
    command = [sys.executable, "-m", "tensortrain", "decompose", "net.safetensors", "-o", "small.st"]
    limits = ["--kernel-sizes", "3,3,3", "--ranks", "32"]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # else ignored if the suite runs in the background
    process = subprocess.Popen(
        [*command, *limits], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=heard
    )
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob(TEMPORARY)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(tmp_path.glob(TEMPORARY))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == ["net.safetensors", "small.st"]
    assert (tmp_path / "small.st").read_text() == "old"


@pytest.mark.parametrize(
    ("name", "pattern", "layers"),
    [("wangxinya_lenet_mnist.pth", "*", 2), ("resnet20-12fca82f.th", "layer1.0.*", 2)],
    ids=["lenet", "resnet20"],
)
def test_real_checkpoints_are_decomposed_and_verified(data_root, tmp_path, name, pattern, layers):
    """The main job, from the shell: decompose, info, verify."""
    if name != "wangxinya_lenet_mnist.pth":
        leave_to_deep_tests("a LeNet is decomposed from the shell; a ResNet")
    weights, small = Path(data_root) / "cnn" / name, tmp_path / "small.safetensors"
    limits = ("--budget", "0.4", "--kernel-sizes", "depthwise", "--include", pattern)
    result = shell("decompose", weights, *limits, "-o", small)
    assert result.returncode == 0, result.stderr
    assert os.listdir(tmp_path) == ["small.safetensors"]
    result = shell("verify", small, "--against", weights)
    assert result.returncode == 0, result.stdout
    assert f"verified: {layers} layers" in result.stdout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--budget", "0.6"], {"a": 2, "b.0": 2, "b.1": 2}),
        (["--budget", "b.*=0.6"], {"b.0": 2, "b.1": 2}),
        (["--budget", "b.1=0.3", "--budget", "*=0.6"], {"a": 2, "b.0": 2, "b.1": 1}),
        (["--max-parameters", "50"], {"a": 2, "b.0": 2, "b.1": 2}),
        (["--max-parameters", "a=24", "--max-parameters", "b.0=50"], {"a": 1, "b.0": 2}),
        (["--ranks", "a=1", "--ranks", "b.*=2"], {"a": 1, "b.0": 2, "b.1": 2}),
        (["--rtol", "a=0.99"], {"a": 1}),
    ],
    ids=" ".join,
)
def test_limits_hold_for_all_layers_or_those_of_a_pattern(tmp_path, options, expected):
    save_file({f"{name}.weight": normal(i, 4, 4, 5) for i, name in enumerate(["a", "b.0", "b.1"])}, tmp_path / "net.st")
    assert run("decompose", tmp_path / "net.st", "-o", tmp_path / "s.st", "--kernel-sizes", "3,3", *options) == 0
    assert {record.name: record.ranks[1] for record in read_network(tmp_path / "s.st")[1]} == expected


def test_kernel_sizes_hold_for_the_layers_of_a_pattern(tmp_path, capsys):
    save_file({name: normal(i, 4, 4, 5, 5) for i, name in enumerate(["a", "b", "c"])}, tmp_path / "net.st")
    options = ("--kernel-sizes", "a=3x1,3x1,1x5", "--kernel-sizes", "b=tucker2", "--budget", "0.5")
    assert run("decompose", tmp_path / "net.st", "-o", tmp_path / "s.st", *options) == 0
    assert "copied c: no pattern matches it" in capsys.readouterr().out
    assert [record.kernel_sizes for record in read_network(tmp_path / "s.st")[1]] == [
        ((3, 1), (3, 1), (1, 5)),
        ((1, 1), (5, 5), (1, 1)),
    ]


def test_a_budget_alone_chooses_the_format(tmp_path):
    save_file({"conv.weight": normal(0, 6, 6, 3, 3)}, tmp_path / "net.safetensors")
    small = tmp_path / "small.safetensors"
    assert run("decompose", tmp_path / "net.safetensors", "--budget", "0.5", "-o", small) == 0
    assert sum(t.numel() for t in load_file(small).values()) <= 0.5 * 6 * 6 * 9
    assert run("verify", small, "--against", tmp_path / "net.safetensors") == 0

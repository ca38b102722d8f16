"""The command with bad input: one line on stderr, exit status 2, nothing written."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from tests.support.command import normal, run, shell


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    save_file({"conv.weight": normal(0, 4, 4, 5), "conv.bias": normal(1, 4)}, folder / "net.safetensors")
    save_file({"linear.weight": normal(0, 4, 4)}, folder / "linear.safetensors")
    save_file({"conv.weight": torch.full((2, 2, 3), float("nan"))}, folder / "nan.safetensors")
    whole = (folder / "net.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[:-9])
    (folder / "empty.pth").touch()
    return folder


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        ("none.pth", ["--budget", "0.5"], "cannot read"),
        ("two\nlines.pth", ["--budget", "0.5"], "two lines.pth"),
        ("empty.pth", ["--budget", "0.5"], "truncated"),
        ("cut.safetensors", ["--budget", "0.5"], "truncated"),
        ("linear.safetensors", ["--budget", "0.5"], "no conv kernel"),
        ("nan.safetensors", ["--budget", "0.5"], "conv.weight holds 12 NaN"),
        ("net.safetensors", [], "nothing limits the decomposition"),
        ("net.safetensors", ["--budget", "-0.5"], "budget = -0.5"),
        ("net.safetensors", ["--budget", "nan"], "budget = nan"),
        ("net.safetensors", ["--budget", "0.5", "--effort", "0"], "effort = 0.0 is not a positive number"),
        ("net.safetensors", ["--budget", "0.5", "--seconds", "-1"], "seconds = -1.0 is not a positive number"),
        ("net.safetensors", ["--budget", "0.5", "--objective", "quick"], "objective = 'quick' is unknown"),
        ("net.safetensors", ["--budget", "0.5", "--size", "3x"], "size"),
        ("net.safetensors", ["--budget", "0.01"], "no kernel can be decomposed"),
        ("net.safetensors", ["--rtol", "1.5"], "rtol = 1.5"),
        ("net.safetensors", ["--ranks", "0"], "ranks[0] = 0"),
        ("net.safetensors", ["--ranks", "2.5"], "'2.5' is not an integer"),
        ("net.safetensors", ["--ranks", "2", "--kernel-sizes", "3,4"], "kernel_sizes"),
        ("net.safetensors", ["--ranks", "2", "--kernel-sizes", "3xk"], "'k' is not an integer"),
        ("net.safetensors", ["--ranks", "2", "--kernel-sizes", "tucker3"], "tucker3"),
        ("net.safetensors", ["--budget", "0.5", "--include", "conv9"], "include = 'conv9' matches no conv kernel"),
        ("net.safetensors", ["--budget", "0.5", "--exclude", "conv9"], "exclude = 'conv9'"),
        ("net.safetensors", ["--budget", "0.5", "--exclude", "conv"], "leave none"),
        ("net.safetensors", ["--budget", "half"], "budget: 'half' is not a number"),
        ("net.safetensors", ["--budget", "conv9=0.5"], "budget = 'conv9' matches no conv kernel; there are: conv"),
        ("net.safetensors", ["--budget", "conv=-1"], "budget['conv']: budget = -1.0"),
        ("net.safetensors", ["--budget", "conv=half"], "budget: 'half' is not a number"),
        ("net.safetensors", ["--budget", "0.5", "--budget", "0.2"], "budget = '0.5' has no layer"),
        ("net.safetensors", ["--budget", "conv=0.5", "--budget", "0.2"], "such as '*=0.2' for all layers"),
        ("net.safetensors", ["--budget", "=0.5"], "such as '*=0.5' for all layers"),
        ("net.safetensors", ["--budget", "*=0.5", "--budget", "*=0.2"], "budget has two values for '*'"),
        ("net.safetensors", ["--max-parameters", "0"], "max_parameters = 0"),
        ("net.safetensors", ["--max-parameters", "9.5"], "max-parameters: '9.5' is not an integer"),
        ("net.safetensors", ["--ranks", "conv9=2"], "ranks = 'conv9' matches no conv kernel"),
        ("net.safetensors", ["--rtol", "conv=2"], "rtol['conv']: rtol = 2.0"),
        ("net.safetensors", ["--ranks", "2", "--kernel-sizes", "conv=tucker3"], "kernel_sizes['conv']"),
        ("net.safetensors", ["--budget", "0.5", "--groups", "conv9=2"], "groups = 'conv9'"),
        ("net.safetensors", ["--budget", "0.5", "--groups", "conv"], "LAYER=G"),
        ("net.safetensors", ["--budget", "0.5", "--groups", "conv=3"], "must divide"),
        ("net.safetensors", ["--budget", "0.5", "--groups", "conv=0"], "too small"),
        ("net.safetensors", ["--budget", "0.5", "--transposed", "conv9"], "transposed = 'conv9'"),
        ("net.safetensors", ["--budget", "0.5", "-o", "missing/small.safetensors"], "cannot write"),
        ("net.safetensors", ["--budget", "0.5", "-o", "x.html", "--report", "x.html"], "x.html is the same file"),
        ("net.safetensors", ["--budget", "0.5", "-o", "x.st", "--resume", "x.st"], "it is x.st, which is an input"),
        ("net.safetensors", ["--budget", "0.5", "--seed", str(2**63)], "seed = 9223372036854775808 is too large"),
    ],
)
def test_bad_input_is_one_line_and_status_2(plain, tmp_path, capsys, monkeypatch, file, options, message):
    monkeypatch.chdir(tmp_path)
    output = [] if "-o" in options else ["-o", "small.safetensors"]
    assert run("decompose", plain / file, *options, *output) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tensortrain: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("net.safetensors", "it is net.safetensors, which is an input"),
        ("./net.safetensors", "which is an input"),
        ("link.st", "which is an input"),
        ("hard.st", "which is an input"),
        ("pipe", "it is a pipe"),
        ("/dev/null", "it is a device"),
        (".", "it is a folder"),
        ("n" * 256, "File name too long"),
    ],
)
def test_an_output_that_would_destroy_something_is_refused_before_the_work(
    plain, tmp_path, capsys, monkeypatch, output, message
):
    """The pipe is neither waited for nor replaced."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tensortrain.cli.read_checkpoint", None)
    whole = (plain / "net.safetensors").read_bytes()
    (tmp_path / "net.safetensors").write_bytes(whole)
    (tmp_path / "link.st").symlink_to("net.safetensors")
    os.link("net.safetensors", "hard.st")
    os.mkfifo("pipe")
    before = sorted(os.listdir())
    assert run("decompose", "net.safetensors", "--budget", "0.5", "-o", output) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("tensortrain: cannot write ")
    assert message in captured.err
    assert sorted(os.listdir()) == before
    assert (tmp_path / "net.safetensors").read_bytes() == whole
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["net-00002-of-00002.safetensors", "net.safetensors.index.json", "link.st"])
@pytest.mark.parametrize("source", [".", "net.safetensors", "net-00001-of-00002.safetensors"])
def test_no_shard_of_the_input_is_replaced(tmp_path, capsys, monkeypatch, source, name):
    monkeypatch.chdir(tmp_path)
    shards = {f"net-0000{n}-of-00002.safetensors": f"{n}.weight" for n in (1, 2)}
    for n, (shard, tensor) in enumerate(shards.items()):
        save_file({tensor: normal(n, 4, 4, 5)}, shard)
    index = {"weight_map": {tensor: shard for shard, tensor in shards.items()}}
    (tmp_path / "net.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "link.st").symlink_to("net-00001-of-00002.safetensors")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert run("decompose", source, "--budget", "0.5", "-o", name) == 2
    assert "which is an input; name another file" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "none.st"],
        ["info", "linear.safetensors"],
        ["verify", "net.safetensors", "--against", "net.safetensors"],
    ],
)
def test_bad_input_of_the_other_commands_is_one_line_too(plain, monkeypatch, capsys, arguments):
    monkeypatch.chdir(plain)
    assert run(*arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["shrink"], ["decompose"], ["decompose", "a", "-o", "b", "--budget", "x"]])
def test_usage_errors_have_status_2(arguments, capsys):
    assert run(*arguments) == 2
    assert capsys.readouterr().err


def test_bad_input_is_one_line_in_a_shell(tmp_path):
    result = shell("decompose", "none.pth", "--budget", "0.5", "-o", "small.st", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "tensortrain: cannot read none.pth: No such file or directory\n"

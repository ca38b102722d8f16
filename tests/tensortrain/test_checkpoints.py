"""Checkpoints as programs write them: wrapped, prefixed, sharded, and files that only look like one."""

import argparse
import gzip
import json
import os
import zipfile

import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import tensortrain as tt
from tensortrain import TensorTrainError
from tensortrain.compression.state_dicts.checkpoints import read_checkpoint
from tensortrain.compression.state_dicts.records import read_network
from tests.support.command import run


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


STATE = {"a.weight": normal(0, 8, 8, 3, 3), "a.bias": normal(1, 8)}
OTHER = {"d.weight": normal(2, 8, 8, 3, 3)}
OPTIMIZER = {"state": {0: {"exp_avg": normal(3, 8, 8, 3, 3)}}, "param_groups": [{"lr": 0.1}]}
LIMITS = ("--ranks", "4", "--kernel-sizes", "tucker2")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(8, 8, 3)


def prefixed(prefix, state=STATE):
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    ("content", "key"),
    [
        *(({name: STATE, "epoch": 3}, name) for name in (
            "net", "params", "params_ema", "ema", "generator", "model_ema", "state_dict", "model_state_dict", "model",
            "weights", "G", "student",
        )),
        ({"ema": {"state_dict": STATE, "decay": 0.9}}, "ema.state_dict"),
        ({"state_dict": STATE, "optimizer": OPTIMIZER, "optimizer_states": [OPTIMIZER]}, "state_dict"),
        ({"weights": STATE, "optimizer": {"a.weight": {"exp_avg": normal(3, 8, 8, 3, 3)}}}, "weights"),
        ({"model": STATE, "rng": {"torch": torch.get_rng_state()}, "meter": {"loss": torch.zeros(())}}, "model"),
        ({"net": STATE, "args": argparse.Namespace(lr=0.1, layers=[1, 2])}, "net"),
        ({**STATE, "a._extra_state": {"scale": normal(3, 2, 2)}}, ""),
        ({**STATE, "hyper_parameters": argparse.Namespace(name="net"), "epoch": 3}, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_one_state_dict_in_a_file_is_opened_and_named(tmp_path, capsys, content, key):
    torch.save(content, tmp_path / "net.pt")
    checkpoint = read_checkpoint(tmp_path / "net.pt")
    assert checkpoint.key == key
    assert checkpoint.tensors.keys() == STATE.keys()
    assert all(torch.equal(checkpoint.tensors[name], STATE[name]) for name in STATE)
    assert run("info", tmp_path / "net.pt") == 0
    assert (f"read from its key '{key}'" in capsys.readouterr().out) == bool(key)


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ({"params": STATE, "params_ema": OTHER}, ["'params'", "'params_ema'"]),
        ({"generator": STATE, "discriminator": OTHER}, ["'generator'", "'discriminator'"]),
        ({"model": STATE, "ema": {"state_dict": OTHER}}, ["'model'", "'ema.state_dict'"]),
        ({"images": normal(3, 8, 8, 3, 3), "net": STATE}, ["'' (the tensors without a key)", "'net'"]),
    ],
)
def test_several_state_dicts_are_refused_by_name_and_a_key_chooses(tmp_path, capsys, content, keys):
    path, small = tmp_path / "net.pt", tmp_path / "small.st"
    torch.save(content, path)
    assert run("decompose", path, *LIMITS, "-o", small) == 2
    message = capsys.readouterr().err
    assert "several state dicts; choose one by its key" in message
    assert all(key in message for key in keys)
    for key in keys:
        plain = key.partition(" ")[0].strip("'")
        assert run("info", path, "--key", plain) == 0
        assert run("decompose", path, *LIMITS, "-o", small, "--key", plain) == 0
        assert run("verify", small, "--against", path, "--key", plain) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        ({"net": STATE}, "ema", "no state dict under key = 'ema'; choose one by its key: 'net'"),
        ({"net": STATE}, "net.a", "no state dict under key = 'net.a'"),
        ({"net": STATE, "epoch": 3}, "epoch", "no state dict under key = 'epoch'"),
        (STATE, "net", "no state dict under key = 'net'; choose one by its key: ''"),
        ({"nets": {"a": STATE, "b": OTHER}}, "nets", "several state dicts; choose one by its key: 'nets.a', 'nets.b'"),
    ],
)
def test_a_key_without_a_state_dict_is_refused(tmp_path, content, key, message):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(TensorTrainError, match=message):
        read_checkpoint(tmp_path / "net.pt", key)


def test_keys_may_hold_dots(tmp_path):
    torch.save({"a.b": {"c": STATE, "d": OTHER}, "a": {"b": OTHER}}, tmp_path / "net.pt")
    assert read_checkpoint(tmp_path / "net.pt", "a.b.c").tensors.keys() == STATE.keys()


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "model.", "module._orig_mod.", "_orig_mod.module.", "model.module._orig_mod."]
)
def test_prefixes_of_wrappers_are_dropped_and_the_network_is_rebuilt(tmp_path, capsys, prefix):
    torch.save({"net": prefixed(prefix)}, tmp_path / "net.pt")
    assert read_checkpoint(tmp_path / "net.pt").prefix == prefix
    assert run("decompose", tmp_path / "net.pt", *LIMITS, "-o", tmp_path / "small.st") == 0
    assert f"names without their prefix '{prefix}'" in capsys.readouterr().out
    loaded = tt.nn.load(Net(), tmp_path / "small.st")
    assert torch.equal(loaded.a.cores[0].bias, STATE["a.bias"])


def test_a_module_compiled_by_itself_is_named_as_before():
    from tensortrain.compression.state_dicts.names import plain_names

    names = ["stem.weight", "body._orig_mod.0.weight"]
    assert list(plain_names(names).values()) == ["stem.weight", "body.0.weight"]
    clash = ["a._orig_mod.weight", "a.weight"]
    assert list(plain_names(clash).values()) == clash


def test_a_network_is_rebuilt_in_a_model_that_has_the_prefix(tmp_path):
    """A model whose only child is called `model`, and wrappers."""
    for wrap in (
        lambda net: nn.ModuleDict({"model": net}),
        nn.DataParallel,
        lambda net: nn.ModuleDict({"_orig_mod": net}),
    ):
        wrapped = wrap(Net())
        torch.save(wrapped.state_dict(), tmp_path / "net.pt")
        assert run("decompose", tmp_path / "net.pt", *LIMITS, "-o", tmp_path / "small.st") == 0
        loaded = tt.nn.load(wrapped, tmp_path / "small.st")
        assert [type(m).__name__ for _, m in loaded.named_modules()].count("ConvTT2d") == 1
        tt.nn.save(loaded, tmp_path / "again.st")
        assert isinstance(tt.nn.load(Net(), tmp_path / "again.st").a, tt.nn.ConvTT2d)
        assert read_network(tmp_path / "again.st")[1][0].weight == "a.weight"


def test_an_averaged_model_is_read(tmp_path):
    torch.save(AveragedModel(Net()).state_dict(), tmp_path / "net.pt")
    assert read_checkpoint(tmp_path / "net.pt").tensors.keys() == STATE.keys()


def test_info_says_whether_a_file_has_checksums(tmp_path, capsys):
    save_file(STATE, tmp_path / "plain.safetensors")
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(STATE, tmp_path / "new.pt")
    tt.TensorTrain.random((3, 4), 2).save(tmp_path / "train.st")
    header = '{"version": 1, "kind": "train", "complex": false, "error": null}'
    save_file({"cores.0": torch.ones(1, 3, 1)}, tmp_path / "first.st", {"tensortrain": header})
    for name, checked in {"plain.safetensors": 0, "old.pt": 0, "new.pt": 1, "train.st": 1, "first.st": 0}.items():
        assert run("info", tmp_path / name) == 0
        warned = "this file has no checksum, so damage to it cannot be detected" in capsys.readouterr().out
        assert warned != bool(checked), name


# ---- shards ----------------------------------------------------------------------------------------------------

NAMES = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


def shards(folder, changes=(), **more):
    """STATE in two files, and an index; `changes` replace entries of the index."""
    for name, tensor in zip(NAMES, STATE, strict=True):
        save_file({tensor: STATE[tensor]}, folder / name)
    index = {"metadata": {"total_size": 2336}, "weight_map": {**dict(zip(STATE, NAMES, strict=True)), **dict(changes)}}
    (folder / INDEX).write_text(json.dumps({**index, **more}))
    return folder / INDEX


@pytest.mark.parametrize("name", [INDEX, *NAMES, "model.safetensors", "."])
def test_a_checkpoint_in_shards_is_read_whole_by_any_of_its_names(tmp_path, name):
    shards(tmp_path)
    tensors = read_checkpoint(tmp_path / name).tensors
    assert tensors.keys() == STATE.keys()
    assert all(torch.equal(tensors[n], STATE[n]) for n in STATE)
    assert run("info", tmp_path / name) == 0
    assert run("decompose", tmp_path / name, *LIMITS, "-o", tmp_path / "small.st") == 0
    (tmp_path / "small.st").rename(tmp_path / "small.out")
    assert run("verify", tmp_path / "small.out", "--against", tmp_path / name) == 0


def test_shards_may_be_torch_files_and_links(tmp_path):
    (tmp_path / "blobs").mkdir()
    torch.save(STATE, tmp_path / "blobs" / "1f3a")
    os.symlink("blobs/1f3a", tmp_path / "pytorch_model-00001-of-00001.bin")
    index = {"weight_map": dict.fromkeys(STATE, "pytorch_model-00001-of-00001.bin")}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert read_checkpoint(tmp_path).tensors.keys() == STATE.keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a.bias": "model-00003-of-00002.safetensors"}, "which is missing; get all parts"),
        ({"a.bias": "../model.safetensors"}, "which is not in its folder"),
        ({"a.bias": "/etc/passwd"}, "which is not in its folder"),
        ({"a.bias": ""}, "which is not in its folder"),
        ({"a.bias": "a\0b"}, "which is not in its folder"),
        ({"a.bias": NAMES[0]}, "lacks 'a.bias', which the index"),
        ({"a.scale": NAMES[0]}, "lacks 'a.scale', which the index"),
        ({"a.weight": NAMES[1], "a.bias": NAMES[0]}, f"holds 'a.bias', but the index {INDEX} lists it in {NAMES[0]}"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(tmp_path, changes, message):
    index = shards(tmp_path, changes)
    with pytest.raises(TensorTrainError, match=message):
        read_checkpoint(index)


def test_a_tensor_that_the_index_does_not_name_is_refused(tmp_path):
    index = shards(tmp_path)
    save_file({**STATE, **OTHER}, tmp_path / NAMES[1])
    save_file({"a.bias": STATE["a.bias"], **OTHER}, tmp_path / NAMES[1])
    with pytest.raises(TensorTrainError, match=f"holds 'd.weight', but the index {INDEX} does not list it"):
        read_checkpoint(index)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "{" * 100_000, '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"weight_map": 3}'],
)
def test_an_index_that_is_none_is_refused(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(TensorTrainError, match=f"cannot read .*{INDEX}: the index"):
        read_checkpoint(tmp_path / INDEX)


def test_a_shard_alone_and_folders_without_a_checkpoint_are_refused(tmp_path):
    with pytest.raises(TensorTrainError, match="a folder without a checkpoint"):
        read_checkpoint(tmp_path)
    save_file(STATE, tmp_path / NAMES[0])
    with pytest.raises(
        TensorTrainError, match=r"one of 2 parts, but their index model\.safetensors\.index\.json is missing"
    ):
        read_checkpoint(tmp_path / NAMES[0])
    (tmp_path / NAMES[0]).rename(tmp_path / "a.safetensors")
    assert read_checkpoint(tmp_path).tensors.keys() == STATE.keys()
    save_file(STATE, tmp_path / "b.safetensors")
    with pytest.raises(
        TensorTrainError, match=r"several checkpoints; name one of them: a\.safetensors, b\.safetensors"
    ):
        read_checkpoint(tmp_path)


# ---- other files ------------------------------------------------------------------------------------------------


def onnx_graph():
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
    return onnx.helper.make_model(graph).SerializeToString()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (onnx_graph(), "an ONNX graph"),
        (b"\x08\x07\x12\x07pytorch\x1a\x051.9.0:\x05", "an ONNX graph"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (gzip.compress(b"weights", mtime=0), "compressed by gzip"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}", "a NumPy array"),
        (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(20), "TensorFlow Lite"),
        (b"net/" + bytes(253) + b"ustar\x0000", "a tar archive"),
    ],
)
def test_other_files_are_named_with_what_to_do(tmp_path, capsys, content, message):
    (tmp_path / "net.pt").write_bytes(content)
    for arguments in (["info"], ["decompose", *LIMITS, "-o", tmp_path / "small.st"]):
        assert run(arguments[0], tmp_path / "net.pt", *arguments[1:]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_programs_are_named_with_what_to_do(tmp_path, capsys):
    torch.jit.script(nn.Conv2d(1, 1, 1)).save(tmp_path / "script.pt")
    with zipfile.ZipFile(tmp_path / "exported.pt2", "w") as file:
        for name in ("archive_format", "models/model.json", "data/weights/weight_0"):
            file.writestr(f"exported/{name}", b"pt2")
    for name, message in {
        "script.pt": "torch.jit.load(path).state_dict()",
        "exported.pt2": "torch.export.load",
    }.items():
        assert run("info", tmp_path / name) == 2
        assert message in capsys.readouterr().err


def test_a_fifo_is_refused_by_every_command(tmp_path, capsys):
    os.mkfifo(tmp_path / "fifo")
    save_file(STATE, tmp_path / "net.st")
    assert run("decompose", tmp_path / "net.st", *LIMITS, "-o", tmp_path / "small.st") == 0
    capsys.readouterr()
    for arguments in (
        ["decompose", tmp_path / "fifo", *LIMITS, "-o", tmp_path / "out.st"],
        ["info", tmp_path / "fifo"],
        ["verify", tmp_path / "fifo", "--against", tmp_path / "net.st"],
        ["verify", tmp_path / "small.st", "--against", tmp_path / "fifo"],
    ):
        assert run(*arguments) == 2
        assert "it is a FIFO; a regular file is needed" in capsys.readouterr().err

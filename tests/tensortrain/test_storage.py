"""Files: round trips, versioned headers, checkpoints of any origin, and nothing half-written."""

import json
import os
import pickle
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from tensortrain import ConvTensorTrain, TensorTrain, TensorTrainError, TensorTrainMatrix, files, storage
from tensortrain.compression.state_dicts.checkpoints import read_checkpoint
from tensortrain.compression.state_dicts.records import LayerRecord, network_header, read_network


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def chain(**known):
    return ConvTensorTrain([normal(0, 4, 2, 3, 1), normal(1, 2, 6, 1, 3)], **known)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_chain_survives_a_round_trip(tmp_path, dtype, transposed):
    shapes, groups = ([(4, 1, 3), (2, 3, 3)], (2, 1)) if not transposed else ([(4, 1, 3), (6, 2, 3)], (2, 2))
    cores = [normal(l, *shape).to(dtype) for l, shape in enumerate(shapes)]
    saved = ConvTensorTrain(cores, groups=groups, transposed=transposed, error=0.25, upper_bound=0.5, lower_bound=1e-17)
    saved.save(tmp_path / "chain.safetensors")
    loaded = ConvTensorTrain.load(tmp_path / "chain.safetensors")
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(loaded.cores, saved.cores, strict=True))
    for name in ("groups", "transposed", "error", "upper_bound", "lower_bound", "ranks"):
        assert getattr(loaded, name) == getattr(saved, name)


def test_a_chain_from_cores_has_no_error_and_may_share_memory(tmp_path):
    core = normal(0, 4, 4, 3)
    ConvTensorTrain([core, core]).save(tmp_path / "chain.safetensors")
    loaded = ConvTensorTrain.load(tmp_path / "chain.safetensors")
    assert loaded.error is None
    assert torch.equal(loaded.cores[1], core)


def test_the_header_is_versioned_json(tmp_path):
    chain().save(tmp_path / "chain.safetensors")
    with safe_open(tmp_path / "chain.safetensors", "pt") as file:
        header = json.loads(file.metadata()["tensortrain"])
    assert header["version"] == 2
    assert len(header["digest"]) == 64
    assert header["kind"] == "chain"


@pytest.mark.parametrize("error", [0.25, None])
def test_files_of_the_first_version_are_read(tmp_path, error):
    """Headers word for word as 0.1 wrote them; those of chains said nothing about complex cores."""
    known = json.dumps(error)
    files = {
        ConvTensorTrain: (
            f'{{"version": 1, "kind": "chain", "groups": [2, 1], "transposed": false, "error": {known},'
            ' "upper_bound": 0.5, "lower_bound": 1e-17}',
            [normal(0, 4, 1, 3), normal(1, 2, 3, 3)],
        ),
        TensorTrain: (
            f'{{"version": 1, "kind": "train", "complex": false, "error": {known}}}',
            [normal(0, 1, 4, 2), normal(1, 2, 3, 1)],
        ),
        TensorTrainMatrix: (
            f'{{"version": 1, "kind": "matrix", "complex": true, "error": {known}}}',
            [normal(0, 1, 2, 3, 1, 2)],
        ),
    }
    for container, (header, cores) in files.items():
        save_file({f"cores.{l}": core for l, core in enumerate(cores)}, tmp_path / "old.st", {"tensortrain": header})
        loaded = container.load(tmp_path / "old.st")
        stored = [torch.view_as_real(core) if core.is_complex() else core for core in loaded.cores]
        assert all(torch.equal(a, b) for a, b in zip(stored, cores, strict=True))
        assert loaded.error == error


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_chains_survive_a_round_trip(tmp_path, dtype):
    saved = ConvTensorTrain([normal(0, 4, 2, 3).to(dtype) * 1j, normal(1, 2, 6, 3).to(dtype).conj()])
    saved.save(tmp_path / "chain.safetensors")
    loaded = ConvTensorTrain.load(tmp_path / "chain.safetensors")
    assert all(torch.equal(a, b) and a.dtype == dtype for a, b in zip(loaded.cores, saved.cores, strict=True))


def test_complex_cores_that_are_no_pairs_are_refused(tmp_path):
    header = '{"version": 1, "kind": "train", "complex": true, "error": null}'
    save_file({"cores.0": torch.ones(1, 3, 1)}, tmp_path / "train.st", {"tensortrain": header})
    with pytest.raises(TensorTrainError, match="not pairs of real numbers; the file is damaged"):
        TensorTrain.load(tmp_path / "train.st")


def test_files_are_as_readable_as_others(tmp_path):
    (tmp_path / "other").touch()
    chain().save(tmp_path / "chain.safetensors")
    modes = [stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("other", "chain.safetensors")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "out.safetensors"
    path.write_text("old")

    def write():
        with files.aside(path) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "old"
            raise error

    with pytest.raises(error):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.safetensors"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [{"x": -float("inf")}]])
def test_numbers_that_json_does_not_have_are_not_written(tmp_path, value):
    with pytest.raises(TensorTrainError, match=r"(NaN|Infinity) is not a number of JSON; leave this value out"):
        storage.write(tmp_path / "x", {"a": torch.ones(1)}, {"kind": "network", "about": value})
    assert list(tmp_path.iterdir()) == []


def test_a_write_replaces_the_old_file(tmp_path):
    (tmp_path / "chain.safetensors").write_text("old")
    chain().save(tmp_path / "chain.safetensors")
    assert ConvTensorTrain.load(tmp_path / "chain.safetensors").ranks == (4, 2, 6)


def test_a_write_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(TensorTrainError, match="cannot write"):
        storage.write(tmp_path / "out.safetensors", {"x": torch.ones(2).to_sparse()}, {"kind": "chain"})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("target", ["missing/out.safetensors", "file/out.safetensors", "."])
def test_targets_that_cannot_be_written_are_refused(tmp_path, target):
    (tmp_path / "file").touch()
    with pytest.raises(TensorTrainError, match="cannot write"):
        chain().save(tmp_path / target)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(TensorTrainError, match="Permission denied"):
        chain().save(tmp_path / "out.safetensors")


def header_of(kind):
    """A header of version 1, without a digest."""
    fields = {"complex": False, "error": None}
    if kind == "chain":
        fields |= {"groups": [1], "transposed": False, "upper_bound": None, "lower_bound": None}
    return json.dumps({"version": 1, "kind": kind, **fields})


def header_file(path, header):
    save_file({"cores.0": torch.ones(2, 2, 3)}, path, {"tensortrain": header})


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: None, "No such file|no such file"),
        (lambda p: p.mkdir(), "cannot read"),
        (lambda p: p.write_bytes(b""), "truncated"),
        (lambda p: p.write_bytes(b"\x10" + bytes(7) + b"{"), "truncated"),
        (lambda p: save_file({"x": torch.ones(2)}, p), "plain safetensors file"),
        (lambda p: header_file(p, "{"), "damaged"),
        (lambda p: header_file(p, "[]"), "damaged"),
        (lambda p: header_file(p, '{"version": 3, "kind": "chain"}'), "version 3"),
        (lambda p: header_file(p, '{"version": 1, "kind": "odd"}'), "of kind 'odd'"),
        (lambda p: header_file(p, header_of("train")), "of kind 'train'"),
        (lambda p: header_file(p, '{"version": 1, "kind": "chain"}'), "no 'groups'; the file is damaged"),
        (
            lambda p: save_file({"core": torch.ones(2)}, p, {"tensortrain": header_of("chain")}),
            "'cores.0'",
        ),
    ],
)
def test_load_refuses_what_is_no_chain(tmp_path, write, message):
    path = tmp_path / "chain.safetensors"
    write(path)
    with pytest.raises(TensorTrainError, match=message):
        ConvTensorTrain.load(path)


def test_a_truncated_file_is_refused_wherever_it_is_cut(tmp_path):
    path = tmp_path / "chain.safetensors"
    chain().save(path)
    whole = path.read_bytes()
    for length in (4, 8, 9, 50, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(TensorTrainError, match="cannot read"):
            ConvTensorTrain.load(path)


STATE = {"conv.weight": normal(0, 2, 3, 5, 5), "conv.bias": normal(1, 2), "steps": torch.tensor(3)}


def prefixed(prefix):
    return {prefix + name: value for name, value in STATE.items()}


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE, "optimizer": {"state": {}}},
        {"state_dict": prefixed("module.")},
        {**STATE, "name": "net", 0: torch.ones(2)},
    ],
    ids=["plain", "nested", "model", "module", "more"],
)
def test_torch_checkpoints_are_read(tmp_path, content, old_format):
    torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=not old_format)
    tensors = read_checkpoint(tmp_path / "net.pt").tensors
    assert tensors.keys() == STATE.keys()
    assert all(torch.equal(tensors[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_safetensors_checkpoints_are_read(tmp_path, prefix):
    save_file(prefixed(prefix), tmp_path / "any.name")
    tensors = read_checkpoint(tmp_path / "any.name").tensors
    assert all(torch.equal(tensors[name], STATE[name]) for name in STATE)


def test_a_prefix_that_not_all_names_have_stays(tmp_path):
    save_file({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "net.safetensors")
    assert read_checkpoint(tmp_path / "net.safetensors").tensors.keys() == {"module.a", "b"}


class Exploit:
    def __reduce__(self):
        return os.mkdir, ("exploited",)


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("content", [nn.Conv2d(1, 1, 1), {"state_dict": STATE, "hook": Exploit()}])
def test_no_pickle_is_executed(tmp_path, monkeypatch, content, old_format):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "net.pt", _use_new_zipfile_serialization=not old_format)
    with pytest.raises(TensorTrainError, match="more than tensors"):
        read_checkpoint("net.pt")
    assert os.listdir(tmp_path) == ["net.pt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated"),
        (b"no checkpoint at all", "truncated"),
        (pickle.dumps({"a": 1}), "cannot read|no tensors"),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_that_are_no_checkpoint_are_refused(tmp_path, content, message):
    (tmp_path / "net.pt").write_bytes(content)
    with pytest.raises(TensorTrainError, match=message):
        read_checkpoint(tmp_path / "net.pt")


@pytest.mark.parametrize("content", [{"epoch": 3}, {0: torch.ones(2)}, [torch.ones(2)], torch.ones(2)])
def test_checkpoints_without_named_tensors_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(TensorTrainError, match="no tensors by name"):
        read_checkpoint(tmp_path / "net.pt")


@pytest.mark.parametrize("old_format", [False, True])
def test_truncated_torch_files_are_refused(tmp_path, old_format):
    torch.save(STATE, tmp_path / "net.pt", _use_new_zipfile_serialization=not old_format)
    whole = (tmp_path / "net.pt").read_bytes()
    for length in (3, 40, len(whole) // 2, len(whole) - 30):
        (tmp_path / "net.pt").write_bytes(whole[:length])
        with pytest.raises(TensorTrainError, match="cannot read"):
            read_checkpoint(tmp_path / "net.pt")


RECORD = LayerRecord.of("conv.weight", chain(error=0.5, upper_bound=0.6, lower_bound=0.1), (4, 6, 3, 3), 1)


def network_record(**changes):
    return {"kind": "network", "layers": [{**network_header([RECORD])["layers"][0], **changes}]}


def test_a_network_survives_a_round_trip(tmp_path):
    tensors = {f"conv.cores.{l}.weight": core for l, core in enumerate(chain().cores)}
    storage.write(tmp_path / "net.safetensors", tensors, network_record())
    loaded, (record,) = read_network(tmp_path / "net.safetensors")
    assert loaded.keys() == tensors.keys()
    assert record == RECORD
    assert (record.name, record.n_parameters, record.dense_parameters) == ("conv", 60, 216)
    assert record.chain(loaded).ranks == (4, 2, 6)
    assert record.chain(loaded).error == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"weight": "other.weight"}, "has no 'other.cores.0.weight'"), ({"ranks": [4, 3, 6]}, "shapes in the header")],
)
def test_a_header_that_does_not_fit_its_tensors_is_refused(tmp_path, changes, message):
    tensors = {f"conv.cores.{l}.weight": core for l, core in enumerate(chain().cores)}
    storage.write(tmp_path / "net.safetensors", tensors, network_record(**changes))
    loaded, (record,) = read_network(tmp_path / "net.safetensors")
    with pytest.raises(TensorTrainError, match=message):
        record.chain(loaded)


def test_a_header_with_missing_fields_is_refused(tmp_path):
    header = network_record()
    del header["layers"][0]["ranks"]
    storage.write(tmp_path / "net.safetensors", {"x": torch.ones(1)}, header)
    with pytest.raises(TensorTrainError, match="damaged"):
        read_network(tmp_path / "net.safetensors")


def test_real_checkpoints_are_read(data_root):
    lenet = read_checkpoint(data_root / "cnn" / "wangxinya_lenet_mnist.pth").tensors
    assert lenet["conv2.weight"].shape == (20, 10, 5, 5)
    resnet = read_checkpoint(data_root / "cnn" / "resnet20-12fca82f.th").tensors
    assert resnet["layer3.2.conv2.weight"].shape == (64, 64, 3, 3)
    assert "best_prec1" not in resnet

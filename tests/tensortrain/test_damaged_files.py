"""Files of this library that were damaged or tampered with: a digest of everything, one schema for each header."""

import json
import tracemalloc

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tensortrain import ConvTensorTrain, TensorTrain, TensorTrainError, TensorTrainMatrix, storage
from tensortrain.compression.state_dicts.records import LayerRecord, network_header, read_network
from tests.support.command import run


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CHAIN = ConvTensorTrain([normal(0, 4, 2, 3, 1), normal(1, 2, 6, 1, 3)], error=0.5, upper_bound=0.6, lower_bound=0.1)
RECORD = LayerRecord.of("conv.weight", CHAIN, (4, 6, 3, 3), 1)


def write_network(path, **changes):
    tensors = {f"conv.cores.{l}.weight": core for l, core in enumerate(CHAIN.cores)} | {"bias": torch.ones(2)}
    layer = {**network_header([RECORD])["layers"][0], **changes}
    storage.write(path, tensors, {"kind": "network", "layers": [layer]})


FILES = {
    "chain": (CHAIN.save, ConvTensorTrain.load),
    "train": (TensorTrain.random((3, 4), 2).save, TensorTrain.load),
    "matrix": (TensorTrainMatrix([normal(0, 1, 2, 3, 1) * 1j]).save, TensorTrainMatrix.load),
    "network": (write_network, read_network),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_flipped_bit_anywhere_is_refused(tmp_path, kind):
    save, load = FILES[kind]
    save(tmp_path / "whole.st")
    load(tmp_path / "whole.st")
    whole = (tmp_path / "whole.st").read_bytes()
    damaged = tmp_path / "damaged.st"
    for position in range(len(whole)):
        damaged.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        with pytest.raises(TensorTrainError, match="cannot read"):
            storage.read(damaged)
        with pytest.raises(TensorTrainError, match="cannot read"):
            load(damaged)


def test_info_refuses_a_file_with_a_flipped_bit(tmp_path, capsys):
    write_network(tmp_path / "net.st")
    whole = bytearray((tmp_path / "net.st").read_bytes())
    whole[-3] ^= 4
    (tmp_path / "net.st").write_bytes(whole)
    assert run("info", tmp_path / "net.st") == 2
    assert "damaged, its digest does not match its content; use another copy" in capsys.readouterr().err


def rewrite(path, change):
    """Change the header of a file, whatever its digest says."""
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["tensortrain"])
    change(header)
    save_file(tensors, path, {"tensortrain": json.dumps(header)})


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("digest"),
        lambda header: header.update(version=1),
        lambda header: header.update(digest=None),
        lambda header: header.update(digest=header["digest"][::-1]),
        lambda header: header.update(error=0.25),
        lambda header: header.update(more=1),
    ],
)
def test_a_digest_is_demanded_where_the_file_must_have_one(tmp_path, change):
    CHAIN.save(tmp_path / "chain.st")
    rewrite(tmp_path / "chain.st", change)
    with pytest.raises(TensorTrainError, match="cannot read"):
        ConvTensorTrain.load(tmp_path / "chain.st")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": ""}, r"layers\[0\]\.weight: String should have at least 1"),
        ({"weight": 3}, r"layers\[0\]\.weight"),
        ({"shape": []}, r"layers\[0\]\.shape"),
        ({"shape": [4]}, r"layers\[0\]\.shape"),
        ({"shape": [4, 6]}, "have 0 entries each"),  # a linear layer has none
        ({"shape": [4, 6], "kernel_sizes": [[], []], "groups": 2}, "a linear layer has two cores"),
        ({"shape": [4, 6], "kernel_sizes": [[], []], "transposed": True}, "a linear layer has two cores"),
        ({"shape": [4, 6], "kernel_sizes": [[]], "core_groups": [1], "ranks": [4, 6]}, "a linear layer has two cores"),
        ({"data_error": -1.0}, r"layers\[0\]\.data_error"),
        ({"shape": [4, 6, 3, "3"]}, r"layers\[0\]\.shape\[3\]"),
        ({"shape": [4, 6, 3, 0]}, r"layers\[0\]\.shape\[3\]"),
        ({"shape": [4, 6, 3, 2**63]}, r"layers\[0\]\.shape\[3\]"),
        ({"shape": None}, r"layers\[0\]\.shape"),
        ({"dtype": "nn"}, "dtype = 'nn' is not a dtype of torch"),
        ({"groups": 0}, r"layers\[0\]\.groups"),
        ({"groups": True}, r"layers\[0\]\.groups"),
        ({"groups": 1.0}, r"layers\[0\]\.groups"),
        ({"transposed": 0}, r"layers\[0\]\.transposed"),
        ({"kernel_sizes": []}, r"layers\[0\]\.kernel_sizes"),
        ({"kernel_sizes": [[3, 1], [1]]}, "have 2 entries each"),
        ({"kernel_sizes": [[3, 1]]}, "1 cores need 1 core_groups and 2 ranks"),
        ({"core_groups": [1]}, "2 cores need 2 core_groups and 3 ranks"),
        ({"ranks": [4, -2, 6]}, r"layers\[0\]\.ranks\[1\]"),
        ({"ranks": [4, 2]}, "2 cores need 2 core_groups and 3 ranks"),
        ({"error": "small"}, r"layers\[0\]\.error"),
        ({"error": -1.0}, r"layers\[0\]\.error"),
        ({"more": 1}, r"layers\[0\]\.more"),
    ],
)
def test_a_header_with_an_odd_field_is_refused(tmp_path, capsys, changes, message):
    write_network(tmp_path / "net.st", **changes)
    with pytest.raises(TensorTrainError, match=f"its header is damaged: .*{message}"):
        read_network(tmp_path / "net.st")
    assert run("info", tmp_path / "net.st") == 2
    assert capsys.readouterr().err.startswith("tensortrain: cannot read")


@pytest.mark.parametrize(
    "layers", [[], {}, None, 3, [3], [None], [[]], [network_header([RECORD])["layers"][0]] * 2], ids=repr
)
def test_a_header_without_layers_is_refused(tmp_path, layers):
    storage.write(tmp_path / "net.st", {"x": torch.ones(1)}, {"kind": "network", "layers": layers})
    with pytest.raises(TensorTrainError, match=r"damaged: layers|two layers have the same weight|no layers"):
        read_network(tmp_path / "net.st")


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "3", '"header"', "{}", "[" * 100_000, '{"version": ' + "9" * 5000 + "}", '{"version": true}',
     '{"version": 1, "kind": ["chain"]}', '{"version": 0, "kind": "chain"}', '{"version": 1, "version": 1}', "\ud800"],
)  # fmt: skip
def test_headers_that_are_none_are_refused(tmp_path, text):
    if text == "\ud800":  # which safetensors cannot write, and JSON can
        text = '"\\ud800"'
    save_file({"x": torch.ones(1)}, tmp_path / "odd.st", {"tensortrain": text})
    for read in (storage.read, storage.read_header, ConvTensorTrain.load, read_network):
        with pytest.raises(TensorTrainError, match=r"cannot read .*its header|it has format version"):
            read(tmp_path / "odd.st")


@pytest.mark.parametrize(
    ("shape", "groups"), [((4, 6, 3, 5), 1), ((4, 3, 3, 3), 2), ((6, 4, 3, 3), 1), ((4, 6, 9), 1), ((8, 6, 3, 3), 1)]
)
def test_a_record_that_does_not_fit_its_cores_is_refused(tmp_path, shape, groups):
    sizes = [[3, 1], [1, 3]] if len(shape) == 4 else [[3], [3]]
    write_network(tmp_path / "net.st", shape=shape, groups=groups, kernel_sizes=sizes)
    tensors, (record,) = read_network(tmp_path / "net.st")
    with pytest.raises(TensorTrainError, match="the shapes in the header"):
        record.chain(tensors)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bfloat16, torch.bool])
def test_pairs_of_numbers_that_make_no_complex_ones_are_refused(tmp_path, dtype):
    tensors = {"cores.0": torch.ones(1, 2, 1, 2).to(dtype)}
    storage.write(tmp_path / "train.st", tensors, {"kind": "train", "complex": True, "error": None})
    with pytest.raises(TensorTrainError, match="not pairs of real numbers"):
        TensorTrain.load(tmp_path / "train.st")


def test_a_header_of_many_wrong_items_costs_little(tmp_path):
    """With an error for each field of each layer it would take 2.7 GB."""
    for layers in ([{}] * 20_000, [{**network_header([RECORD])["layers"][0], "shape": ["3"] * 100_000}]):
        storage.write(tmp_path / "net.st", {"x": torch.ones(1)}, {"kind": "network", "layers": layers})
        tracemalloc.start()
        with pytest.raises(TensorTrainError, match="its header"):
            read_network(tmp_path / "net.st")
        assert tracemalloc.get_traced_memory()[1] < 30e6
        tracemalloc.stop()


def test_a_header_that_is_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tensortrain.schemas.MOST_CHARACTERS", 200)
    write_network(tmp_path / "net.st")
    with pytest.raises(TensorTrainError, match=r"its header has .* characters; at most 200 are allowed"):
        read_network(tmp_path / "net.st")

"""Torch files: checksums compared, nothing run, and bounds on what a small file may ask for."""

import argparse
import os
import pickle
import socket
import time
import zipfile
from collections import Counter, OrderedDict

import pytest
import torch
from torch import nn

from tensortrain import TensorTrainError, storage
from tensortrain.torch_files import read_torch


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


STATE = {"conv.weight": normal(0, 2, 3, 5, 5), "conv.bias": normal(1, 2), "steps": torch.tensor(3)}
PARTS = {
    "state_dict": OrderedDict(nn.Conv2d(2, 2, 3).state_dict()),
    "hyper_parameters": argparse.Namespace(lr=0.1, layers=[1, (2, 3)], name="net"),
    "epoch": 3, "loss": 0.5, "best": None, "done": True, "counts": Counter({1: 2}), "seen": {1, 2}, "raw": b"\x00\xff",
    "text": "ä" * 300, "phase": 1j, "big": 2**70, "negative": -5, "size": torch.Size([2, 3]), "dtype": torch.float16,
    "device": torch.device("cpu"), "history": [0.1] * 2000, "lists": [[], {}, ()], "buffer": bytearray(b"abc"),
    "types": [torch.zeros(2, dtype=dtype) for dtype in (torch.bfloat16, torch.complex64, torch.bool)],
    "sparse": torch.eye(3).to_sparse(), "csr": torch.eye(3).to_sparse_csr(), "empty": torch.zeros(0, 3),
    "meta": torch.zeros(9, 9, device="meta"), "view": torch.arange(12.0).reshape(3, 4).T[1:],
    "mask": torch.ones(1).expand(9, 9), "conj": torch.ones(2, dtype=torch.complex64).conj(),
    "quantised": torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 3, torch.qint8), "random": torch.get_rng_state(),
    "parameter": nn.Parameter(torch.ones(2)), "own": nn.Parameter(torch.ones(2)),
}  # fmt: skip
PARTS["own"].ours = "of a program's own"
PARTS["optimizer"] = torch.optim.Adam([PARTS["parameter"]]).state_dict()
NEW_PARTS = {"uint16": torch.zeros(2, dtype=torch.uint16), "float8": torch.zeros(2).to(torch.float8_e4m3fn)}


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize(
    ("name", "old_format"), [*((n, f) for n in PARTS for f in (False, True)), *((n, False) for n in NEW_PARTS)]
)
def test_whatever_training_programs_save_is_read(tmp_path, name, old_format):
    content = {name: {**PARTS, **NEW_PARTS}[name]}
    torch.save(content, tmp_path / "net.pt", _use_new_zipfile_serialization=not old_format)
    file = read_torch(tmp_path / "net.pt")
    assert str(file.content) == str(content)
    assert file.checksummed is not old_format


def zip_entries(path):
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}, archive.infolist()


def test_a_flipped_bit_in_any_entry_is_refused_by_its_name(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(STATE, path)
    whole = path.read_bytes()
    contents, entries = zip_entries(path)
    assert len(entries) > 5
    for entry in entries:
        content = contents[entry.filename]
        start = whole.index(content, entry.header_offset)
        for position in {0, len(content) // 2, len(content) - 1}:
            changed = bytearray(whole)
            changed[start + position] ^= 1 << position % 8
            path.write_bytes(changed)
            with pytest.raises(TensorTrainError, match=f"its entry '{entry.filename}' does not match"):
                read_torch(path)


def test_a_checksum_of_zero_says_that_there_is_none(tmp_path):
    path = tmp_path / "net.pt"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, path)
    finally:
        torch.serialization.set_crc32_options(True)
    file = read_torch(path)
    assert not file.checksummed
    assert torch.equal(file.content["conv.weight"], STATE["conv.weight"])


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(STATE, path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        try:
            content = read_torch(path).content
        except TensorTrainError:
            continue
        assert content.keys() == STATE.keys()
        assert all(torch.equal(content[name], STATE[name]) for name in STATE)


# ---- bounds ------------------------------------------------------------------------------------------------


def archive(path, pickled, records=(b"\0" * 400,), compression=zipfile.ZIP_STORED):
    """A file as `torch.save` writes it, with a pickle of one's own."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n"}.items():
            file.writestr(f"archive/{name}", content)
        for key, content in enumerate(records):
            file.writestr(f"archive/data/{key}", content)
    return path


class Call:
    """Pickled as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def rebuilt(size, stride, offset=0, entries=100):
    storage = torch.zeros(entries)._typed_storage()
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (rebuilt((2**18, 2**18), (0, 0)), "they are expanded or share their memory"),
        (rebuilt((2**36, 1), (0, 1)), "they are expanded or share their memory"),
        ([torch.zeros(100).expand(5000, 100) for _ in range(20)], "they are expanded or share their memory"),
        (rebuilt((2**36,), (1,)), "reads entry 68719476735 of a storage with 100 entries"),
        (rebuilt((10, 10), (10, 2)), "reads entry 108"),
        (rebuilt((10,), (1,), offset=95), "reads entry 104"),
        (rebuilt((10,), (-1,), offset=95), "negative shape, stride or offset"),
        (rebuilt((-1,), (1,)), "negative shape"),
        (Call(torch.FloatTensor, 2**36), "more than tensors: torch.FloatTensor"),
        (Call(torch.UntypedStorage, 2**36), "damaged"),
        (Call(torch.Tensor, 2**36), "damaged"),
        (Call(bytearray, 2**36), "creates a bytearray in a way"),
        (Call(__import__("_codecs").encode, "00", "hex"), "encodes a text as 'hex'"),
    ],
)
def test_tensors_larger_than_their_file_are_refused(tmp_path, content, message, old_format):
    torch.save({"a.weight": content}, tmp_path / "net.pt", _use_new_zipfile_serialization=not old_format)
    assert os.path.getsize(tmp_path / "net.pt") < 30_000
    with pytest.raises(TensorTrainError, match=message):
        read_torch(tmp_path / "net.pt")


SET = b"cbuiltins\nset\nq\x01"
BOMBS = {
    "empty sets": (b"\x80\x02(" + b"\x8f" * 11_000_000 + b"t.", "more than 256 MB"),
    "one set over and over": (
        b"\x80\x02(](" + b"K\x01" * 200_000 + b"eq\x00" + SET + b"h\x01h\x00\x85R" * 1000 + b"t.", "more than 256 MB"
    ),
    "deep tuple as a key": (b"\x80\x02})" + b"\x85" * 500_000 + b"K\x01s.", "levels deep"),
    "deep lists": (b"\x80\x02" + b"]" * 500_000 + b"a" * 499_999 + b".", "levels deep"),
    "a tree of shared tuples": (b"\x80\x02K\x01" + b"q\x00h\x00\x86" * 50 + b".", "more than 16777216 items"),
    "a list in itself": (b"\x80\x02]q\x00h\x00a.", "contains itself"),
    "a long tuple as key": (b"\x80\x02}(" + b"K\x01" * 9000 + b"tK\x01s.", "a key of more than 64 items"),
    "a long text": (b"\x80\x02X\xff\xff\xff\xff.", "truncated"),
    "no end": (b"\x80\x02]", "truncated"),
    "nothing on the stack": (b"\x80\x02.", "damaged"),
    "no such memo": (b"\x80\x02h\x07.", "damaged"),
    "another protocol": (pickle.dumps({"a": 1}, protocol=4), "another pickle protocol"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_pickles_that_would_take_much_memory_or_time_are_refused(tmp_path, name):
    pickled, message = BOMBS[name]
    start = time.perf_counter()
    with pytest.raises(TensorTrainError, match=message):
        read_torch(archive(tmp_path / "net.pt", pickled))
    assert time.perf_counter() - start < 10


def test_compressed_archives_are_refused_before_they_are_unpacked(tmp_path):
    archive(tmp_path / "bomb.pt", b"\x80\x02]" + b"N" * 100_000_000, compression=zipfile.ZIP_DEFLATED)
    assert os.path.getsize(tmp_path / "bomb.pt") < 200_000
    with pytest.raises(TensorTrainError, match=r"'archive/data\.pkl' is compressed"):
        read_torch(tmp_path / "bomb.pt")


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    path = archive(tmp_path / "net.pt", b"\x80\x02N.", [b"\0" * 9000])
    whole = path.read_bytes()
    start = whole.index(b"PK\x01\x02")
    entry = whole[whole.rindex(b"PK\x01\x02") : whole.rindex(b"PK\x05\x06")]
    assert b"data/0" in entry
    copies = b"".join(entry.replace(b"data/0", b"data/%d" % key) for key in range(1, 10))
    path.write_bytes(whole[: whole.rindex(b"PK\x05\x06")] + copies + end_of_archive(whole, start, copies))
    with pytest.raises(TensorTrainError, match="larger than the file"):
        read_torch(path)


def end_of_archive(whole, start, copies):
    end = bytearray(whole[whole.rindex(b"PK\x05\x06") :])
    count = 4 + 9
    end[8:10] = end[10:12] = count.to_bytes(2, "little")
    end[12:16] = (whole.rindex(b"PK\x05\x06") - start + len(copies)).to_bytes(4, "little")
    return bytes(end)


def test_two_entries_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as file:
        for name in ("data.pkl", "DATA.PKL"):
            file.writestr(f"archive/{name}", b"\x80\x02N.")
    with pytest.raises(TensorTrainError, match="have the same name"):
        read_torch(tmp_path / "net.pt")


def test_storages_in_another_size_than_the_pickle_says_are_refused(tmp_path):
    torch.save(torch.zeros(10), tmp_path / "net.pt")
    contents, _ = zip_entries(tmp_path / "net.pt")
    pickled = next(content for name, content in contents.items() if name.endswith("data.pkl"))
    for records in ([b"\0" * 39], [b"\0" * 41], []):
        with pytest.raises(TensorTrainError, match="does not hold the 40 bytes of storage '0'"):
            read_torch(archive(tmp_path / "odd.pt", pickled, records))


# ---- other files --------------------------------------------------------------------------------------------


def test_fifos_sockets_and_devices_are_refused_before_they_are_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket may have 100 characters only
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        os.symlink("fifo", "link")
        for name, kind in {
            "fifo": "FIFO",
            "link": "FIFO",
            "socket": "socket",
            "/dev/zero": "device",
            ".": "folder",
        }.items():
            for read in (read_torch, storage.read, storage.read_header):
                with pytest.raises(TensorTrainError, match=f"it is a {kind}; a regular file is needed"):
                    read(name)
    with pytest.raises(TensorTrainError, match="path is a int"):
        read_torch(0)
    with pytest.raises(TensorTrainError, match="null"):
        read_torch("a\0b")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_named(tmp_path):
    torch.jit.script(nn.Conv2d(1, 1, 1)).save(tmp_path / "net.pt")
    with pytest.raises(TensorTrainError, match=r"it is a TorchScript program; save its tensors alone"):
        read_torch(tmp_path / "net.pt")


def test_other_zip_archives_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("a.npy", b"1")
    with pytest.raises(TensorTrainError, match=r"has no data\.pkl"):
        read_torch(tmp_path / "a.npz")

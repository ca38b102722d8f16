"""The published test clips of Moving-MNIST: the file, its order, and damage."""

import hashlib
import os
import pickle
import tracemalloc
from itertools import islice

import numpy as np
import pytest
import torch

from zoo.data import MovingMNIST, PublishedMovingMNIST
from zoo.errors import ZooError
from zoo.evaluation import read_video


@pytest.fixture
def published(tmp_path):
    """A small file of the published layout."""
    array = np.random.default_rng(0).integers(0, 256, (20, 5, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "mnist_test_seq.npy", array)
    return tmp_path / "mnist_test_seq.npy", array


def test_published_clips_are_those_of_the_file(published):
    path, array = published
    dataset = PublishedMovingMNIST(path)
    assert (len(dataset), dataset.length) == (5, 20)
    assert len(list(islice(dataset, 9))) == 5
    clips = dataset.clips([3, 0])
    assert clips.shape == (2, 20, 1, 64, 64)
    assert clips.dtype == torch.float32
    assert np.array_equal(clips[:, :, 0].numpy(), array[:, [3, 0]].swapaxes(0, 1).astype(np.float32) / 255)
    assert torch.equal(dataset[3], clips[0])
    assert dataset.describe() == f"published Moving-MNIST test: 5 clips of 20 frames, MNIST digits, from {path}"
    for index in (-1, 5):
        with pytest.raises(ZooError, match=f"index {index} is out of range; legal are 0 to 4"):
            dataset.fetch([index])


def test_the_digest_of_published_clips_is_that_of_the_file(published):
    path, _ = published
    dataset = PublishedMovingMNIST(path)
    assert dataset.digest() == hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    with pytest.raises(ZooError, match="cannot be read"):
        dataset.digest()


def test_published_clips_travel_to_workers_as_a_path(published):
    dataset = PublishedMovingMNIST(published[0])
    packed = pickle.dumps(dataset)
    assert len(packed) < 1_000
    assert torch.equal(pickle.loads(packed)[2], dataset[2])


def test_published_clips_are_never_all_in_memory(tmp_path):
    np.save(tmp_path / "clips.npy", np.zeros((20, 100, 64, 64), np.uint8))  # 8 MB
    tracemalloc.start()
    try:
        PublishedMovingMNIST(tmp_path / "clips.npy").fetch([99])
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:50]),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_text("no array at all"),
        lambda path: np.save(path, np.zeros((3, 4, 5), np.uint8)),
        lambda path: np.save(path, np.zeros((2, 3, 4, 5), np.float32)),
        lambda path: np.save(path, np.zeros((2, 0, 4, 5), np.uint8)),
        lambda path: np.save(path, np.array([[[[None]]]]), allow_pickle=True),
        lambda path: path.write_bytes(pickle.dumps([1])),
        lambda path: np.savez(path.open("wb"), a=np.zeros((2, 3, 4, 5), np.uint8)),
    ],
    ids=["missing", "empty", "header", "cut", "text", "axes", "float", "none", "objects", "pickle", "npz"],
)
def test_damaged_published_files_are_refused(published, damage):
    path, _ = published
    damage(path)
    with pytest.raises(ZooError, match=r"mnist_test_seq\.npy (cannot be read|does not hold)") as caught:
        PublishedMovingMNIST(path)
    assert "\n" not in str(caught.value)


def npy(header, content=b""):
    """A `.npy` file with this text as its header."""
    header = header.encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


def described(shape, descr="'|u1'", order=False):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


HEADERS = [
    described("(1000000, 1000000, 1, 1)"),  # 10¹² bytes in a file of 80
    described("(20, 10, 64, 64)"),
    described(f"({2**64}, 1, 1, 1)"),
    described(f"({'9' * 4200}, 1, 1, 1)"),
    described(f"({'9' * 5000}, 1, 1, 1)"),
    described("(-1, -1, 1, 1)"),
    described("(True, 1, 1, 1)"),
    described("(" + "1, " * 70 + ")"),
    described("(0, 4611686018427387904, 1, 1)"),
    described("(1000000000000,)", "'|S0'"),
    described("(1, 1, 1, 1)", "'|V2147483647'"),
    described("(1, 1, 1, 1)", "[('a', '|O')]"),
    described("(1, 1, 1, 1)", "['nonsense', 1]"),
    described("(1, 1, 1, 1)", "None"),
    described("(1, 1, 1, 1)", order="'perhaps'"),
    "{'descr': '|u1'}",
    "[1, 2]",
    "(" * 9_000,
    "-" * 9_000 + "1",
    "[" * 90 + "]" * 90,
    "\0" * 60,
    "é" * 30,
    "",
]


@pytest.mark.parametrize("header", HEADERS, ids=[header[:40] for header in HEADERS])
def test_absurd_headers_are_refused(tmp_path, header):
    path = tmp_path / "clips.npy"
    path.write_bytes(npy(header, b"\0"))
    with pytest.raises(ZooError, match=r"clips\.npy (cannot be read|does not hold)") as caught:
        PublishedMovingMNIST(path)
    assert len(str(caught.value)) < 500
    with pytest.raises(ZooError, match=r"clips\.npy (cannot be read|holds)"):
        read_video(path)


def test_a_file_that_goes_on_after_its_array_is_refused(published):
    path, _ = published
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ZooError, match="but uint8 of shape 20×5×64×64 takes"):
        PublishedMovingMNIST(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "clips.npy")
    with pytest.raises(ZooError, match="Not a regular file"):
        PublishedMovingMNIST(tmp_path / "clips.npy")


def test_other_orders_of_memory_are_read(tmp_path):
    np.save(tmp_path / "clips.npy", np.asfortranarray(moving(5, 20)))
    assert torch.equal(
        PublishedMovingMNIST(tmp_path / "clips.npy")[3], torch.from_numpy(moving(5, 20)[3])[:, None] / 255
    )


# Which axis is that of the frames


def moving(clips, frames):
    """Clips `(clips, frames, 64, 64)` of moving digits."""
    dataset = MovingMNIST("test", source="embedded", count=clips, length=frames)
    return (dataset.clips(range(clips))[:, :, 0] * 255).round().byte().numpy()


@pytest.mark.parametrize(("clips", "frames"), [(30, 20), (5, 20), (20, 20)])
@pytest.mark.parametrize("frames_first", [True, False])
def test_either_order_is_recognised(tmp_path, clips, frames, frames_first):
    array = moving(clips, frames)
    np.save(tmp_path / "clips.npy", array.swapaxes(0, 1) if frames_first else array)
    dataset = PublishedMovingMNIST(tmp_path / "clips.npy")
    assert (len(dataset), dataset.length) == (clips, frames)
    assert torch.equal(dataset.clips([1, 0]), torch.from_numpy(array[[1, 0]])[:, :, None] / 255)


def test_an_order_that_the_length_and_the_digits_contradict_is_refused(tmp_path):
    for array in (moving(20, 30), moving(20, 30).swapaxes(0, 1)):  # 20 clips, and not of 20 frames
        np.save(tmp_path / "clips.npy", array)
        with pytest.raises(ZooError, match="unclear whether axis 0 or axis 1 counts frames"):
            PublishedMovingMNIST(tmp_path / "clips.npy")


@pytest.mark.parametrize(
    "shape", [(20, 5, 16, 16), (20, 5, 64, 32), (20, 20, 28, 28), (19, 5, 64, 64), (30, 12, 64, 64), (1, 1, 64, 64)]
)
def test_clips_of_another_length_or_size_are_refused(tmp_path, shape):
    """They would stand beside published rows, although no published number is about such clips."""
    np.save(tmp_path / "clips.npy", np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    with pytest.raises(
        ZooError, match=r"published clips, which have 20 frames of 64×64 pixels, but an array \("
    ) as caught:
        PublishedMovingMNIST(tmp_path / "clips.npy")
    assert f"{shape}; fetch mnist_test_seq.npy, whose shape is (20, 10000, 64, 64)" in str(caught.value)


@pytest.mark.parametrize("content", ["noise", "black"])
def test_clips_whose_order_nothing_tells_are_refused(tmp_path, content):
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "clips.npy", noise if content == "noise" else 0 * noise)
    with pytest.raises(ZooError, match=r"save it as \(frames, clips, height, width\), with clips of 20 frames"):
        PublishedMovingMNIST(tmp_path / "clips.npy")

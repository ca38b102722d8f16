"""MNIST under the names, in the folders and in the wrappings that people have it."""

import gzip
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from zoo.data import MovingMNIST
from zoo.data.digits import has_mnist, load_digits
from zoo.errors import ZooError


def idx(count: int, value: int = 0) -> bytes:
    return bytes((0, 0, 8, 3)) + np.array((count, 28, 28), ">u4").tobytes() + bytes([value]) * (count * 784)


PLAIN = {"train": b"", "t10k": idx(10_000)}  # the training images are looked for, and not read
PACKED = {part: gzip.compress(content, 1) for part, content in PLAIN.items()}


def put(root: Path, name: str, contents: dict[str, bytes]) -> None:
    """Write both parts; `name` has their place, with PART for the part."""
    for part, content in contents.items():
        path = root / name.replace("PART", part)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "mnist/PART-images-idx3-ubyte",
        "mnist/PART-images.idx3-ubyte",
        "mnist/PART-images-idx3-ubyte/PART-images-idx3-ubyte",
        "mnist/PART-images-idx3-ubyte/PART-images.idx3-ubyte",
        "mnist/raw/PART-images-idx3-ubyte",
        "MNIST/raw/PART-images-idx3-ubyte",
        "Mnist/PART-Images-IDX3-ubyte",
        "raw/PART-images.idx3-ubyte",
        "MNIST_data/PART-images-idx3-ubyte",
        "PART-images-idx3-ubyte",
    ],
)
@pytest.mark.parametrize("packing", ["plain", "packed", "plain as .gz", "packed without .gz"])
def test_names_folders_and_packings_are_known(tmp_path: Path, name: str, packing: str) -> None:
    contents = PACKED if packing.startswith("packed") else PLAIN
    put(tmp_path, name + (".gz" if packing in ("packed", "plain as .gz") else ""), contents)
    assert has_mnist(tmp_path)
    assert load_digits("test", tmp_path).name.startswith(f"10,000 MNIST test digits from {tmp_path}")


def keras(path: Path, **changes: object) -> None:
    """A `mnist.npz` as Keras has it, but for the training images, with some arrays added or replaced."""
    arrays = {"x_test": np.full((10_000, 28, 28), 7, np.uint8), "y_test": np.zeros(10_000, np.uint8), **changes}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize("place", ["mnist.npz", "mnist/mnist.npz", "MNIST/MNIST.npz"])
def test_the_file_of_keras_is_read(tmp_path: Path, place: str) -> None:
    keras(tmp_path / place)
    images = load_digits("test", tmp_path).images
    assert images.shape == (10_000, 28, 28)
    assert images.unique().tolist() == [7]


def test_the_training_images_of_keras_are_read(tmp_path: Path) -> None:
    keras(tmp_path / "mnist.npz", x_train=np.arange(60_000 * 784, dtype=np.uint8).reshape(60_000, 28, 28))
    images = load_digits("val", tmp_path, "mnist").images
    assert images.flatten()[:3].tolist() == [50_000 * 784 % 256 + k for k in range(3)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": np.zeros((10_000, 28, 28), np.float32)}, "holds float32 of shape"),
        ({"x_test": np.zeros((10_000, 784), np.uint8)}, r"holds uint8 of shape \(10000, 784\) as x_test.npy, not"),
        ({"x_test": np.zeros((10_000, 28, 28), np.uint8, "F")}, "not the bytes of 10000×28×28 images"),
        ({"x_test": np.array([None])}, "cannot be read as an array"),
        ({"x_test": None}, "There is no item named 'x_test.npy'"),
    ],
)
def test_other_archives_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    keras(tmp_path / "mnist.npz", **changes)
    with pytest.raises(ZooError, match=message):
        load_digits("test", tmp_path)


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    keras(tmp_path / "mnist.npz")
    content = bytearray((tmp_path / "mnist.npz").read_bytes())
    with zipfile.ZipFile(tmp_path / "mnist.npz") as archive:
        begin = archive.getinfo("x_test.npy").header_offset
    for cut in (slice(-100, None), slice(begin, begin + 1), slice(begin + 400, begin + 401)):
        damaged = content[:]
        del damaged[cut]
        (tmp_path / "mnist.npz").write_bytes(damaged)
        with pytest.raises(ZooError, match=r"mnist\.npz cannot be read"):
            load_digits("test", tmp_path)


def test_no_more_of_an_archive_is_unpacked_than_asked_for(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mnist.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for part in ("x_train", "x_test"):
            with archive.open(f"{part}.npy", "w") as file:
                count = 10_000 if part == "x_test" else 60_000  # as both headers say
                shape = {"descr": "|u1", "fortran_order": False, "shape": (count, 28, 28)}
                np.lib.format.write_array_header_1_0(file, shape)
                file.write(bytes(10_000 * 784 + 1))
    with pytest.raises(ZooError, match="continues after its last image"):
        load_digits("test", tmp_path)
    with pytest.raises(ZooError, match="is cut short"):
        load_digits("train", tmp_path)


def test_of_several_copies_the_first_in_order_is_read(tmp_path: Path) -> None:
    order = [
        "mnist/PART-images-idx3-ubyte",
        "mnist/PART-images-idx3-ubyte.gz",
        "mnist/PART-images.idx3-ubyte",
        "mnist/PART-images.idx3-ubyte.gz",
        "MNIST/PART-images-idx3-ubyte",
        "MNIST/raw/PART-images-idx3-ubyte",
        "raw/PART-images-idx3-ubyte",
        "PART-images-idx3-ubyte",
    ]
    for value, name in enumerate(order):
        put(tmp_path, name, {"train": b"", "t10k": idx(10_000, value)})
    for value, name in enumerate(order):
        assert load_digits("test", tmp_path).images[0, 0, 0] == value
        for part in PLAIN:
            (tmp_path / name.replace("PART", part)).unlink()


def test_a_damaged_copy_is_named_not_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "mnist/PART-images-idx3-ubyte", {"train": idx(9), "t10k": PLAIN["t10k"][:-1]})
    put(tmp_path, "raw/PART-images-idx3-ubyte", PLAIN)
    with pytest.raises(ZooError, match="mnist/t10k-images-idx3-ubyte is cut short"):
        load_digits("test", tmp_path)


def test_what_is_no_file_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    os.mkfifo(tmp_path / "mnist" / "train-images-idx3-ubyte")  # to open it would wait for ever
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte").symlink_to(tmp_path / "nowhere")
    assert not has_mnist(tmp_path)


def test_changed_images_change_the_digest_and_do_not_compare_with_publications(tmp_path: Path, data_root: Path) -> None:
    true = MovingMNIST("test", root=data_root)
    put(tmp_path, "raw/PART-images.idx3-ubyte", PLAIN)
    images = load_digits("test", data_root).images.numpy()
    (tmp_path / "raw" / "t10k-images.idx3-ubyte").write_bytes(idx(10_000)[:16] + images.tobytes())
    same = MovingMNIST("test", root=tmp_path)
    assert (same.digest(), same.comparable_with) == (true.digest(), "moving-mnist-2")  # wherever, however packed
    for changed in (255 - images, images ^ (np.arange(images.size).reshape(images.shape) == 5_000_000)):
        (tmp_path / "raw" / "t10k-images.idx3-ubyte").write_bytes(idx(10_000)[:16] + changed.astype(np.uint8).tobytes())
        other = MovingMNIST("test", root=tmp_path)
        assert other.digest() != true.digest()
        assert "not the published images" in other.comparable_with
        assert "not the published images" in other.describe()

"""The data root, IDX files, and which digits a split holds."""

import gzip
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.data import MovingMNIST, data_root
from zoo.data.digits import load_digits
from zoo.data.mnist_files import read_idx
from zoo.errors import ZooError

NAMES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
COUNTS = {"train": 60_000, "test": 10_000}


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture(scope="session")
def numbered() -> dict[str, bytes]:
    """MNIST's image files whose images say their number in the first pixels, the test set's with a third pixel."""
    files = {}
    for split, name in NAMES.items():
        images = np.zeros((COUNTS[split], 28, 28), np.uint8)
        images[:, 0, :2] = np.arange(COUNTS[split], dtype="<u2").view(np.uint8).reshape(-1, 2)
        images[:, 0, 2] = split == "test"
        files[name] = idx(images)
    return files


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def zipped(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(content, 1) for name, content in files.items()}


def numbers(images: torch.Tensor) -> list[tuple[int, int]]:
    """(number, whether from the test set) of numbered images."""
    first = images[:, 0, :3].long()
    return list(zip((first[:, 0] + 256 * first[:, 1]).tolist(), first[:, 2].tolist(), strict=True))


# the data root


def test_the_data_root_is_the_argument_or_the_environment_or_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "a"))
    assert data_root(tmp_path) == data_root(str(tmp_path)) == tmp_path
    assert data_root() == tmp_path / "a"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root("~/b") == tmp_path / "b"
    monkeypatch.delenv("ZOO_DATA")
    assert data_root() == tmp_path / ".cache" / "zoo"
    assert list(tmp_path.iterdir()) == []  # asking makes nothing


def test_a_data_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ZooError, match=r"data root .*file cannot be read .*; .*--data-root or ZOO_DATA"):
        data_root(tmp_path / "file")


# IDX


@given(st.integers(0, 40), st.booleans())
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, length, gz):
    content = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    content = gzip.compress(content) if gz else content
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if gz else "a")
    path.write_bytes(content[: min(length, len(content) - 1)])
    with pytest.raises(ZooError, match=str(path)) as caught:
        read_idx(path, (2, 3, 4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read_plain_and_gzipped(tmp_path, suffix):
    array = np.random.default_rng(0).integers(0, 256, (5, 3, 4), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(idx(array)) if suffix else idx(array))
    assert np.array_equal(read_idx(path, (5, 3, 4)), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file"),
        (b"<!DOCTYPE html><html></html>", "is not an IDX file"),
        (bytes((0, 0, 13, 3)) + bytes(100), "is not an IDX file of bytes"),  # floats
        (idx(np.zeros(24, np.uint8)), "is not an IDX file of bytes with 3 axes"),  # labels
        (idx(np.zeros((3, 2, 4), np.uint8)), "holds 3×2×4 bytes, not 2×3×4"),
        (idx(np.zeros((2, 3, 4), np.uint8))[:10], "is cut short"),
        (idx(np.zeros((2, 3, 4), np.uint8))[:-1], "is cut short"),
        (idx(np.zeros((2, 3, 4), np.uint8)) + b"\0", "continues after its last image"),
    ],
)
def test_wrong_idx_files_are_refused(tmp_path, content, message):
    for name, data in (("a", content), ("a.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ZooError, match=f"{name} {message}"):
            read_idx(tmp_path / name, (2, 3, 4))


def test_the_content_says_whether_it_is_packed(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a.gz").write_bytes(idx(array))
    (tmp_path / "b").write_bytes(gzip.compress(idx(array)))
    for name in ("a.gz", "b"):
        assert np.array_equal(read_idx(tmp_path / name, (2, 3, 4)), array)


def test_headers_of_absurd_sizes_are_refused_before_anything_is_read(tmp_path):
    for shape in ((2**32 - 1, 2**32 - 1, 2**32 - 1), (0, 0, 0), (60_001, 28, 28)):
        (tmp_path / "a").write_bytes(bytes((0, 0, 8, 3)) + np.array(shape, ">u4").tobytes())
        with pytest.raises(ZooError, match=r"a holds .* bytes, not 60000×28×28"):
            read_idx(tmp_path / "a", (60_000, 28, 28))


def test_gzip_with_a_flipped_bit_is_refused(tmp_path):
    content = bytearray(gzip.compress(idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))))
    for place, bit in ((-7, 1), (10, 6)):  # in the checksum, in the packed data
        content[place] ^= bit
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(ZooError, match="cannot be read"):
            read_idx(tmp_path / "a.gz", (2, 3, 4))
        content[place] ^= bit


def test_no_more_is_unpacked_than_asked_for(tmp_path, monkeypatch):
    """A small file may unpack to a huge one."""
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((2, 3, 4), np.uint8)) + bytes(10**7)))
    asked = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: asked.append(size) or read(self, size))
    with pytest.raises(ZooError, match="continues after"):
        read_idx(path, (2, 3, 4))
    assert asked == [16, 25]


# splits


@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw", "mnist/MNIST/raw"])
@pytest.mark.parametrize("pack", [dict, zipped], ids=["raw", "gz"])
def test_splits_of_mnist_are_disjoint(tmp_path, numbered, folder, pack):
    put(tmp_path / folder, pack(numbered))
    splits = {split: load_digits(split, tmp_path) for split in ("train", "val", "test")}
    assert numbers(splits["train"].images) == [(n, 0) for n in range(50_000)]
    assert numbers(splits["val"].images) == [(n, 0) for n in range(50_000, 60_000)]
    assert numbers(splits["test"].images) == [(n, 1) for n in range(10_000)]
    for split, count in (("train", "50,000"), ("val", "10,000"), ("test", "10,000")):
        assert splits[split].images.dtype == torch.uint8
        where = f"{count} MNIST {split} digits from {tmp_path / folder}"
        assert splits[split].name == f"{where} (not the published images)"
        assert not splits[split].published


def test_clips_hold_digits_of_their_split_only(tmp_path, numbered):
    put(tmp_path / "mnist", numbered)
    for split, low, high, test in (("train", 0, 50_000, 0), ("val", 50_000, 60_000, 0), ("test", 0, 10_000, 1)):
        dataset = MovingMNIST(split, root=tmp_path, length=1)
        origins = numbers(dataset.fetch(range(len(dataset))).images.flatten(0, 1))
        assert {origin for _, origin in origins} == {test}
        assert low <= min(origins)[0] < low + 100
        assert high - 100 < max(origins)[0] < high


def test_real_mnist_is_read(data_root):
    digits = [load_digits(split, data_root, "mnist") for split in ("train", "val", "test")]
    assert all(split.published for split in digits)
    assert digits[2].name == f"10,000 MNIST test digits from {data_root / 'mnist'}"
    train, val, test = (split.images for split in digits)
    with gzip.open(data_root / "mnist" / "train-images-idx3-ubyte.gz") as file:
        assert file.read()[16:] == torch.cat([train, val]).numpy().tobytes()
    with gzip.open(data_root / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        assert file.read()[16:] == test.numpy().tobytes()


def test_embedded_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits as sklearn_digits

    splits = [load_digits(split, source="embedded") for split in ("train", "val", "test")]
    images = torch.cat([split.images for split in splits])
    assert images.shape == (1_797, 28, 28)
    assert images.dtype == torch.uint8
    assert len({image.numpy().tobytes() for image in images}) == 1_797  # no digit twice, so none in two splits
    assert [len(split.images) for split in splits] == [1_197, 300, 300]
    assert images.amax((1, 2)).min() > 200
    small = sklearn_digits().images * (255 / 16)
    spread = cubic_matrix(8, 28)
    large = (spread @ small @ spread.T).clip(0, 255)
    assert np.abs(images.numpy() - large).max() < 0.5 + 1e-9


def cubic_matrix(small: int, large: int) -> np.ndarray:
    """(large, small): Keys' cubic convolution with a = -0.75, pixels as squares, the border repeated."""
    a, matrix = -0.75, np.zeros((large, small))
    for i in range(large):
        x = (i + 0.5) * small / large - 0.5
        for j in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
            d = abs(x - j)
            near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[i, min(max(j, 0), small - 1)] += near if d <= 1 else far
    return matrix


def test_auto_takes_mnist_where_it_is_complete(tmp_path, numbered):
    assert (
        load_digits("val", tmp_path).name == f"300 embedded scikit-learn val digits (no complete MNIST in {tmp_path})"
    )
    folder = put(tmp_path / "mnist", numbered)
    assert "MNIST val" in load_digits("val", tmp_path).name
    assert load_digits("val", tmp_path, "embedded").name == "300 embedded scikit-learn val digits"
    (folder / NAMES["test"]).unlink()  # else training would see MNIST, the test other digits
    assert "embedded" in load_digits("val", tmp_path).name


def test_python_is_told_once_that_mnist_is_missing(tmp_path, numbered):
    """Whatever asks for digits, and wherever; nobody is told who has MNIST or has asked for the others."""
    lines = [
        "import zoo, sys",
        "from zoo.data.digits import load_digits",
        "zoo.MovingMNIST('test', root='.', length=2)",
        "zoo.MovingMNIST('train', root='.', length=2)",
        "load_digits('val', '.')",
        "zoo.data.pin_data(zoo.recipe('conv-lstm', 'demo').data, '.')",
        "print('now another root', file=sys.stderr)",
        "zoo.MovingMNIST('test', root='elsewhere', length=2)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True)
    first, second = done.stderr.split("now another root")
    for text, root in ((first, "."), (second, "elsewhere")):
        assert text.count("Warning") == 1, done.stderr
        assert f"no complete MNIST in {root}, so the digits are the 1,797 of scikit-learn" in text
        assert "zoo data mnist --download" in text
        assert 'source to "embedded"' in text
    put(tmp_path / "mnist", numbered)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MovingMNIST("test", root=tmp_path)
        MovingMNIST("test", root=tmp_path / "none", source="embedded")


def test_mnist_that_is_missing_is_not_replaced(tmp_path):
    with pytest.raises(ZooError, match=r"no t10k-images-idx3-ubyte\[.gz\] and .*mnist; fetch it with .*download_mnist"):
        MovingMNIST("test", root=tmp_path, source="mnist")


def test_damaged_mnist_is_never_replaced_silently(tmp_path, numbered):
    folder = put(tmp_path / "mnist", numbered)
    (folder / NAMES["test"]).write_bytes(numbered[NAMES["test"]][:-100])
    with pytest.raises(ZooError, match="is cut short; fetch it again"):
        MovingMNIST("test", root=tmp_path)
    (folder / NAMES["test"]).write_bytes(numbered[NAMES["train"]])
    with pytest.raises(ZooError, match="holds 60000×28×28 bytes, not 10000×28×28"):
        MovingMNIST("test", root=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("dev",), "split = 'dev' must be one of train, val, test"), (("val", None, "MNIST"), "source = 'MNIST' must")],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ZooError, match=message):
        load_digits(*arguments)

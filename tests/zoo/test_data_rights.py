"""Data roots that may not be read or written."""

import contextlib
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import filelock.asyncio  # noqa: F401 - before rights are given up
import pytest
import rich.progress  # noqa: F401 - likewise

from tests.support.videos import write_video
from zoo.data import MovingMNIST, Videos, data_root, download, download_mnist
from zoo.errors import ZooError

NOBODY = 65534


@contextlib.contextmanager
def without_rights():
    """Root may do everything, so become nobody for a while."""
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(NOBODY)
    except OSError:
        pytest.skip("this user may do everything and cannot become another")
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def root():
    """A data root with an (empty) image file of each kind, outside pytest's own folders, which are private."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        (root / "mnist").mkdir(parents=True)
        for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
            (root / "mnist" / name).touch()
        Path(folder).chmod(0o755)
        with without_rights():
            if not os.path.isdir(root):
                pytest.skip(f"nobody else may enter {folder}")
        yield root
        for path in (root, root / "mnist"):  # so that they can be removed
            if path.exists():
                path.chmod(0o755)


def test_a_root_that_cannot_be_listed_is_refused(root):
    root.chmod(0)
    with without_rights(), pytest.raises(ZooError, match=r"data root .*root cannot be read \(Permission denied\)"):
        data_root(root)


@pytest.mark.parametrize("closed", ["mnist", "mnist/train-images-idx3-ubyte"])
@pytest.mark.parametrize("source", ["auto", "mnist"])
def test_digits_that_cannot_be_read_are_refused(root, closed, source):
    (root / closed).chmod(0)
    with without_rights(), pytest.raises(ZooError, match=r"cannot be (read|reached) .*Permission.*rights") as caught:
        MovingMNIST("train", root=root, source=source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("closed", [".", "mnist"])
@pytest.mark.parametrize("rights", [0o000, 0o444, 0o555])
def test_a_root_that_cannot_be_written_is_named(root, closed, rights, monkeypatch):
    answer = SimpleNamespace(status=200, length=0, read=lambda _: b"", close=lambda: None)
    monkeypatch.setattr(download, "urlopen", lambda *_, **__: contextlib.closing(answer))
    if closed == ".":
        for file in (root / "mnist").iterdir():
            file.unlink()
        (root / "mnist").rmdir()
    (root / closed).chmod(rights)
    with without_rights(), pytest.raises(ZooError, match=r"cannot .*Permission denied.*--data-root or ZOO_DATA"):
        download_mnist(root, "http://mirror", progress=False)


def test_a_store_that_cannot_be_written_is_named(root):
    for i in range(3):
        write_video(root / "films" / f"{i}.avi", 20 + i)
    films = root / "films"
    with without_rights(), pytest.raises(ZooError, match=r"cannot create .*videos.* \(Permission denied\)"):
        Videos(films, root=root, size=8, length=4, progress=False)
    ready = Videos(films, root=root, size=8, length=4, progress=False)
    with without_rights():  # what is ready is only read
        assert Videos(films, root=root, size=8, length=4).names == ready.names
        write_needed = {"size": 8, "length": 4, "grey": False}
        with pytest.raises(ZooError, match="Permission denied"):
            Videos(films, root=root, **write_needed)

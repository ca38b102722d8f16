"""Files are written whole, where they were asked for, with the usual rights, and over nothing that is no plain file."""

import os
import resource
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from tensortrain import TensorTrainError, storage
from tensortrain.files import TEMPORARY, aside, destination, destinations

FORK = get_context("fork")


def write(path: Path | str, text: str = "new") -> None:
    with aside(path) as temporary:
        temporary.write_text(text)


def in_child(work: Callable[[], object]) -> int:
    """The exit status of a process that does the work: -n if a signal n ended it, 3 after a TensorTrainError."""

    def body() -> None:
        try:
            work()
        except TensorTrainError as error:
            print(error)
            os._exit(3)

    child = FORK.Process(target=body)
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode


def killed_while_writing(path: Path) -> None:
    """What a process leaves that is killed in the middle of writing `path`."""

    def work() -> None:
        with aside(path) as temporary:
            temporary.write_text("half")
            (temporary.parent / ".tmpA3b9xQ").write_text("what the writer of safetensors leaves")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    assert len(list(path.parent.glob(TEMPORARY))) == 1


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    yield
    os.umask(before)


# ---- what is refused --------------------------------------------------------------------------------------------


def device(path: Path) -> None:
    path.symlink_to("/dev/null")


def unix_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)  # a socket's path must be short
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"/proc/self/fd/{folder}/{path.name}")
    server.close()
    os.close(folder)


def linked_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (device, "it is a device; name a regular file"),
        (os.mkfifo, "it is a pipe"),
        (linked_pipe, "it is a pipe"),
        (unix_socket, "it is a socket"),
        (Path.mkdir, "it is a folder"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("missing/file"), "No such file or directory"),
    ],
    ids=["device", "pipe", "link to a pipe", "socket", "folder", "loop", "link to nowhere"],
)
def test_what_is_no_plain_file_is_refused_and_left_alone(tmp_path, make, message):
    path = tmp_path / "out"
    make(path)
    before = path.lstat().st_ino, path.lstat().st_mode
    for refuse in (destination, write):
        with pytest.raises(TensorTrainError, match=message) as caught:
            refuse(path)
        assert str(caught.value).startswith(f"cannot write {path}: ")
    assert (path.lstat().st_ino, path.lstat().st_mode) == before
    assert list(tmp_path.glob(TEMPORARY)) == []


@pytest.mark.parametrize("path", ["/dev/null", "/dev/full", "/dev/zero", "/dev/tty", "/proc/self/mem/x", "/", ".", ""])
def test_devices_and_folders_are_refused_by_their_own_names(path):
    with pytest.raises(TensorTrainError, match="cannot write"):
        write(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("x" * 256, "File name too long; choose a shorter name"),
        ("d/" * 2100 + "x", "File name too long"),
        ("a\0b", r"cannot write 'a\\x00b': embedded null"),
        ("missing/x", "No such file or directory; name a file in a writable folder"),
        (None, "NoneType"),
        (7, "int"),
    ],
)
def test_names_that_no_file_can_have_are_refused(path, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for refuse in (write, lambda path: storage.write(path, {"x": torch.ones(1)}, {})):
        with pytest.raises(TensorTrainError, match=message):
            refuse(path)
    assert os.listdir(tmp_path) == []


def test_every_name_that_a_file_can_have_is_written(tmp_path):
    for name in ("x" * 255, "é" * 127, "-o", "two\nlines", "*", " ", os.fsdecode(b"\xff\xfe"), ".hidden"):
        write(tmp_path / name)
        assert (tmp_path / name).read_text() == "new"


@pytest.mark.parametrize("link", [None, os.symlink, os.link], ids=["itself", "symlink", "hard link"])
def test_an_input_is_refused_under_every_name(tmp_path, link):
    read, other, out = tmp_path / "in", tmp_path / "other", tmp_path / "in"
    for file in (read, other):
        file.write_text("my only copy")
    if link:
        out = tmp_path / "out"
        link(read, out)
    for inputs in ([read], [tmp_path / "missing", "a\0b", other, tmp_path / "." / "in"]):
        with pytest.raises(TensorTrainError, match="which is an input; name another file"):
            destination(out, inputs)
    assert destination(out, [other]) == (out if link is os.link else read)


def test_an_input_that_does_not_exist_yet_is_refused_too(tmp_path):
    (tmp_path / "link").symlink_to("new")
    for out in (tmp_path / "new", tmp_path / "link"):
        with pytest.raises(TensorTrainError, match="which is an input; name another file"):
            destination(out, [tmp_path / "." / "new"])
    assert destination(tmp_path / "new", [tmp_path / "other", "a\0b"]) == tmp_path / "new"


def test_two_outputs_are_two_files(tmp_path):
    (tmp_path / "link").symlink_to("new")
    (tmp_path / "old").touch()
    for name in ("new", "old"):
        path = tmp_path / name
        for other in (path, str(path), tmp_path / "." / name, *([tmp_path / "link"] if name == "new" else [])):
            with pytest.raises(
                TensorTrainError, match=r"cannot write .*: .*new is the same file; name two files|old is"
            ):
                destinations([path, tmp_path / "third", other])
    with pytest.raises(TensorTrainError, match="which is an input"):
        destinations([tmp_path / "new", tmp_path / "old"], iter([tmp_path / "old"]))
    destinations([tmp_path / "new", tmp_path / "old"], [tmp_path / "third"])
    assert sorted(os.listdir(tmp_path)) == ["link", "old"]


def test_a_folder_without_rights_is_refused(tmp_path):
    def work() -> None:
        tmp_path.chmod(0o555)
        if os.geteuid() == 0:
            os.seteuid(65534)
        write(tmp_path / "x")

    assert in_child(work) == 3
    tmp_path.chmod(0o755)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path):
    """A limit on the size of files stands for the end of the disk: the system calls fail in the same way."""
    path, tensors = tmp_path / "x", {"x": torch.ones(20_000)}
    path.write_text("old")

    def work(write_it: Callable[[], object]) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        with pytest.raises(TensorTrainError, match=f"cannot write {path}: File too large; allow larger files"):
            write_it()

    assert in_child(lambda: work(lambda: write(path, "n" * 20_000))) == 0
    assert in_child(lambda: work(lambda: storage.write(path, tensors, {}))) == 0
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


# ---- what is written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [True, False], ids=["to a file", "to nothing yet"])
@pytest.mark.parametrize("depth", [1, 2])
def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path, exists, depth):
    real, link = tmp_path / "disk" / "real", tmp_path / "link"
    real.parent.mkdir()
    if exists:
        real.write_text("old")
    (tmp_path / "between").symlink_to("disk/real")
    link.symlink_to("disk/real" if depth == 1 else "between")
    with aside(link) as temporary:
        assert temporary.parent.parent == real.parent  # so that renaming does not cross file systems
        temporary.write_text("new")
    assert link.is_symlink()
    assert os.readlink(link) == ("disk/real" if depth == 1 else "between")
    assert not real.is_symlink()
    assert real.read_text() == "new"


def save(path: Path) -> None:
    storage.write(path, {"x": torch.ones(2)}, {})


@pytest.mark.parametrize("write_it", [write, save], ids=["plain", "safetensors"])
def test_rights_are_those_of_the_old_file_or_of_any_new_one(tmp_path, write_it):
    for mask, expected in ((0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o027, 0o640)):
        with umask(mask):
            write_it(tmp_path / f"{mask}")
        assert stat.S_IMODE((tmp_path / f"{mask}").stat().st_mode) == expected
    for mode in (0o600, 0o640, 0o755, 0o444):
        old = tmp_path / f"old{mode}"
        old.touch()
        old.chmod(mode)
        write_it(old)
        assert stat.S_IMODE(old.stat().st_mode) == mode
        assert old.stat().st_size > 0


def test_nobody_can_guess_or_enter_the_place_where_a_file_is_written(tmp_path):
    places = []
    for _ in range(3):
        with aside(tmp_path / "x") as temporary:
            places.append(temporary.parent.name)
            assert stat.S_IMODE(temporary.parent.stat().st_mode) == 0o700
            assert temporary.parent.stat().st_uid == os.geteuid()
    assert len(set(places)) == 3


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "x").write_text("old")

    def interrupted() -> None:
        with aside(tmp_path / "x") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


# ---- what killed processes leave ----------------------------------------------------------------------------------


def test_the_next_write_removes_what_a_killed_process_left(tmp_path):
    (tmp_path / "x").write_text("old")
    killed_while_writing(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "old"
    write(tmp_path / "y")  # whatever it writes
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]


def test_left_overs_lie_beside_what_a_link_leads_to_and_are_found_there(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk/real")
    killed_while_writing(tmp_path / "disk" / "real")
    write(tmp_path / "link")
    assert os.listdir(tmp_path / "disk") == ["real"]


def test_what_a_living_process_writes_is_never_removed(tmp_path):
    """Neither what this process writes by the calls around, nor what another one writes."""
    ready, go = FORK.Event(), FORK.Event()

    def work() -> None:
        with aside(tmp_path / "theirs") as temporary:
            temporary.write_text("theirs")
            ready.set()
            go.wait(60)

    child = FORK.Process(target=work)
    with aside(tmp_path / "ours") as temporary:
        temporary.write_text("ours")
        child.start()
        assert ready.wait(60)
        for name in "abc":
            write(tmp_path / name)
        assert len(list(tmp_path.glob(TEMPORARY))) == 2
        go.set()
        child.join(60)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "ours", "theirs"]
    assert (tmp_path / "ours").read_text() == "ours"


def test_many_writers_in_one_folder_never_take_anything_from_each_other(tmp_path):
    def work() -> None:
        for i in range(40):
            write(tmp_path / "shared", "x" * 1000)
            write(tmp_path / f"{os.getpid()}-{i}")

    children = [FORK.Process(target=work) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    assert (tmp_path / "shared").read_text() == "x" * 1000
    assert len(os.listdir(tmp_path)) == 161


def test_nothing_but_our_own_folders_is_taken_for_left_overs(tmp_path):
    """Neither a link to a folder, nor a file of such a name, nor what it holds."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("my only copy")
    (tmp_path / ".tensortrain-a.tmp").symlink_to("precious")
    (tmp_path / ".tensortrain-b.tmp").write_text("a file")
    (tmp_path / ".tensortrain-c.tmp").mkdir()
    (tmp_path / ".tensortrain-c.tmp" / "link").symlink_to(tmp_path / "precious")
    (tmp_path / ".tmp1234").touch()
    write(tmp_path / "x")
    assert sorted(os.listdir(tmp_path)) == [".tensortrain-a.tmp", ".tensortrain-b.tmp", ".tmp1234", "precious", "x"]
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "my only copy"

"""Fetching MNIST from a server on this machine."""

import functools
import hashlib
import http.server
import os
import socket
import threading

import pytest

from zoo.data import MovingMNIST, download, download_mnist
from zoo.data.digits import load_digits
from zoo.errors import ZooError

BODIES = {f"{name}.gz": os.urandom(size) for name, size in (("first", 200_000), ("second", 1_000), ("third", 70_000))}


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves BODIES; its server's `rules` change how: ranges, break_at, replace, status, endless."""

    def do_GET(self):
        rules, name = self.server.rules, self.path.rpartition("/")[2]
        span = self.headers["Range"]
        self.server.asked.append((self.path, span))
        body = rules.get("replace", {}).get(name, BODIES.get(name))
        status = rules.get("status", 200 if body is not None else 404)
        if status != 200:
            return self.send_error(status)
        start = 0
        if span and rules.get("ranges", True):
            start = int(span.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if not rules.get("endless"):
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        sent = body[start : rules.get("break_at", len(body))]
        try:
            self.wfile.write(sent)
            for _ in range(1_000 if rules.get("endless") else 0):
                self.wfile.write(bytes(100_000))
                self.server.extra += 1
        except OSError:  # the client has had enough
            pass

    def log_message(self, *_):
        pass


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.rules, server.asked, server.extra = {}, [], 0
    server.url = f"http://127.0.0.1:{server.server_port}/some/folder"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture
def mirror(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("ZOO_MNIST_MIRROR", raising=False)
    files = {name: (len(body), hashlib.md5(body).hexdigest()) for name, body in BODIES.items()}
    monkeypatch.setattr(download, "FILES", files)
    server = serve(Mirror)
    yield server
    server.shutdown()
    server.server_close()


def fetch(root, mirror):
    return download_mnist(root, mirror.url, progress=False)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_downloaded_files_are_those_of_the_mirror(tmp_path, mirror, capsys):
    assert fetch(tmp_path / "new" / "root", mirror) == tmp_path / "new" / "root" / "mnist"
    assert content(tmp_path / "new" / "root" / "mnist") == BODIES
    assert mirror.asked == [(f"/some/folder/{name}", None) for name in BODIES]
    assert capsys.readouterr().out == ""


def test_progress_is_shown(tmp_path, mirror, capsys):
    download_mnist(tmp_path, mirror.url)
    assert "271.0/271.0 kB" in capsys.readouterr().out


def test_what_is_there_is_not_fetched_again(tmp_path, mirror):
    folder = fetch(tmp_path, mirror)
    (folder / "second.gz").write_bytes(b"damaged")
    mirror.asked.clear()
    fetch(tmp_path, mirror)
    assert mirror.asked == [("/some/folder/second.gz", None)]
    assert content(folder) == BODIES


def test_the_environment_names_a_mirror(tmp_path, mirror, monkeypatch):
    monkeypatch.setenv("ZOO_MNIST_MIRROR", mirror.url + "/")
    download_mnist(tmp_path, progress=False)
    assert mirror.asked[0] == ("/some/folder/first.gz", None)
    monkeypatch.setenv("ZOO_MNIST_MIRROR", "http://127.0.0.1:1")
    assert content(fetch(tmp_path / "b", mirror)) == BODIES  # the argument goes first


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_resumes_where_it_stopped(tmp_path, mirror, ranges):
    mirror.rules = {"break_at": 150_000}
    with pytest.raises(ZooError, match=r"first.gz cannot be downloaded .*150,000 of 200,000.*run the command again"):
        fetch(tmp_path, mirror)
    assert content(tmp_path / "mnist") == {"first.gz.part": BODIES["first.gz"][:150_000]}
    mirror.rules = {"ranges": ranges}
    fetch(tmp_path, mirror)
    assert mirror.asked[1] == ("/some/folder/first.gz", "bytes=150000-")
    assert content(tmp_path / "mnist") == BODIES


def test_a_download_killed_before_its_renaming_is_finished(tmp_path, mirror):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "first.gz.part").write_bytes(BODIES["first.gz"])
    fetch(tmp_path, mirror)
    assert content(tmp_path / "mnist") == BODIES
    assert len(mirror.asked) == 2


@pytest.mark.parametrize("wrong", [bytes(200_000), b"<html>log in first</html>", BODIES["first.gz"] + b"more"])
def test_a_wrong_checksum_is_refused(tmp_path, mirror, wrong):
    mirror.rules = {"replace": {"first.gz": wrong}}
    with pytest.raises(ZooError, match=r"first.gz has a wrong checksum .*ZOO_MNIST_MIRROR") as caught:
        fetch(tmp_path, mirror)
    assert "\n" not in str(caught.value)
    assert content(tmp_path / "mnist") == {}
    mirror.rules = {}
    assert content(fetch(tmp_path, mirror)) == BODIES


@pytest.mark.parametrize("stale", [bytes(150_000), bytes(300_000)])
def test_a_stale_part_is_dropped(tmp_path, mirror, stale):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "first.gz.part").write_bytes(stale)
    with pytest.raises(ZooError, match="wrong checksum"):
        fetch(tmp_path, mirror)
    assert content(tmp_path / "mnist") == {}
    assert content(fetch(tmp_path, mirror)) == BODIES


def test_a_server_that_never_ends_is_left(tmp_path, mirror):
    mirror.rules = {"endless": True}
    with pytest.raises(ZooError, match="wrong checksum"):
        fetch(tmp_path, mirror)
    assert mirror.extra < 900
    assert content(tmp_path / "mnist") == {}


@pytest.mark.parametrize("status", [404, 416, 500])
def test_a_server_that_refuses_is_named(tmp_path, mirror, status):
    mirror.rules = {"status": status}
    with pytest.raises(ZooError, match=f"first.gz cannot be downloaded .*{status}.*ZOO_MNIST_MIRROR") as caught:
        fetch(tmp_path, mirror)
    assert "\n" not in str(caught.value)
    assert content(tmp_path / "mnist") == {}


def test_a_missing_server_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ZooError, match="cannot be downloaded"):
            download_mnist(tmp_path, url, progress=False)


def test_a_server_that_falls_silent_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "_TIMEOUT", 0.05)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        with pytest.raises(ZooError, match=r"cannot be downloaded \(timed out\)"):
            download_mnist(tmp_path, f"http://127.0.0.1:{mute.getsockname()[1]}", progress=False)


@pytest.mark.parametrize("url", ["mnist", "file:///etc", "ftp://a.b/c"])
def test_only_web_addresses_are_mirrors(tmp_path, url):
    with pytest.raises(ZooError, match=r"mirror = .* must start with http"):
        download_mnist(tmp_path, url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["http://", "http://[", "http://a b"])
def test_a_mirror_that_is_no_address_is_refused(tmp_path, url):
    with pytest.raises(ZooError, match="cannot be downloaded"):
        download_mnist(tmp_path, url, progress=False)


def test_a_folder_that_is_a_file_is_refused(tmp_path, mirror):
    (tmp_path / "mnist").touch()
    with pytest.raises(ZooError, match="cannot write in"):
        fetch(tmp_path, mirror)


def test_a_data_set_downloads_its_digits(tmp_path, data_root, monkeypatch):
    """The real files: sizes and checksums are MNIST's, and what arrives is read."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = serve(functools.partial(Quiet, directory=str(data_root / "mnist")))
    monkeypatch.setenv("ZOO_MNIST_MIRROR", server.url.removesuffix("/some/folder"))
    try:
        dataset = MovingMNIST("test", root=tmp_path, download=True, length=1)
    finally:
        server.shutdown()
        server.server_close()
    assert "MNIST test" in dataset.describe()
    assert (load_digits("val", tmp_path).images == load_digits("val", data_root).images).all()
    MovingMNIST("val", root=tmp_path, download=True)  # nothing is asked of the server, which is gone
    MovingMNIST("val", root=tmp_path / "none", download=True, source="embedded")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz.part", "train-images-idx3-ubyte.gz"])
def test_nothing_but_plain_files_is_written(tmp_path, kind, name):
    """A partial file has a name that anybody can foresee."""
    (tmp_path / "mnist").mkdir()
    precious, place = tmp_path / "precious", tmp_path / "mnist" / name
    precious.write_text("my only copy")
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(precious if name.endswith("part") else "/dev/null")
    with pytest.raises(ZooError, match=r"is a link|it is a (pipe|device)"):
        download_mnist(tmp_path, "http://127.0.0.1:9", progress=False)
    assert precious.read_text() == "my only copy"
    assert place.is_symlink() or place.is_fifo()

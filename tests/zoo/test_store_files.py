"""The files of a store of frames: their form, their checksums, and the digest of their content."""

import json
import os
from contextlib import suppress

import pytest

from tests.support.videos import KTH_LINES, make_kth
from zoo.data import frame_store as storing
from zoo.data import prepare_kth, store_files
from zoo.data.frame_store import MANIFEST, Store
from zoo.data.kth import KTH
from zoo.errors import ZooError


@pytest.fixture
def original(tmp_path):
    return make_kth(tmp_path / "original")


def resealed(path, change):
    """Change a file of a store, with a right checksum."""
    content = json.loads(path.read_text())
    change(content)
    for key in ("version", "method", "seal"):
        del content[key]
    store_files.write_json(path, content)


NAME = "person01_boxing_d1"
CHANGES = {
    "no shape": lambda manifest: manifest.pop("shape"),
    "shape of two": lambda manifest: manifest["shape"].pop(),
    "no side": lambda manifest: manifest.update(shape=[1, 0, 8]),
    "clips in a list": lambda manifest: manifest.update(clips=[1]),
    "no clip": lambda manifest: manifest["clips"].update({NAME: None}),
    "frames in words": lambda manifest: manifest["clips"][NAME].update(frames="40"),
    "half a frame": lambda manifest: manifest["clips"][NAME].update(frames=0.5),
    "no frames": lambda manifest: manifest["clips"][NAME].update(frames=0),
    "true": lambda manifest: manifest["clips"][NAME].update(bytes=True),
    "2^64 bytes": lambda manifest: manifest["clips"][NAME].update(bytes=2**64),
    "no checksum": lambda manifest: manifest["clips"][NAME].update(sha256="none"),
    "a range of three": lambda manifest: manifest["clips"][NAME].update(ranges=[[1, 2, 3]]),
    "more": lambda manifest: manifest.update(more=1),
    "more of a clip": lambda manifest: manifest["clips"][NAME].update(more=1),
    "reasons in numbers": lambda manifest: manifest.update(skipped={"a": 1}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_manifest_of_another_form_is_refused(tmp_path, original, change):
    path = prepare_kth(tmp_path, original, size=8, progress=False).folder / MANIFEST
    resealed(path, change)
    with pytest.raises(ZooError, match=r"manifest.json is damaged; remove it"):
        Store(path.parent)


def test_ranges_beyond_a_clip_are_refused(tmp_path, original):
    path = prepare_kth(tmp_path, original, size=8, progress=False).folder / MANIFEST
    resealed(path, lambda manifest: manifest["clips"][NAME].update(ranges=[[1, 41]]))
    with pytest.raises(ZooError, match="is not a store of KTH"):
        KTH(root=tmp_path, size=8)
    resealed(path, lambda manifest: manifest["clips"][NAME].pop("ranges"))
    with pytest.raises(ZooError, match="is not a store of KTH"):
        KTH(root=tmp_path, size=8)


@pytest.mark.parametrize("name", [MANIFEST, f"{NAME}.json"])
def test_a_flipped_bit_in_a_file_of_the_store_is_noticed(tmp_path, original, name):
    path = prepare_kth(tmp_path, original, size=8, progress=False).folder / name
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 2]) + content[place + 1 :])
        if name == MANIFEST:
            with pytest.raises(ZooError):
                Store(path.parent)
            continue
        with suppress(ZooError):  # a record is refused or made again
            assert prepare_kth(tmp_path, original, size=8, progress=False).clips[NAME]["frames"] == 40
    path.write_bytes(content)
    assert prepare_kth(tmp_path, original, size=8, progress=False).verify() == []


@pytest.mark.parametrize("content", [b"[" * 100_000, b"1" * 5_000, b"\xff", b"[]", b"null", b"", b'{"version": 2}'])
def test_what_is_no_manifest_is_refused(tmp_path, original, content):
    path = prepare_kth(tmp_path, original, size=8, progress=False).folder / MANIFEST
    path.write_bytes(content)
    with pytest.raises(ZooError, match=r"cannot be read|not hold a finished store"):
        Store(path.parent)


# Content


def test_the_digest_notices_changed_frames(tmp_path, original):
    store = prepare_kth(tmp_path, original, size=8, progress=False)
    digest, path = store.digest(), store.folder / f"{NAME}.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for call in (store.digest, lambda: KTH(root=tmp_path, size=8), lambda: KTH("train", root=tmp_path, size=8)):
        with pytest.raises(ZooError, match=r"1 clip of the store changed .*person01_boxing_d1\.npy\); remove"):
            call()
    KTH("test", root=tmp_path, size=8, length=30)  # which does not read this clip
    path.write_bytes(content)
    assert store.digest() == digest


def test_frames_that_were_compared_once_are_not_read_again(tmp_path, original, monkeypatch):
    store = prepare_kth(tmp_path, original, size=8, progress=False)
    monkeypatch.setattr(storing, "_SETTLED", 0)
    read, true = [], storing._digest_file
    monkeypatch.setattr(storing, "_digest_file", lambda path: read.append(path.stem) or true(path))
    first = store.digest()
    assert sorted(read) == sorted(KTH_LINES)
    assert store.digest() == Store(store.folder).digest() == first
    assert len(read) == len(KTH_LINES)
    os.utime(store.folder / f"{NAME}.npy")  # whatever may have changed is read
    assert store.digest() == first
    assert read[len(KTH_LINES) :] == [NAME]
    (store.folder / storing.CHECKED).write_text("damaged")
    assert store.digest() == first
    assert len(read) == 2 * len(KTH_LINES) + 1


def test_frames_that_were_just_written_are_compared_again(tmp_path, original, monkeypatch):
    """Another change within the same tick of the clock would not show in the file's time."""
    store = prepare_kth(tmp_path, original, size=8, progress=False)
    store.digest()
    assert store_files.read_json(store.folder / storing.CHECKED, "checked") == {"stamps": {}}


def test_a_store_that_cannot_be_written_has_a_digest(tmp_path, original, monkeypatch):
    store = prepare_kth(tmp_path, original, size=8, progress=False)
    monkeypatch.setattr(storing, "_SETTLED", 0)
    (store.folder / storing.CHECKED).unlink()
    (store.folder / storing.CHECKED).mkdir()
    assert len(store.digest()) == 64


@pytest.mark.parametrize("key", ["shape", "skipped", "bytes"])
def test_a_damaged_manifest_is_refused(tmp_path, original, key):
    path = prepare_kth(tmp_path, original, size=8, progress=False).folder / MANIFEST
    manifest = json.loads(path.read_text())
    for part in (manifest, *manifest["clips"].values()):
        part.pop(key, None)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ZooError, match="is damaged; remove it"):
        Store(path.parent)

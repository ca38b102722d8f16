"""Folders of images whose names meet each other or the store's own files, and images that are more than bytes."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo.data import Images
from zoo.data import frame_store as storing
from zoo.data.frame_store import VideoFile, build, place_in
from zoo.errors import ZooError


def write_clip(folder: Path, grey: int, count: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for t in range(count):
        Image.fromarray(np.full((8, 8), grey, np.uint8)).save(folder / f"{t}.png")


def greys(folder: Path, root: Path) -> dict[str, int]:
    """The brightness of the clips of a folder, by name. They are prepared twice, so that the store is opened again."""
    for _ in range(2):
        store = Images.prepare(folder, root, size=8, progress=False)
    assert not store.skipped
    assert store.verify() == []
    return {name: int(store.read(name, 0, 1).max()) for name in store.clips}


def test_a_folder_and_a_folder_of_its_name_in_it_are_two_clips(tmp_path: Path) -> None:
    films = tmp_path / "walk"
    for place, grey in (("", 10), ("walk", 20), ("walk/walk", 30), ("other", 40)):
        write_clip(films / place, grey)
    assert greys(films, tmp_path) == {"walk/.": 10, "walk": 20, "walk/walk": 30, "other": 40}


def test_a_folder_of_images_keeps_its_name_if_no_other_has_it(tmp_path: Path) -> None:
    for place, grey in (("", 10), ("a", 20), ("b", 30)):
        write_clip(tmp_path / "walk" / place, grey)
    assert greys(tmp_path / "walk", tmp_path) == {"walk": 10, "a": 20, "b": 30}


def test_the_clip_of_a_file_systems_root_stays_in_the_store(tmp_path: Path) -> None:
    from zoo.data.images import _own_name

    name = _own_name(Path("/"), {"a"})
    assert place_in(tmp_path, name, ".npy").parent == tmp_path


def test_two_clips_of_one_name_are_refused(tmp_path: Path) -> None:
    clips = [VideoFile("a", tmp_path / "one.avi"), VideoFile("a", tmp_path / "two.avi")]
    with pytest.raises(ZooError, match=r"2 clips for .* are named 'a'; rename"):
        build(tmp_path / "store", clips, size=(8, 8), progress=False)
    assert not (tmp_path / "store").exists()


NAMES = [
    "manifest",
    "Manifest",
    "manifest%",
    ".checked",
    "a",
    "a.npy/b",
    "a.json/b",
    ".lock/a",
    "manifest.json/a",
    "a%",
]


def test_clips_may_have_the_names_of_the_stores_own_files(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        write_clip(tmp_path / "in" / name, 10 + number)
    assert greys(tmp_path / "in", tmp_path) == {name: 10 + number for number, name in enumerate(NAMES)}


def test_other_names_are_those_of_earlier_stores(tmp_path: Path) -> None:
    for name in ("walk", "walk/fast.avi", "a.npy", "100%", "ünï.json", "person01_boxing_d1", "locked"):
        assert place_in(tmp_path, name, ".npy") == tmp_path / f"{name}.npy"
        assert place_in(tmp_path, name, ".json") == tmp_path / f"{name}.json"


def test_a_store_that_a_clip_named_manifest_had_spoilt_is_prepared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("a", "b", "manifest")):
        write_clip(tmp_path / "in" / name, 10 + number)
    with monkeypatch.context() as before:
        before.setattr(storing, "place_in", lambda folder, name, suffix: folder / f"{name}{suffix}")
        Images.prepare(tmp_path / "in", tmp_path, size=8, progress=False)
    assert greys(tmp_path / "in", tmp_path) == {"a": 10, "b": 11, "manifest": 12}


def png(bits: int, colour: int, pixels: bytes) -> bytes:
    """A PNG file of 4×4 pixels, written by hand."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    row = len(pixels) // 4
    lines = b"".join(b"\0" + pixels[row * y : row * (y + 1)] for y in range(4))
    head = struct.pack(">IIBBBBB", 4, 4, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


COLOURS = {"grey": (0, 1), "RGB": (2, 3), "grey with alpha": (4, 2), "RGB with alpha": (6, 4)}


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("bits", [8, 16])
def test_images_of_sixteen_bits_are_refused_in_every_colour(colour: str, bits: int, tmp_path: Path) -> None:
    kind, samples = COLOURS[colour]
    for name in ("a", "b"):
        write_clip(tmp_path / "in" / name, 10)
    (tmp_path / "in" / "deep").mkdir()
    content = png(bits, kind, struct.pack(">H" if bits == 16 else ">B", 200) * 16 * samples)
    (tmp_path / "in" / "deep" / "0.png").write_bytes(content)
    store = Images.prepare(tmp_path / "in", tmp_path, size=4, progress=False)
    if bits == 8:
        assert store.read("deep", 0, 1).max() == 200
    else:
        assert "0.png has more than 8 bits per value; use arrays:FILE" in store.skipped["deep"]

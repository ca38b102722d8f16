"""A folder of videos as a data set."""

import hashlib
import os
import shutil
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.videos import number, truncate, write_video
from zoo.data.decode import decode
from zoo.data.splits import split_files
from zoo.data.videos import Videos
from zoo.errors import ZooError


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    for i, (size, rate) in enumerate([((24, 32), 25), ((40, 20), 10), ((16, 16), 50), ((24, 24), 25)]):
        write_video(folder / f"part{i % 2}" / f"{i}.avi", 24 + i, size, rate=rate)
    write_video(folder / "short.avi", 3)
    (folder / "notes.mp4").write_text("not a video")
    (folder / "nothing.mp4").touch()
    (folder / "readme.txt").write_text("no video either")
    return folder


@pytest.mark.parametrize(("grey", "channels"), [(True, 1), (False, 3)])
def test_videos_of_any_size_become_clips_of_one(folder, tmp_path, grey, channels):
    sets = {s: Videos(folder, s, root=tmp_path, size=(12, 10), grey=grey, length=8) for s in ("train", "val", "test")}
    names = [name for data in sets.values() for name in data.names]
    assert sorted(names) == ["part0/0.avi", "part0/2.avi", "part1/1.avi", "part1/3.avi", "short.avi"]
    assert sorted(sets["train"].store.skipped) == ["notes.mp4", "nothing.mp4"]
    assert {line for data in sets.values() for line in data.left_out()} == {
        "notes.mp4 cannot be read as a video (Invalid data found when processing input)",
        "nothing.mp4 cannot be read as a video (it is empty)",
        "short.avi has 3 frames, but a clip needs 8",
    }
    train = sets["train"]
    clip = train[5]
    assert clip.shape == (8, channels, 12, 10)
    _, start, _ = train.places([5])[0]
    assert [number(frame) for frame in clip.numpy()] == [t % 24 for t in range(start, start + 8)]
    assert "(2 left out)" in train.describe()
    short = [data for data in sets.values() if data.short]
    assert [data.short for data in short] == [["short.avi"]]
    assert "1 shorter than a clip" in short[0].describe()


def test_changed_videos_are_decoded_again(folder, tmp_path):
    films = tmp_path / "films"
    for i in range(3):
        write_video(films / f"{i}.avi", 20 + i)
    first = Videos(films, "train", root=tmp_path, size=8, length=4)
    write_video(films / "0.avi", 30)
    second = Videos(films, "train", root=tmp_path, size=8, length=4)
    assert first.store.clips["0.avi"]["frames"] == 20
    assert second.store.clips["0.avi"]["frames"] == 30
    assert first.store.clips["1.avi"] == second.store.clips["1.avi"]


def test_whatever_is_called_a_video_is_named(tmp_path):
    films = tmp_path / "films"
    for i in range(3):
        write_video(films / f"{i}.avi", 9 + i)
    os.mkfifo(films / "pipe.mp4")
    (films / "link.mkv").symlink_to(tmp_path / "nowhere")
    (films / "folder.avi").mkdir()
    write_video(films / "cut.avi", 9)
    truncate(films / "cut.avi", 0.5)
    left_out = Videos(films, root=tmp_path, size=8, length=4).left_out()
    assert [line.partition(" (")[0].partition(": its")[0] for line in left_out] == [
        "cut.avi is cut short",
        "link.mkv cannot be read",
        "pipe.mp4 cannot be read",
    ]
    assert "(Not a regular file)" in left_out[2]


def test_turned_videos_are_prepared_upright(tmp_path):
    films = tmp_path / "films"
    for i in range(3):
        path = write_video(films / f"{i}.mp4", 9 + i, (48, 64), codec="mpeg4")
        data = bytearray(path.read_bytes())
        at = data.index(b"tkhd") + 44  # a quarter turn clockwise
        data[at : at + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
        path.write_bytes(data)
    assert Videos(films, root=tmp_path, size=(64, 48), length=4).store.digest() != ""
    with (films / "0.mp4").open("rb") as file:
        whole = np.concatenate(list(decode(file, None, True)))
    assert np.array_equal(Videos(films, root=tmp_path, size=(64, 48), length=4).store.read("0.mp4", 0, 9), whole)


def digests(count, first=0):
    return {f"{i}.mp4": hashlib.sha256(f"{i}".encode()).hexdigest() for i in range(first, first + count)}


def test_files_stay_in_their_split_when_others_come():
    files = digests(100)
    splits = split_files(files)
    assert sorted(name for split in splits.values() for name in split) == sorted(files)
    assert all(5 <= len(splits[split]) <= 15 for split in ("val", "test"))
    more = split_files({**digests(50, first=100), **files})
    assert all(set(names) <= set(more[split]) for split, names in splits.items())


@given(st.sets(st.integers(0, 2**256 - 1), min_size=3, max_size=12))
def test_no_split_is_empty_and_copies_keep_together(contents):
    files = {f"{i}.mp4": f"{content:064x}" for i, content in enumerate(sorted(contents))}
    splits = split_files({**files, **{f"copy of {name}": digest for name, digest in files.items()}})
    assert all(splits.values())
    for names in splits.values():
        assert {name for name in names if name in files} == {name[8:] for name in names if name not in files}


def test_folders_without_enough_videos_are_refused(tmp_path):
    with pytest.raises(ZooError, match="not a folder"):
        Videos(tmp_path / "none", root=tmp_path)
    with pytest.raises(ZooError, match="no videos"):
        Videos(tmp_path, root=tmp_path)
    (tmp_path / "a.avi").write_text("x")
    with pytest.raises(ZooError, match="no video can be used"):
        Videos(tmp_path, root=tmp_path / "root")
    write_video(tmp_path / "b.avi", 5)
    for copy in "cde":
        shutil.copy(tmp_path / "b.avi", tmp_path / f"{copy}.avi")
    with pytest.raises(
        ZooError, match=r"only 1 of the usable clips differs, .* at least 3; .*\(left out: a.avi cannot be"
    ):
        Videos(tmp_path, root=tmp_path / "root")

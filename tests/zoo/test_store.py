"""Decoding and keeping videos, when files are odd, damaged, changed or out of reach."""

import os
import shutil
import threading
import zipfile
from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from tests.support.videos import KTH_LINES, make_kth, truncate, write_video
from zoo.cli import COMMANDS, parse
from zoo.data import Augmentation, download_kth, make_dataset, prepare_kth, store_files
from zoo.data import decode as decoding
from zoo.data import frame_store as storing
from zoo.data.decode import BadVideo, decode
from zoo.data.frame_store import Store, VideoFile, build
from zoo.data.kth import KTH, check_kth, find_clips, members
from zoo.data.videos import Videos
from zoo.errors import ZooError
from zoo.settings import KTHData, MovingMNISTData, VideosData


@pytest.fixture
def original(tmp_path):
    return make_kth(tmp_path / "original")


def frames_of(path, size=None):
    with path.open("rb") as file:
        return np.concatenate(list(decode(file, size, grey=True)))


def write_images(path, images, codec, form):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape
        stream.pix_fmt = form
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode())
    return path


# Decoding


def test_frames_are_resized_with_antialiasing_and_rounded(tmp_path):
    stripes = np.tile(np.repeat(np.uint8([0, 255]), 2), (32, 8))
    image = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    frames = frames_of(write_images(tmp_path / "a.avi", [stripes, image], "ffv1", "gray"), (8, 8))
    assert frames.shape == (2, 1, 8, 8)
    assert abs(frames[0, 0, :, 1:-1].astype(float) - 127.5).max() <= 1  # without it, 0 and 255 alone
    exact = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None, None].double(), (8, 8), mode="bilinear", antialias=True
    )
    assert abs(frames[1] - exact[0].numpy()).max() <= 0.5 + 1e-3


def test_large_frames_are_resized_a_few_at_a_time(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.avi", 10)
    whole = frames_of(path, (8, 8))
    monkeypatch.setattr(decoding, "_PIXELS", 2 * 24 * 32)
    with path.open("rb") as file:
        parts = list(decode(file, (8, 8), grey=True))
    assert [len(part) for part in parts] == [2] * 5
    assert np.array_equal(np.concatenate(parts), whole)


def test_frames_of_several_sizes_are_resized_to_one(tmp_path):
    paths = [write_video(tmp_path / f"{i}.mjpeg", 3, size) for i, size in enumerate([(24, 32), (32, 16)])]
    (tmp_path / "both.mjpeg").write_bytes(b"".join(path.read_bytes() for path in paths))
    assert frames_of(tmp_path / "both.mjpeg", (8, 8)).shape == (6, 1, 8, 8)


def test_an_avi_cut_between_frames_is_refused(tmp_path):
    path = write_video(tmp_path / "a.avi", 40)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"00dc", len(data) // 2)])
    with pytest.raises(BadVideo, match=r"cut short: its parts take [\d,]+ bytes, but it has [\d,]+"):
        frames_of(path)


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_a_video_without_a_frame_count_that_is_cut_short_is_refused(tmp_path, suffix):
    path = write_video(tmp_path / f"a.{suffix}", 60, codec="mpeg4" if suffix == "mkv" else "libvpx")
    assert len(frames_of(path)) == 60
    truncate(path, 0.6)
    with pytest.raises(BadVideo, match=r"cut short: its parts take [\d,]+ bytes, but it has [\d,]+"):
        frames_of(path)


# The store


def test_a_video_that_could_not_be_read_is_tried_again(tmp_path, monkeypatch):
    films = tmp_path / "films"
    for i in range(4):
        write_video(films / f"{i}.avi", 8 + i)
    opened = VideoFile.open

    def forbidden(self):
        if self.name == "2.avi":
            raise PermissionError(13, "Permission denied")
        return opened(self)

    monkeypatch.setattr(VideoFile, "open", forbidden)
    assert Videos(films, root=tmp_path, size=8, length=4).store.skipped == {
        "2.avi": "cannot be read (Permission denied)"
    }
    monkeypatch.undo()
    (films / "2.avi").chmod(0o640)  # its content is as old as before
    assert not Videos(films, root=tmp_path, size=8, length=4).store.skipped


def test_a_store_made_in_another_way_is_made_again(tmp_path, original, monkeypatch):
    store = prepare_kth(tmp_path, original, size=8, progress=False)
    before = store.digest()
    monkeypatch.setattr(storing, "METHOD", "another")
    monkeypatch.setattr(store_files, "METHOD", "another")
    with pytest.raises(ZooError, match="not hold a finished store"):
        Store(store.folder)
    decoded = []
    monkeypatch.setattr(
        storing, "decode", lambda *arguments, **options: decoded.append(1) or decode(*arguments, **options)
    )
    assert prepare_kth(tmp_path, original, size=8, progress=False).digest() != before
    assert len(decoded) == len(KTH_LINES)


def test_nothing_opens_while_a_store_is_made_again(tmp_path, original, monkeypatch):
    store = prepare_kth(tmp_path, original, size=8, progress=False)
    write_video(original / "person01_boxing_d1_uncomp.avi", 44)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(storing, "_write_header", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_kth(tmp_path, original, size=8, progress=False)
    with pytest.raises(ZooError, match="not hold a finished store"):
        Store(store.folder)


def test_leftovers_of_a_killed_process_are_removed(tmp_path, original):
    store = prepare_kth(tmp_path, original, size=8, progress=False)
    left = store.folder / ".tensortrain-left.tmp"
    left.mkdir()
    (left / "person01_boxing_d1.npy").touch()
    write_video(original / "person01_boxing_d1_uncomp.avi", 44)
    prepare_kth(tmp_path, original, size=8, progress=False)
    assert not left.exists()


def test_files_that_change_under_an_open_store_are_refused(tmp_path, original):
    store = prepare_kth(tmp_path, original, size=8, progress=False)
    path = store.folder / "person01_boxing_d1.npy"
    assert store.read("person01_boxing_d1", 3, 2).shape == (2, 1, 8, 8)
    np.save(path, np.zeros((3, 1, 8, 8), np.uint8))
    with pytest.raises(ZooError, match="has changed since the store was opened"):
        store.read("person01_boxing_d1", 0, 2)
    path.write_bytes(b"no array")
    with pytest.raises(ZooError, match="cannot be read"):
        store.read("person01_boxing_d1", 0, 2)
    path.unlink()
    with pytest.raises(ZooError, match="cannot be read"):
        store.read("person01_boxing_d1", 0, 2)


def test_names_that_are_not_unicode_are_read(tmp_path):
    films = tmp_path / os.fsdecode(b"films\xff")
    for i in range(3):
        write_video(tmp_path / f"{i}.avi", 8 + i)
        films.mkdir(exist_ok=True)
        shutil.move(tmp_path / f"{i}.avi", films / os.fsdecode(b"%d\xe9.avi" % i))
    assert Videos(films, root=tmp_path, size=8, length=4)[0].shape == (4, 1, 8, 8)


def test_several_videos_are_decoded_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    both = threading.Barrier(2, timeout=30)
    sources = [VideoFile(str(i), tmp_path / str(i)) for i in range(2)]
    assert len(list(storing.in_parallel(sources, lambda *_: both.wait(), "waiting", False))) == 2


def test_progress_is_shown(tmp_path, original, capfd):
    prepare_kth(tmp_path, original, size=8)
    said = capfd.readouterr().err
    assert "decoding" in said
    assert "5/5" in said


def test_progress_counts_frames(tmp_path, capfd):
    for i in range(3):
        write_video(tmp_path / "films" / f"{i}.avi", 39 + i)
    Videos(tmp_path / "films", root=tmp_path, size=8, length=4)
    assert "120 frames" in capfd.readouterr().err


# What there is of KTH


def test_the_check_lists_whatever_is_wrong(tmp_path, original):
    (original / "person02_running_d1_uncomp.avi").unlink()
    (original / "person02_running_d1_uncomp.avi").symlink_to(tmp_path / "nowhere")
    (original / "person15_walking_d2_uncomp.avi").unlink()
    (original / "person15_walking_d2_uncomp.avi").mkdir()
    (original / "boxing.zip").write_text("no archive")
    faults = check_kth(source=original, root=tmp_path, progress=False)
    assert any("boxing.zip cannot be read as a zip archive" in line for line in faults)
    os.mkfifo(original / "person20_jogging_d4_uncomp.avi.pipe")
    os.replace(original / "person20_jogging_d4_uncomp.avi.pipe", original / "person20_jogging_d4_uncomp.avi")
    assert "person20_jogging_d4: cannot be read (Not a regular file)" in check_kth(
        source=original, root=tmp_path, progress=False
    )
    assert "person02_running_d1: cannot be read (No such file or directory)" in faults
    assert "person15_walking_d2: cannot be read (Is a directory)" in faults
    (original / "boxing.zip").unlink()
    store = prepare_kth(tmp_path, original, size=8, progress=False)
    assert sorted(store.skipped) == ["person02_running_d1", "person15_walking_d2", "person20_jogging_d4"]
    data = bytearray((store.folder / "person17_boxing_d3.npy").read_bytes())
    data[-1] ^= 1
    (store.folder / "person17_boxing_d3.npy").write_bytes(data)
    faults = check_kth(source=original, root=tmp_path, progress=False)
    assert f"{store.folder}: person17_boxing_d3 has changed since it was written; remove its files" in faults


def test_the_check_lists_published_overlaps(tmp_path):
    folder = make_kth(tmp_path / "kth", {"person17_boxing_d1": (192, "1-110, 110-192")})
    assert check_kth(source=folder, root=tmp_path, progress=False) == [
        "person17_boxing_d1: ranges 1-110 and 110-192 overlap, as published"
    ]


def test_ambiguous_or_unknown_clips_are_refused(tmp_path, original):
    (original / "more").mkdir()
    shutil.copy(original / "person01_boxing_d1_uncomp.avi", original / "more")
    with pytest.raises(ZooError, match="person01_boxing_d1 is both in"):
        find_clips(original)
    shutil.rmtree(original / "more")
    write_video(original / "person03_boxing_d1_uncomp.avi", 3)
    with pytest.raises(ZooError, match="lists no ranges"):
        find_clips(original)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("person01_boxing_d1_uncomp.avi", bytes((1 << 28) + 1))
    with pytest.raises(ZooError, match="would have 268,435,457 bytes"):
        members(tmp_path / "bomb.zip")


def test_a_damaged_archive_is_fetched_again(tmp_path, original, monkeypatch):
    folder = tmp_path / "kth"
    folder.mkdir()
    shutil.copy(original / "00sequences.txt", folder)
    (folder / "boxing.zip").write_text("no archive")
    with pytest.raises(ZooError, match=r"/boxing.zip cannot be downloaded"):
        download_kth(tmp_path, mirror="http://127.0.0.1:9", progress=False)


def test_the_command_downloads_from_its_mirror(tmp_path):
    words = ["data", "kth", "--root", str(tmp_path), "--download", "--mirror", "http://127.0.0.1:9/there"]
    with pytest.raises(ZooError, match=r"http://127.0.0.1:9/there/00sequences.txt cannot be downloaded"):
        COMMANDS["data"].run(parse(words).data)


@pytest.mark.parametrize("words", ["kth --mirror http://127.0.0.1:9", "mnist --check", "mnist --source there"])
def test_options_that_would_mean_nothing_are_refused(tmp_path, words):
    with pytest.raises(ZooError, match=r"leave (it|them|--mirror) out"):
        COMMANDS["data"].run(parse(["data", *words.split(), "--root", str(tmp_path)]).data)


# Settings that reach the data


def test_settings_of_kth_reach_the_data_set(tmp_path, original):
    prepare_kth(tmp_path, original, size=16, progress=False)
    data = KTHData(size=16, observed=3, length=8, windows="mcnet", seed=4)
    test = make_dataset(data, "test", tmp_path, 8)
    expected = KTH("test", root=tmp_path, size=16, length=8, windows="mcnet", observed=3)
    assert test.places(range(len(test))) == expected.places(range(len(expected)))
    assert len(test) != len(KTH("test", root=tmp_path, size=16, length=8, windows="mcnet", observed=4))
    train = make_dataset(data, "train", tmp_path)
    assert train.places(range(9)) == KTH("train", root=tmp_path, size=16, length=8, seed=4).places(range(9))
    assert train.places(range(9)) != KTH("train", root=tmp_path, size=16, length=8).places(range(9))
    faster = make_dataset(replace(data, flip=True, max_zoom=1.5, max_speed=2), "train", tmp_path)
    assert faster.augmentation == Augmentation(flip=True, max_zoom=1.5, max_speed=2)
    assert {stride for _, _, stride in faster.places(range(50))} == {1, 2}
    with pytest.raises(ZooError, match="here 0; predict at least 1"):
        make_dataset(data, "test", tmp_path, 3)


def test_settings_of_videos_and_digits_reach_the_data_set(tmp_path):
    for i in range(3):
        write_video(tmp_path / "films" / f"{i}.avi", 16 + i)
    data = VideosData(name=f"videos:{tmp_path}/films", size=16, length=5, observed=2)
    for split in ("val", "test"):
        dataset = make_dataset(data, split, tmp_path)
        assert dataset.clips([0]).shape == (1, 5, 1, 16, 16)
        assert sorted(start for _, start, _ in dataset.places(range(len(dataset)))) == [0, 5, 10]
    faster = make_dataset(replace(data, flip=True, max_zoom=1.5, max_speed=2), "train", tmp_path)
    assert faster.augmentation == Augmentation(flip=True, max_zoom=1.5, max_speed=2)
    digits = MovingMNISTData(source="embedded", seed=1)
    one, other = (make_dataset(each, "train", tmp_path) for each in (digits, MovingMNISTData(source="embedded")))
    assert not torch.equal(one.clips([0]), other.clips([0]))
    one, other = (make_dataset(each, "test", tmp_path) for each in (digits, MovingMNISTData(source="embedded")))
    assert torch.equal(one.clips([0]), other.clips([0]))


def test_memory_that_runs_out_is_no_fault_of_the_video(tmp_path, original, monkeypatch):
    def exhausted(*_, **__):
        raise RuntimeError("not enough memory")

    monkeypatch.setattr(storing, "decode", exhausted)
    with pytest.raises(RuntimeError, match="not enough memory"):
        build(tmp_path / "store", find_clips(original), size=(8, 8), progress=False)
    monkeypatch.undo()
    assert not build(tmp_path / "store", find_clips(original), size=(8, 8), progress=False).skipped

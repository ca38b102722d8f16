"""KTH: ranges, rules, the store and its clips."""

import errno
import functools
import http.server
import os
import resource
import shutil
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
import torch
from filelock import FileLock

from tests.support.videos import KTH_LINES, make_kth, number, truncate
from zoo.cli import COMMANDS, parse
from zoo.data import download_kth, make_dataset
from zoo.data import frame_store as storing
from zoo.data.frame_store import Store
from zoo.data.kth import ARCHIVES, KTH, check_kth, count_windows, members, prepare_kth, split_persons
from zoo.data.kth_annotations import Range, read_sequences
from zoo.data.kth_windows import HOW, window_starts
from zoo.errors import ZooError
from zoo.settings import KTHData


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    return make_kth(tmp_path_factory.mktemp("original") / "kth")


@pytest.fixture(scope="session")
def root(tmp_path_factory, original):
    root = tmp_path_factory.mktemp("root")
    prepare_kth(root, original, size=16, progress=False)
    return root


def test_the_annotation_file_is_read(original):
    ranges = read_sequences(original / "00sequences.txt")
    assert ranges["person01_boxing_d1"] == (Range(1, 25), Range(26, 40))
    assert ranges["person13_handclapping_d3"] == ()
    assert len(ranges) == 6


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("person01_boxing_d1 frames 1-20, 20-30", "overlap"),
        ("person01_boxing_d1 frames 30-40, 1-30", "overlap"),
        ("person01_boxing_d1 frames 20-1", "reversed"),
        ("person01_boxing_d1 frames 0-10", "before 1"),
        ("person26_boxing_d1 frames 1-10", "is not a clip"),
        ("person01_boxing_d5 frames 1-10", "is not a clip"),
        ("person01_boxing_d1 frames 1-x", "first-last"),
        ("person01_boxing_d1 1-10", "first-last"),
        ("person01_boxing_d1 frames 1-10\nperson01_boxing_d1 frames 1-10", "twice"),
        ("nothing", "names no clip"),
        ("person01_boxing_d1 frames 1-" + "9" * 5_000, "first-last"),
        ("person01_boxing_d1 frames 1-1000000", "first-last"),
        ("person01_boxing_d1 frames " + ", ".join(f"{i}-{i}" for i in range(1, 102)), "101 ranges, more than 100"),
        ("person01_boxing_d1 frames 1-2\n" + "\n" * (1 << 20), "more than 1,048,576 bytes"),
        ("person01_boxing_d1 frames ١-٢", "cannot be read"),
        ("person01_boxing_d1 frames 1-2\0", "first-last"),
        ("person01_boxing_d1 frames 1-10\npersn01_boxing_d2 frames 1-10", "'persn01_boxing_d2' is not a clip"),
    ],
)
def test_a_damaged_annotation_file_is_refused(tmp_path, line, words):
    (tmp_path / "s.txt").write_text(line, "utf-8")
    with pytest.raises(ZooError, match=words):
        read_sequences(tmp_path / "s.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(ZooError, match=r"cannot be read .*Not a regular file"):
        read_sequences(tmp_path / "pipe.txt")
    with pytest.raises(ZooError, match="cannot be read"):
        read_sequences(tmp_path / "none.txt")


def released_predrnn(frames, length, fast):
    """Which windows the released loader finds, by its own walk over the listed frames."""
    starts, index = [], len(frames) - 1
    while index >= length - 1:
        if frames[index] - frames[index - length + 1] == length - 1:
            starts.append(frames[index - length + 1] - 1)
            index -= 2 if fast else length - 1
        index -= 1
    return sorted(starts)


@pytest.mark.parametrize("action", ["boxing", "running"])
@pytest.mark.parametrize("length", [5, 20, 30])
def test_predrnn_windows_are_those_of_the_released_walk(action, length):
    for ranges in ([Range(1, 25), Range(26, 70), Range(80, 100)], [Range(60, 95), Range(2, 40)], [Range(1, 4)]):
        frames = [frame for each in sorted(ranges) for frame in range(each.first, each.last + 1)]
        assert window_starts(ranges, action, length, 10, "predrnn") == released_predrnn(
            frames, length, action == "running"
        )


def test_mcnet_and_conv_tt_lstm_windows_start_where_they_should():
    ranges = [Range(1, 70), Range(80, 111)]
    assert window_starts(ranges, "boxing", 30, 10, "mcnet") == [1, 21]
    assert window_starts(ranges, "jogging", 30, 10, "mcnet") == [*range(1, 39, 3)]
    assert window_starts(ranges, "running", 30, 10, "conv-tt-lstm") == [0, 30, 79]
    with pytest.raises(ZooError, match="did you mean 'mcnet'"):
        window_starts(ranges, "boxing", 30, 10, "mcnets")


def test_counts_say_why(original):
    ranges = read_sequences(original / "00sequences.txt")
    assert count_windows(ranges, range(17, 26), 40, "predrnn") == (
        "2 (boxing 1, jogging 1) from 3 ranges, 1 of them shorter than 40 frames; backwards from the end of each "
        "run, in steps of a window length (jogging and running: 3 frames)"
    )
    assert count_windows(ranges, [17], 80, "conv-tt-lstm").startswith(
        "0 from 2 ranges, 2 of them shorter than 80 frames"
    )


def test_no_person_is_in_two_splits():
    splits = split_persons((15, 16))
    assert sorted(person for split in splits.values() for person in split) == list(range(1, 26))
    assert splits["test"] == list(range(17, 26))
    for wrong in ((17,), (0,), (3, 3), (), range(1, 17)):
        with pytest.raises(ZooError, match="validation"):
            split_persons(wrong)


def test_training_clips_lie_in_ranges(root):
    train = KTH("train", root=root, size=16, length=20, endless=True)
    assert len(train) == 10_000
    starts = {}
    for name, start, _ in train.places(range(2_000)):
        starts.setdefault(name, set()).add(start)
    assert starts == {"person01_boxing_d1": set(range(6)), "person02_running_d1": set(range(2, 21))}
    clip, again = train.clips([7, 10_007]), KTH("train", root=root, size=16, endless=True)[7]
    assert clip.shape == (2, 20, 1, 16, 16)
    assert torch.equal(clip[0], again)
    _, start, _ = train.places([7])[0]
    assert [number(frame) for frame in clip[0].numpy()] == [t % 24 for t in range(start, start + 20)]
    assert train.places(range(50)) != train.places(range(10_000, 10_050))
    assert train.places(range(50)) != KTH("train", root=root, size=16, seed=1).places(range(50))
    with pytest.raises(ZooError, match="out of range"):
        KTH("train", root=root, size=16)[10_000]


def test_validation_and_test_clips_are_all_windows_of_their_persons(root):
    assert {window.name for window in KTH("val", root=root, size=16).windows} == {"person15_walking_d2"}
    test = KTH("test", root=root, size=16, length=30)
    places = test.places(range(len(test)))
    assert sorted(places)[:2] == [("person17_boxing_d3", 10, 1), ("person17_boxing_d3", 40, 1)]
    assert [number(clip[0].numpy()) for clip in test] == [start % 24 for _, start, _ in places]
    assert len(test) == 2 + 4
    many = KTH("test", root=root, size=16, length=6)
    assert len({name for name, _, _ in many.places(range(6))}) == 2  # of 11 and 12: the first clips are a mixture
    assert "predrnn" in test.describe()
    assert test.comparable_with == "kth, 16×16"
    rule = KTH("test", root=root, size=16, length=6, windows="conv-tt-lstm")
    assert rule.comparable_with == "kth, 16×16, windows by conv-tt-lstm"
    with pytest.raises(ZooError, match="no clip has 80 frames"):
        KTH("test", root=root, size=16, length=80)
    with pytest.raises(ZooError, match="not hold a finished store"):
        KTH("test", root=root, size=17)


def test_a_second_preparation_decodes_nothing(root, original, monkeypatch):
    monkeypatch.setattr(storing, "decode", lambda *_, **__: pytest.fail("decoded again"))
    before = (root / "kth/store-16x16/manifest.json").stat().st_mtime_ns
    store = prepare_kth(root, original, size=16, progress=False)
    assert (root / "kth/store-16x16/manifest.json").stat().st_mtime_ns == before
    assert store.verify() == []


def test_archives_and_files_give_the_same(root, original, tmp_path):
    folder = tmp_path / "zips"
    folder.mkdir()
    shutil.copy(original / "00sequences.txt", folder)
    for action in {name.split("_")[1] for name in KTH_LINES}:
        with zipfile.ZipFile(folder / f"{action}.zip", "w") as archive:
            for path in original.glob(f"*_{action}_*"):
                archive.write(path, path.name)
    store = prepare_kth(tmp_path, folder, size=16, progress=False)
    other = Store(root / "kth/store-16x16")
    assert {n: c["sha256"] for n, c in store.clips.items()} == {n: c["sha256"] for n, c in other.clips.items()}
    assert store.digest() == other.digest()  # wherever the files came from


@pytest.mark.parametrize("name", ["/etc/x_uncomp.avi", "../x_uncomp.avi", "a/../../x", "..\\x", "C:/x"])
def test_unsafe_archives_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "boxing.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(ZooError, match="points out of the folder"):
        members(tmp_path / "boxing.zip")
    (tmp_path / "boxing.zip").write_bytes(b"no archive")
    with pytest.raises(ZooError, match="zip archive"):
        members(tmp_path / "boxing.zip")


def test_bad_clips_are_listed(tmp_path):
    lines = {**KTH_LINES, "person03_boxing_d1": (40, "1-45"), "person04_boxing_d1": (30, "1-25")}
    folder = make_kth(tmp_path / "kth", lines, skip=["person17_boxing_d3"])
    (folder / "person01_boxing_d1_uncomp.avi").write_text("not a video")
    truncate(folder / "person02_running_d1_uncomp.avi", 0.6)
    faults = check_kth(tmp_path, progress=False)
    assert [line.partition(":")[0] for line in faults] == [
        "person01_boxing_d1",
        "person02_running_d1",
        "person03_boxing_d1",
        "person04_boxing_d1",
        "person17_boxing_d3",
    ]
    assert "cannot be read" in faults[0]
    assert "but at least 45 are needed" in faults[2]
    assert "has 30 frames, but its ranges end at 25" in faults[3]
    assert faults[4].endswith("missing")
    store = prepare_kth(tmp_path, size=16, progress=False)
    assert sorted(store.skipped) == ["person01_boxing_d1", "person02_running_d1", "person03_boxing_d1"]
    assert "(3 left out)" in KTH("train", root=tmp_path, size=16).describe()


def test_many_missing_clips_are_counted(tmp_path, data_root):
    folder = make_kth(tmp_path / "kth", skip=["person02_running_d1"])
    assert check_kth(tmp_path, progress=False) == ["person02_running_d1: missing"]
    shutil.copyfile(data_root / "kth" / "00sequences.txt", folder / "00sequences.txt")
    faults = [line for line in check_kth(tmp_path, progress=False) if "missing" in line]
    assert faults == [
        "595 of 599 clips are missing: person01_boxing_d2, person01_boxing_d3, person01_boxing_d4, "
        "person01_handclapping_d1, person01_handclapping_d2, …"
    ]


def test_many_damaged_clips_are_counted(tmp_path):
    folder = make_kth(tmp_path / "kth", {f"person{i:02}_boxing_d1": (30, "1-25") for i in range(1, 10)})
    for i in range(1, 8):
        (folder / f"person{i:02}_boxing_d1_uncomp.avi").write_text("not a video")
    counted, eighth, ninth = check_kth(tmp_path, progress=False)
    names = ", ".join(f"person{i:02}_boxing_d1" for i in range(1, 6))
    assert counted == f"7 of 9 clips cannot be used: {names}, …"
    assert eighth.startswith("person08_boxing_d1: has 30 frames")
    assert ninth.startswith("person09_boxing_d1: has 30 frames")


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_preparation_does_not_open(tmp_path, original, monkeypatch, failure):
    true, done = storing._write_header, []

    def failing(*arguments):
        done.append(1)
        if len(done) == 4:
            raise failure
        true(*arguments)

    monkeypatch.setattr(storing, "_write_header", failing)
    monkeypatch.setattr(storing.os, "cpu_count", lambda: 1)
    with pytest.raises((KeyboardInterrupt, ZooError)) as error:
        prepare_kth(tmp_path, original, size=16, progress=False)
    if isinstance(failure, OSError):
        assert "No space left" in str(error.value)
    folder = tmp_path / "kth/store-16x16"
    assert not list(folder.glob(".*tmp"))
    with pytest.raises(ZooError, match="not hold a finished store"):
        Store(folder)
    monkeypatch.setattr(storing, "_write_header", true)
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*.npy") if path.with_suffix(".json").exists()}
    assert kept
    assert len(prepare_kth(tmp_path, original, size=16, progress=False).clips) == len(KTH_LINES)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


def test_a_full_disk_leaves_an_unfinished_store(tmp_path, original):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))  # of the clips' 160 kB and more
    try:
        with pytest.raises(ZooError, match=r"cannot write .*too large"):
            prepare_kth(tmp_path, original, size=64, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [path.name for path in (tmp_path / "kth/store-64x64").iterdir()] == [".lock"]
    with pytest.raises(ZooError, match="prepare it with: zoo data kth --size 64"):
        KTH(root=tmp_path, size=64)


def test_two_preparing_processes_decode_each_clip_once(tmp_path, original, monkeypatch, capsys):
    true, stored = storing._store, []
    monkeypatch.setattr(storing, "_store", lambda *arguments: stored.append(1) or true(*arguments))
    folder = tmp_path / "kth/store-16x16"
    folder.mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        with FileLock(folder / ".lock"):
            calls = [pool.submit(prepare_kth, tmp_path, original, size=16) for _ in range(2)]
            done, _ = wait(calls, timeout=0.5)
            assert not done
            assert not stored
        digests = {one.result(timeout=600).digest() for one in calls}
    assert len(digests) == 1
    assert len(stored) == len(KTH_LINES)  # each clip once
    assert "waiting for another process" in capsys.readouterr().err


def test_damage_in_the_store_is_found(tmp_path, original):
    store = prepare_kth(tmp_path, original, size=16, progress=False)
    path = store.folder / "person01_boxing_d1.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert store.verify() == ["person01_boxing_d1"]
    truncate(path, 0.5)
    with pytest.raises(ZooError, match="cut short"):
        Store(store.folder)


def test_a_download_is_complete_or_refused(tmp_path, original, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(original / "00sequences.txt", site)
    for name in ARCHIVES:
        with zipfile.ZipFile(site / name, "w") as archive:
            for path in original.glob(f"*_{name.removesuffix('.zip')}_*"):
                archive.write(path, path.name)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        mirror = f"http://127.0.0.1:{server.server_port}/"
        (site / "boxing.zip").rename(site / "away")
        with pytest.raises(ZooError, match=r"boxing.zip cannot be downloaded .*ZOO_KTH_MIRROR"):
            download_kth(tmp_path / "root", mirror=mirror, progress=False)
        (site / "boxing.zip").write_text("no archive")
        with pytest.raises(ZooError, match=r"boxing.zip has a wrong checksum"):
            download_kth(tmp_path / "root", mirror=mirror, progress=False)
        (site / "away").rename(site / "boxing.zip")
        folder = download_kth(tmp_path / "root", mirror=mirror, progress=False)
        server.shutdown()
    assert sorted(path.name for path in folder.iterdir()) == sorted(["00sequences.txt", *ARCHIVES])
    assert len(prepare_kth(tmp_path / "root", size=8, progress=False).clips) == len(KTH_LINES)


def test_the_command_prepares_and_counts(tmp_path, original, capsys):
    data = parse(["data", "kth", "--root", str(tmp_path), "--source", str(original), "--size", "8"])
    COMMANDS["data"].run(data.data)
    said = capsys.readouterr().out
    assert "train, persons 1–14: 2 of 335 clips, 25 positions of 20 frames" in said
    assert "test, persons 17–25: 2 of 216 clips" in said
    assert "test 10→20 by predrnn: 6 (boxing 2, jogging 4) from 3 ranges, 0 of them shorter than 30 frames" in said
    assert "test 10→40 by mcnet: 0 from 3 ranges, 3 of them shorter than 50 frames" in said
    COMMANDS["data"].run(parse(["data", "kth", "--root", str(tmp_path), "--source", str(original), "--check"]).data)
    assert "no faults" in capsys.readouterr().out


def test_make_dataset_makes_the_same_data_set(root):
    dataset = make_dataset(KTHData(size=16), "test", root, 30)
    assert len(dataset.digest()) == 64
    assert dataset.digest() == dataset.store.digest()
    assert dataset.describe() == KTH("test", root=root, size=16, length=30).describe()


def test_all_of_kth_has_the_counts_of_the_docstring(data_root):
    by_name = read_sequences(data_root / "kth/00sequences.txt")
    assert len(by_name) == 600
    assert [name for name, ranges in by_name.items() if not ranges] == ["person13_handclapping_d3"]
    counts = {
        length: [
            int(count_windows(by_name, range(17, 26), length, windows).split()[0].replace(",", "")) for windows in HOW
        ]
        for length in (30, 50)
    }
    assert counts == {30: [5_045, 5_335, 2_380], 50: [2_496, 2_278, 1_251]}  # as the rules' docstring says


@pytest.mark.parametrize("part", [0.1, 0.4])
def test_a_real_clip_cut_short_is_not_used(data_root, tmp_path, part):
    name = "person23_running_d3"
    for file in ("00sequences.txt", f"{name}_uncomp.avi"):
        shutil.copyfile(data_root / "kth" / file, tmp_path / file)
    truncate(tmp_path / f"{name}_uncomp.avi", part)
    assert any(
        line.startswith(f"{name}: is cut short: its parts take") for line in check_kth(source=tmp_path, progress=False)
    )
    with pytest.raises(ZooError, match="no video can be used"):
        prepare_kth(tmp_path, tmp_path, progress=False)


def test_real_clips_have_their_published_lengths(data_root, tmp_path):
    names = ("person01_boxing_d1", "person23_running_d3")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("00sequences.txt", *(f"{name}_uncomp.avi" for name in names)):
        shutil.copyfile(data_root / "kth" / name, source / name)
    store = prepare_kth(tmp_path, source, progress=False)
    assert {name: store.clips[name]["frames"] for name in names} == dict(zip(names, (360, 280), strict=True))
    clip = KTH("train", root=tmp_path)[0]
    assert clip.shape == (20, 1, 128, 128)
    assert 0 < np.asarray(clip).mean() < 1

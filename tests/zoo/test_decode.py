"""Decoding gives what a player shows: turned, cut by edit lists, with frames dropped or held; no absurd sizes."""

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.support.videos import number, write_video
from zoo.data import decode as decoding
from zoo.data.decode import BadVideo, decode


def frames_of(data: bytes | Path, grey: bool = True) -> np.ndarray:
    content = data.read_bytes() if isinstance(data, Path) else bytes(data)
    return np.concatenate(list(decode(io.BytesIO(content), None, grey)))


def numbers(data: bytes | Path) -> list[int]:
    """The numbers of the frames, as `write_video` counts them."""
    return [number(frame / 255) for frame in frames_of(data)]


# Display matrices


@pytest.fixture(scope="module")
def corner(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MP4 of 64×48 that is bright in its top left quarter, as stored."""
    path = tmp_path_factory.mktemp("corner") / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        image = np.zeros((48, 64, 3), np.uint8)
        image[:24, :32] = 255
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path.read_bytes()


def shown_by(data: bytes, a: float, b: float, c: float, d: float, one: int = 65536) -> bytes:
    """The video with another display matrix in its track header."""
    content = bytearray(data)
    at = content.index(b"tkhd") + 4 + (40 if content[content.index(b"tkhd") + 4] == 0 else 52)
    matrix = [round(each * one) for each in (a, b, 0, c, d, 0, 0, 0)]
    content[at : at + 36] = struct.pack(">9i", *matrix, 1 << 30)
    return bytes(content)


@pytest.mark.parametrize(
    ("matrix", "upright", "row", "column"),
    [
        ((1, 0, 0, 1), True, 0, 0),
        ((0, 1, -1, 0), False, 0, 1),  # a quarter turn clockwise
        ((-1, 0, 0, -1), True, 1, 1),
        ((0, -1, 1, 0), False, 1, 0),
        ((-1, 0, 0, 1), True, 0, 1),  # mirrored, as front cameras do
        ((1, 0, 0, -1), True, 1, 0),
        ((0, 1, 1, 0), False, 0, 0),
        ((0, -1, -1, 0), False, 1, 1),
        ((2, 0, 0, -0.5), True, 1, 0),  # how large it is shown does not matter
        ((0.9999, 0.01, -0.01, 0.9999), True, 0, 0),
        ((0, 0, 0, 0), True, 0, 0),  # players ignore these two
        ((-1, 0, 0, 0), True, 0, 0),
    ],
)
@pytest.mark.parametrize("grey", [True, False])
def test_frames_are_turned_and_mirrored(
    corner: bytes, matrix: tuple[float, ...], upright: bool, row: int, column: int, grey: bool
) -> None:
    frames = frames_of(shown_by(corner, *matrix), grey)
    height, width = (48, 64) if upright else (64, 48)
    assert frames.shape == (3, 1 if grey else 3, height, width)
    quarters = frames.reshape(-1, 2, height // 2, 2, width // 2).mean((0, 2, 4)) > 100
    assert np.argwhere(quarters).tolist() == [[row, column]]


@pytest.mark.parametrize(
    ("matrix", "angle"), [((0.7071, 0.7071, -0.7071, 0.7071), 45), ((0.9, 0.1, -0.1, 0.9), 6), ((1, 0.5, 0, 1), 27)]
)
def test_frames_at_an_angle_are_refused(corner: bytes, matrix: tuple[float, ...], angle: int) -> None:
    with pytest.raises(BadVideo, match=f"shown at an angle of {angle}°; only quarter turns and mirrors are read"):
        frames_of(shown_by(corner, *matrix))


# Frames that are hidden, dropped or held


def remux(source: Path, target: Path, change, options: dict[str, str] | None = None) -> Path:
    """Copy the packets without encoding them again; `change` gets each packet's number, and leaves it out by None."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options or {}) as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for k, packet in enumerate(packet for packet in old.demux(stream) if packet.size):
            if change(k, packet, stream.time_base) is not None:
                packet.stream = copy
                new.mux(packet)
    return target


def shift(frames: int):
    """A change that makes a video begin so many frames of 1/25 s later."""

    def change(k: int, packet: av.Packet, time_base) -> av.Packet:
        packet.pts = packet.dts = packet.pts - round(frames / 25 / time_base)
        return packet

    return change


def test_an_edit_list_hides_the_lead_in(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", 23, codec="mpeg4")
    editing = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    assert numbers(remux(source, tmp_path / "b.mp4", shift(8), editing)) == list(range(8, 23))
    assert numbers(remux(source, tmp_path / "c.mov", shift(8), editing)) == list(range(8, 23))
    assert numbers(remux(source, tmp_path / "d.mp4", shift(-8), editing)) == list(range(23))  # it begins with a pause


def test_an_edit_list_hides_the_end(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4", 23, codec="mpeg4")
    data = bytearray(source.read_bytes())
    at = data.index(b"elst") + 4  # version and flags, number of edits, then length, begin and speed of the first
    assert data[at : at + 8] == bytes((0, 0, 0, 0, 0, 0, 0, 1))
    data[at + 8 : at + 12] = struct.pack(">I", 400)  # of 920 milliseconds
    assert numbers(data) == list(range(10))


@pytest.mark.parametrize("dropped", [(3,), (10, 11, 12, 20), (1, 2, 22)])
@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
def test_dropped_frames_are_not_missed(tmp_path: Path, suffix: str, dropped: tuple[int, ...]) -> None:
    source = write_video(tmp_path / "a.avi", 23)
    path = remux(source, tmp_path / f"b.{suffix}", lambda k, packet, _: None if k in dropped else packet)
    if suffix == "avi" and 22 not in dropped:
        assert b"00dc\0\0\0\0" in path.read_bytes()  # an empty chunk
    assert numbers(path) == [k for k in range(23) if k not in dropped]


@pytest.mark.parametrize("suffix", ["avi", "mkv", "webm", "mp4"])
def test_frames_may_be_shown_for_different_times(tmp_path: Path, suffix: str) -> None:
    source = write_video(tmp_path / f"a.{suffix}", 12, codec="libvpx" if suffix == "webm" else "mpeg4")

    def stretch(k: int, packet: av.Packet, time_base) -> av.Packet:
        packet.pts = packet.dts = packet.pts + round(k * k / 25 / time_base)
        return packet

    assert numbers(remux(source, tmp_path / f"b.{suffix}", stretch)) == list(range(12))


def test_the_last_frame_of_matroska_may_be_held(tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mkv", 12, codec="mpeg4")

    def hold(k: int, packet: av.Packet, time_base) -> av.Packet:
        packet.duration = round((30 if k == 11 else 1 / 25) / time_base)
        return packet

    path = remux(source, tmp_path / "b.mkv", hold)
    with av.open(str(path)) as container:
        assert container.duration > 30 * av.time_base
    assert numbers(path) == list(range(12))


@pytest.mark.parametrize("count", [0, 1, 13, 2**31])
def test_the_number_of_frames_in_a_header_does_not_matter(tmp_path: Path, count: int) -> None:
    data = bytearray(write_video(tmp_path / "a.avi", 12).read_bytes())
    for name, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        at = data.index(name) + offset
        assert data[at : at + 4] == struct.pack("<I", 12)
        data[at : at + 4] = struct.pack("<I", count)
    assert numbers(data) == list(range(12))


@pytest.mark.parametrize("duration", [b"99:00:00.000000000", b"00:00:00.000000001", b"nonsense\xff\xfe", b"1:2:3:4:5"])
def test_what_matroska_says_of_its_duration_does_not_matter(tmp_path: Path, duration: bytes) -> None:
    data = write_video(tmp_path / "a.mkv", 12, codec="mpeg4").read_bytes()
    at = data.index(b"00:00:00.480000000")
    assert numbers(data[:at] + duration.ljust(18, b"\0") + data[at + 18 :]) == list(range(12))


@pytest.mark.parametrize("film", [True, False])
def test_the_cover_of_a_song_is_no_video(tmp_path: Path, film: bool) -> None:
    from av.stream import Disposition

    def shaded(shade: int) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(np.full((24, 32, 3), shade, np.uint8), format="rgb24")

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.disposition = Disposition.attached_pic
        other = container.add_stream("mpeg4", rate=25) if film else container.add_stream("aac", rate=8000)
        for stream in [cover, other][: 1 + film]:
            stream.width, stream.height = 32, 24
            stream.pix_fmt = "yuvj420p" if stream is cover else "yuv420p"
        container.mux([*cover.encode(shaded(200)), *cover.encode()])
        for t in range(3):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.rate = 8000
            container.mux(other.encode(shaded(24 + 8 * t) if film else sound))
        container.mux(other.encode())
    if film:
        assert numbers(tmp_path / "a.mp4") == [0, 1, 2]
    else:
        with pytest.raises(BadVideo, match="has no video stream"):
            numbers(tmp_path / "a.mp4")


# Absurd sizes and rates


def test_frames_of_absurd_sizes_are_refused(tmp_path: Path) -> None:
    images = [Image.fromarray(np.full((24, 32), 9 * t, np.uint8)) for t in range(3)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    data = bytearray((tmp_path / "a.gif").read_bytes())
    for width, height in ((60_000, 60_000), (65_535, 600), (8_192, 4_097)):
        data[6:10] = struct.pack("<HH", width, height)
        with pytest.raises(BadVideo, match="frames may have at most 33,554,432 pixels"):
            frames_of(data)


@pytest.mark.parametrize(("suffix", "codec"), [("webm", "libvpx"), ("avi", "mjpeg")])
def test_the_largest_frames_are_named(tmp_path: Path, suffix: str, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / f"a.{suffix}", 3, (48, 64), codec=codec)
    monkeypatch.setattr(decoding, "LARGEST", 48 * 64 * 2)
    assert numbers(path) == [0, 1, 2]
    monkeypatch.setattr(decoding, "LARGEST", 48 * 64 // 2)
    with pytest.raises(BadVideo, match="frames may have at most 1,536 pixels"):
        numbers(path)


def test_places_that_no_file_has_are_passed_over_in_silence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(write_video(tmp_path / "a.wmv", 5, codec="wmv2").read_bytes())
    data[53] = 0x7F  # a part of the header that takes 9·10¹⁸ bytes
    (tmp_path / "b.wmv").write_bytes(data)
    with (tmp_path / "b.wmv").open("rb") as file:
        assert sum(map(len, decode(file, None, True))) == 5
    assert capfd.readouterr() == ("", "")


def test_an_avi_of_60000_by_60000_pixels_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((24, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    at = data.index(b"strf") + 12
    for width, height in ((60_000, 60_000), (16_000, 16_000), (2**31 - 1, 1), (0, 24)):
        data[at : at + 8] = struct.pack("<ii", width, height)
        with pytest.raises(BadVideo, match="cannot be read as a video"):
            frames_of(data)


@pytest.mark.parametrize(("scale", "rate"), [(0, 0), (1, 0), (0, 1), (2**32 - 1, 1), (1, 2**32 - 1)])
def test_absurd_rates_do_not_matter(tmp_path: Path, scale: int, rate: int) -> None:
    data = bytearray(write_video(tmp_path / "a.avi", 5).read_bytes())
    at = data.index(b"strh") + 8 + 20
    data[at : at + 8] = struct.pack("<II", scale, rate)
    assert numbers(data) == list(range(5))


def test_large_frames_are_resized_a_channel_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.avi", 3)
    with path.open("rb") as file:
        whole = np.concatenate(list(decode(file, (8, 8), grey=False)))
    monkeypatch.setattr(decoding, "_PIXELS", 100)
    with path.open("rb") as file:
        assert abs(np.concatenate(list(decode(file, (8, 8), grey=False))).astype(int) - whole).max() <= 1

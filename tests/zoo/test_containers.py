"""Videos that were cut short are noticed by the bytes of their containers; whole ones pass, whatever else they hold."""

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.support.videos import write_video
from zoo.data.containers import fault
from zoo.data.decode import BadVideo, decode

CODECS = {"avi": "mjpeg", "mp4": "mpeg4", "mov": "mpeg4", "mkv": "mpeg4", "webm": "libvpx", "wmv": "wmv2"}
CODECS |= {"m4v": "mpeg4", "ogv": "libvpx", "gif": "gif"}
FRAMES = 12


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A whole video of each format, by its suffix."""
    folder, contents = tmp_path_factory.mktemp("videos"), {}
    for suffix, codec in CODECS.items():
        path = folder / f"a.{suffix}"
        if suffix == "gif":
            images = [Image.fromarray(np.full((24, 32), 9 * t, np.uint8)) for t in range(FRAMES)]
            images[0].save(path, save_all=True, append_images=images[1:])
        elif suffix == "ogv":
            write(path, codec, format="ogg")
        else:
            write(path, codec, options={"movflags": "faststart"} if suffix == "m4v" else {})
        contents[suffix] = path.read_bytes()
    return contents


def write(path: Path, codec: str, **how: object) -> None:
    """A video, opened to write in this way."""
    with av.open(str(path), "w", **how) as container:
        stream = container.add_stream(codec, rate=25, options={"g": "4"})
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for t in range(FRAMES):
            image = np.full((24, 32, 3), 24 + 8 * t, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def missing(content: bytes) -> str:
    return fault(io.BytesIO(content))


def count(content: bytes) -> int:
    return sum(len(part) for part in decode(io.BytesIO(content), (8, 8), True))


@pytest.mark.parametrize("suffix", CODECS)
def test_a_whole_video_misses_nothing(videos: dict[str, bytes], suffix: str) -> None:
    assert missing(videos[suffix]) == ""
    assert count(videos[suffix]) == FRAMES


@pytest.mark.parametrize("suffix", CODECS)
def test_wherever_a_video_is_cut_it_is_noticed(videos: dict[str, bytes], suffix: str) -> None:
    content = videos[suffix]
    end = content.index(bytes.fromhex("90080033b1e5cf11")) if suffix == "wmv" else len(content)  # an index follows it
    for length in range(end - 8):
        if not missing(content[:length]):  # between two parts, of which the second is needed
            with pytest.raises(BadVideo, match=r"cannot be read as a video|has no frames"):
                count(content[:length])
    with pytest.raises(BadVideo, match="is cut short: its"):
        count(content[: end // 2])


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("appended", [bytes(1), bytes(100), b"some text", b"\xff" * 100])
def test_what_is_appended_to_a_video_does_not_matter(videos: dict[str, bytes], suffix: str, appended: bytes) -> None:
    assert missing(videos[suffix] + appended) == ""


def test_files_that_are_no_videos_miss_nothing() -> None:
    assert missing(b"") == "cannot be read as a video (it is empty)"
    for content in (b"R", b"text", b"RIFF", bytes(100), b"\xff" * 100, b"\x1a\x45\xdf\xa3", b"OggS"):
        fault(io.BytesIO(content))
    assert missing(b"no video at all, but sixteen bytes and more") == ""


# Formats may leave their sizes unsaid


def test_recordings_that_were_never_finished_are_read_as_far_as_they_go(videos: dict[str, bytes]) -> None:
    avi = videos["avi"]
    for length in (0, 0xFFFFFFFF):
        content = avi[:4] + struct.pack("<I", length) + avi[8:]
        assert missing(content[:-300]) == ""
        assert count(content) == FRAMES


def test_sizes_that_count_their_own_heading_are_accepted(videos: dict[str, bytes]) -> None:
    avi = videos["avi"]
    assert missing(avi[:4] + struct.pack("<I", len(avi)) + avi[8:]) == ""
    assert missing(avi[:4] + struct.pack("<I", len(avi) + 1) + avi[8:])


def test_a_large_avi_has_several_parts() -> None:
    first, second = b"RIFF" + struct.pack("<I", 5) + b"AVI ab", b"RIFF" + struct.pack("<I", 100) + b"AVIX" + bytes(96)
    assert missing(first + second) == ""
    assert missing((first + second)[:-20]) == "is cut short: its parts take 122 bytes, but it has 102"


def test_boxes_may_have_long_sizes_or_reach_to_the_end() -> None:
    head = struct.pack(">I4s8s", 16, b"ftyp", b"isom0000")
    long = struct.pack(">I4sQ", 1, b"mdat", 1000) + bytes(984)
    assert missing(head + long) == ""
    assert missing((head + long)[:-10]) == "is cut short: its parts take 1,016 bytes, but it has 1,006"
    assert missing(head + struct.pack(">I4s", 0, b"mdat") + bytes(10)) == ""
    assert missing(head + struct.pack(">I4sQ", 1, b"mdat", 2**64 - 1)) != ""


def test_streamed_matroska_is_checked_cluster_by_cluster(videos: dict[str, bytes]) -> None:
    mkv = videos["mkv"]
    at = mkv.index(bytes.fromhex("18538067")) + 4
    streamed = mkv[:at] + b"\x01" + b"\xff" * 7 + mkv[at + 8 :]
    assert missing(streamed) == ""
    assert count(streamed) == FRAMES
    assert missing(streamed[:-10])
    cluster = streamed.index(bytes.fromhex("1f43b675")) + 4
    width = 9 - streamed[cluster].bit_length()
    unsaid = ((1 << 7 * width + 1) - 1).to_bytes(width)
    assert missing((streamed[:cluster] + unsaid + streamed[cluster + width :])[:-10]) == ""  # nothing tells


def test_fragments_are_whole_or_not(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write(path, "mpeg4", options={"movflags": "frag_keyframe+empty_moov"})
    content = path.read_bytes()
    assert count(content) == FRAMES
    last = content.rindex(b"mdat")
    assert missing(content[: last + 10])


@pytest.mark.parametrize("suffix", ["ogv", "mkv"])
def test_wrong_checksums_are_noticed(videos: dict[str, bytes], suffix: str) -> None:
    content = bytearray(videos[suffix])
    if suffix == "ogv":  # all of the file
        places = range(30, len(content), 7)
    else:  # what describes the tracks
        begin = content.rindex(bytes.fromhex("1654ae6b"))  # an index names it before
        places = range(content.index(b"\xbf\x84", begin) + 2, content.index(bytes.fromhex("1254c367"), begin))
    assert len(places) > 50
    for place in places:
        content[place] ^= 1
        assert missing(bytes(content)), place
        content[place] ^= 1


def test_an_ogg_without_its_last_page_is_cut_short(videos: dict[str, bytes]) -> None:
    content = videos["ogv"]
    assert missing(content[: content.rindex(b"OggS")]) == "is cut short: its last page is missing"


def test_a_gif_without_its_last_byte_is_cut_short(videos: dict[str, bytes]) -> None:
    content = videos["gif"].rstrip(b"\0")
    assert content.endswith(b";")
    assert missing(content[:-1]) == "is cut short: its last byte is missing"


def test_mpeg_streams_say_no_size_but_a_packet_that_ends_early_is_noticed(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.mpg", 40, (48, 64), codec="mpeg2video").read_bytes()
    assert count(content) == 40
    noticed = 0
    for length in range(200, 4_000, 100):
        assert missing(content[:length]) == ""
        try:
            assert count(content[:length]) == 40  # only padding is missing
        except BadVideo:
            noticed += 1
    assert noticed > 25

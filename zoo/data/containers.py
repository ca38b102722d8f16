"""Detect truncated or damaged video files by the byte structure of their containers.

The number of frames and the duration in a header may be wrong although the video is complete: edit lists hide frames,
dropped frames are counted, or the last frame is held. But every part of a container states its number of bytes. So if
the file ends within a part, or without the end mark of its format, something is missing. Some parts also have
checksums.
"""

import struct
import zlib
from collections.abc import Callable
from typing import IO

_FARTHEST = 1 << 40  # largest position in bytes to seek to; file systems refuse much larger ones
_SPARE = 8  # bytes; some programs count the eight bytes of an AVI's heading as part of its content
_BOXES = frozenset(b"ftyp moov mdat free skip wide pnot PICT udta uuid meta moof mfra sidx ssix styp emsg prft".split())
_ASF_HEADER, _ASF_DATA = (bytes.fromhex(f"{first}26b2758e66cf11a6d900aa0062ce6c") for first in ("30", "36"))
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_PICTURES = frozenset([0x1654AE6B, 0x1F43B675])  # the elements that describe tracks, and clusters of pictures
# other elements of a segment, such as indices, tags and padding
_ELEMENTS = _PICTURES | {_EBML, _SEGMENT, 0x114D9B74, 0x1549A966, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC}


def fault(file: IO[bytes]) -> str:
    """Describe what is wrong with a video; empty if nothing is wrong, or if its format has no way to tell.

    The text continues a sentence that starts with the name of the file. These faults are detected:

    - AVI, MP4, QuickTime, Matroska, WebM, ASF: a part that continues after the end of the file.
    - GIF, Ogg: the same, and a missing end mark.
    - Matroska, WebM, Ogg: a wrong checksum.

    MPEG streams, and recordings whose parts state no size, have no mark that could be missing. There, FFmpeg may detect
    a packet that ends early.

    Args:
        file: the video, open for reading. Its position is set to 0.
    """
    file.seek(0, 2)
    size = file.tell()
    if not size:
        return "cannot be read as a video (it is empty)"
    try:
        file.seek(0)
        start = file.read(16)
        for begins, find_fault in _FORMATS:
            if begins(start):
                return find_fault(file, size)
        return ""
    finally:
        file.seek(0)


def _ends_after(end: int, size: int) -> str:
    return f"is cut short: its parts take {end:,} bytes, but it has {size:,}" if end > size else ""


def _riff(file: IO[bytes], size: int) -> str:
    """AVI: one part, or several if it exceeds a gigabyte. An unfinished recording states the size 0 or -1."""
    position = 0
    while position < size:
        name, length = struct.unpack("<4sI", _at(file, position, 8))
        if name != b"RIFF" or length in (0, 0xFFFFFFFF):
            return ""
        end = position + 8 + length
        if end > size + _SPARE:
            return _ends_after(end, size)
        position = end + end % 2
    return ""


def _boxes(file: IO[bytes], size: int) -> str:
    """MP4 and QuickTime: a sequence of boxes. The last one may state the size 0, for the rest of the file."""
    position = 0
    while position < size:
        length, name, large = struct.unpack(">I4sQ", _at(file, position, 16))
        length = large if length == 1 else length
        if name not in _BOXES or length < 8:
            return ""  # the last box, or appended data
        position += length
    return _ends_after(position, size)


def _matroska(file: IO[bytes], size: int) -> str:
    """Matroska and WebM: a segment of clusters. A segment that was streamed live states no size."""
    position = end = 0
    while position < size:
        element, length, content = _element(file, position)
        if element not in _ELEMENTS:
            break  # appended data
        end = max(end, content + (length or 0))
        if element == _SEGMENT:
            position = content
        elif length is None:
            break  # a cluster that states no size
        else:
            position = content + length
            mark = _at(file, content, 6)  # the element may start with a checksum of the rest
            if element in _PICTURES and mark[:2] == b"\xbf\x84" and position <= size:
                checksum = zlib.crc32(_at(file, content + 6, length - 6)) if length >= 6 else -1
                if checksum != int.from_bytes(mark[2:], "little"):
                    return f"is damaged between bytes {content:,} and {position:,}"
    return _ends_after(end, size)


def _element(file: IO[bytes], position: int) -> tuple[int, int | None, int]:
    """The name of an EBML element, its length (None if not stated), and the start of its content."""
    data = _at(file, position, 12)
    name_bytes = 9 - data[0].bit_length()
    if name_bytes > 4:
        return 0, None, position
    length_bytes = 9 - data[name_bytes].bit_length()
    if length_bytes > 8:
        return 0, None, position
    after = name_bytes + length_bytes
    length = int.from_bytes(data[name_bytes:after]) - (1 << 7 * length_bytes)
    unsaid = length == (1 << 7 * length_bytes) - 1
    return int.from_bytes(data[:name_bytes]), None if unsaid else length, position + after


def _asf(file: IO[bytes], size: int) -> str:
    """ASF, such as WMV: a header, the data, and indices, which may be missing."""
    (header,) = struct.unpack("<Q", _at(file, 16, 8))
    name, data = struct.unpack("<16sQ", _at(file, header, 24))
    if header <= size - 24 and (name != _ASF_DATA or data < 24):
        return ""  # streamed live
    return _ends_after(header + max(data, 24), size)


def _ogg(file: IO[bytes], size: int) -> str:
    """Ogg: a sequence of pages; the last page of each stream is marked."""
    position = 0
    running: set[bytes] = set()
    while position < size:
        head = _at(file, position, 27 + 255)
        if head[:4] != b"OggS":
            break  # appended data
        begin, position = position, position + 27 + head[26] + sum(head[27 : 27 + head[26]])
        if position > size:
            return _ends_after(position, size)
        page = _at(file, begin, position - begin)
        if _ogg_checksum(page[:22] + bytes(4) + page[26:]) != int.from_bytes(page[22:26], "little"):
            return f"is damaged between bytes {begin:,} and {position:,}"
        serial, last = head[14:18], head[5] & 4
        (running.discard if last else running.add)(serial)
    return "is cut short: its last page is missing" if running else ""


def _ogg_checksum(page: bytes) -> int:
    """Ogg's CRC. It has the polynomial of zlib's, but reverses the order of bits and inverts nothing."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _gif(file: IO[bytes], size: int) -> str:
    """GIF: blocks of sub-blocks, and a final byte."""
    position = 13 + _colours(_at(file, 10, 1)[0])
    while position < size:
        kind = _at(file, position, 10)
        if kind[0] == 0x3B:
            return ""
        # an image has a heading of 10 bytes, an optional table of colours, and a byte; an extension has 2 bytes
        position += 11 + _colours(kind[9]) if kind[0] == 0x2C else 2
        while position < size and (length := _at(file, position, 1)[0]):
            position += 1 + length
        position += 1
    return "is cut short: its last byte is missing"


def _colours(flags: int) -> int:
    """The size in bytes of the table of colours that the flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _at(file: IO[bytes], position: int, count: int) -> bytes:
    """The bytes at a position, filled up with zeros after the end of the file."""
    file.seek(min(position, _FARTHEST))
    return file.read(count).ljust(count, b"\0")


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[IO[bytes], int], str]], ...] = (
    (lambda start: start[:4] == b"RIFF", _riff),
    (lambda start: start[4:8] in _BOXES, _boxes),
    (lambda start: start[:4] == _EBML.to_bytes(4), _matroska),
    (lambda start: start[:16] == _ASF_HEADER, _asf),
    (lambda start: start[:4] == b"OggS", _ogg),
    (lambda start: start[:4] == b"GIF8", _gif),
)

"""KTH's annotation file `00sequences.txt`: the frames of each clip in which the person acts."""

import re
from pathlib import Path
from typing import NamedTuple

from zoo.data.regular import open_regular
from zoo.errors import ZooError

ACTIONS = ("boxing", "handclapping", "handwaving", "jogging", "running", "walking")
PERSONS = range(1, 26)
SCENARIOS = 4
_NAME = re.compile(rf"person(\d\d)_({'|'.join(ACTIONS)})_d([1-4])")
_RANGE = re.compile(r"(\d{1,6})-(\d{1,6})")
_LARGEST = 1 << 20  # largest size in bytes; the published file has 37,485
_MOST_RANGES = 100  # largest number of ranges of a clip; a published one has at most 7

# The published file holds these pairs of overlapping ranges. They are kept as published, and `zoo data kth --check`
# lists them. Any other overlap means that the file is damaged.
_PUBLISHED_OVERLAPS = {
    "person03_walking_d4": ((232, 338), (338, 432)),
    "person12_handclapping_d4": ((134, 238), (237, 344)),
    "person15_handclapping_d2": ((156, 228), (228, 285)),
    "person16_handwaving_d4": ((207, 311), (212, 456)),
    "person17_boxing_d1": ((1, 110), (110, 192)),
    "person21_boxing_d2": ((113, 162), (153, 254)),
    "person21_handclapping_d1": ((225, 365), (266, 500)),
}


class Range(NamedTuple):
    """Frames `first` … `last` of a clip, counted from 1, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """The number of frames."""
        return self.last - self.first + 1


class ClipName(NamedTuple):
    """The parts of a clip's name, such as person01_boxing_d1."""

    person: int
    action: str
    scenario: int


MISSING = ClipName(13, "handclapping", 3)
"""The one clip that was never published."""


def parse_name(name: str) -> ClipName | None:
    """The person, action and scenario of a clip; None if KTH has no clip of this name.

    >>> parse_name("person01_boxing_d4")
    ClipName(person=1, action='boxing', scenario=4)
    """
    match = _NAME.fullmatch(name)
    if match is None or int(match[1]) not in PERSONS:
        return None
    return ClipName(int(match[1]), match[2], int(match[3]))


def read_sequences(path: str | Path) -> dict[str, tuple[Range, ...]]:
    """Read the ranges of each clip, by name, in the order of the file. The clip that was never published has none.

    Args:
        path: the file `00sequences.txt`.

    Raises:
        ZooError: if the file cannot be read or is far too large; or if a line has another format, repeats a clip, or
            has a range that is reversed, starts before 1, or overlaps another.
    """
    try:
        with open_regular(Path(path)) as file:
            content = file.read(_LARGEST + 1)
        text = content.decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ZooError(f"{path} cannot be read ({error}); fetch 00sequences.txt again") from None
    if len(content) > _LARGEST:
        raise ZooError(f"{path} has more than {_LARGEST:,} bytes, so it is not 00sequences.txt of KTH; fetch it again")
    by_name: dict[str, tuple[Range, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or not (by_name or line.startswith("person")):
            continue  # there may be text before the first clip, but nowhere else
        name, ranges = _parse_line(line, f"{path}, line {number}")
        if name in by_name:
            raise ZooError(f"{path}, line {number}: {name} is listed twice; fetch the file again")
        by_name[name] = ranges
    if not by_name:
        raise ZooError(f"{path} names no clip, so it is not 00sequences.txt of KTH; fetch it again")
    return by_name


def _parse_line(line: str, where: str) -> tuple[str, tuple[Range, ...]]:
    name, *rest = line.split()
    words = " ".join(rest)
    if parse_name(name) is None:
        raise ZooError(f"{where}: {name[:80]!r} is not a clip of KTH; fetch the file again")
    if words == "*missing*":
        return name, ()
    ranges = []
    for part in words.removeprefix("frames").split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None or not words.startswith("frames"):
            raise ZooError(f"{where}: {line.strip()[:80]!r} is not 'clip frames first-last, …'; fetch the file again")
        ranges.append(Range(int(match[1]), int(match[2])))
    if len(ranges) > _MOST_RANGES:
        raise ZooError(f"{where}: {name} has {len(ranges):,} ranges, more than {_MOST_RANGES}; fetch the file again")
    for each in ranges:
        if not 1 <= each.first <= each.last:
            raise ZooError(
                f"{where}: the range {each.first}-{each.last} of {name} is reversed or starts before 1; fetch the file "
                "again"
            )
    for one, two in overlaps(ranges):
        if _PUBLISHED_OVERLAPS.get(name) != (tuple(one), tuple(two)):
            raise ZooError(
                f"{where}: the ranges {one.first}-{one.last} and {two.first}-{two.last} of {name} overlap; "
                "fetch the file again"
            )
    return name, tuple(ranges)


def overlaps(ranges: list[Range] | tuple[Range, ...]) -> list[tuple[Range, Range]]:
    """Pairs of ranges that share frames."""
    pairs = [(one, two) for i, one in enumerate(ranges) for two in ranges[i + 1 :]]
    return [(one, two) for one, two in pairs if one.first <= two.last and two.first <= one.last]

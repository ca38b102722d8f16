"""Assign clips to training, validation and testing: by their content, or as the user lists them."""

import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, TypeVar

from zoo.errors import ZooError, nearest

HELD_OUT = 0.1  # fraction of the clips for "val", and the same for "test"
Item = TypeVar("Item", str, int)
_RANGE = re.compile(r"(-?\d*):(-?\d*)")


class Splits(NamedTuple):
    """The clips held out of training: names, in which * stands for any text, or ranges such as "80:90"."""

    val: Sequence[str] = ()
    test: Sequence[str] = ()


def split_clips(digests: Mapping[str, str], wanted: Splits) -> dict[str, list[str]]:
    """Assign named clips to the splits.

    Args:
        digests: SHA-256 of each clip's file as hexadecimal digits, by name, in the order in which ranges count.
        wanted: the clips that are held out. If it is empty, `split_files` decides.

    Raises:
        ZooError: if an entry matches no clip, a clip is in two splits, or a split is empty.

    >>> split_clips({"a1": "", "a2": "", "b": "", "c": ""}, Splits(["a*"], ["3:"]))
    {'train': ['b'], 'val': ['a1', 'a2'], 'test': ['c']}
    """
    if not wanted.val and not wanted.test:
        return split_files(digests)
    names = list(digests)
    val, test = (_matching(names, entries, f"data.{kind}") for kind, entries in wanted._asdict().items())
    return _disjoint(names, val, test, "clips")


def split_range(count: int, wanted: Splits, what: str) -> dict[str, list[range]]:
    """Assign `count` clips, or steps in time, to the splits, as consecutive ranges.

    Args:
        count: the number of clips or steps.
        wanted: the ranges that are held out. If it is empty, the last tenth is for testing and the tenth before it for
            validation.
        what: "clips" or "steps in time", for error messages.

    Raises:
        ZooError: if an entry is not a range or holds nothing, ranges overlap, or a split is empty.

    >>> split_range(20, Splits(), "clips")
    {'train': [range(0, 16)], 'val': [range(16, 18)], 'test': [range(18, 20)]}
    >>> split_range(10, Splits(["4:6"], ["8:"]), "clips")["train"]
    [range(0, 4), range(6, 8)]
    """
    if count < 3:
        raise ZooError(f"too few {what} for three splits: {count}; at least 3 are needed")
    if not wanted.val and not wanted.test:
        tenth = max(1, round(count * HELD_OUT))
        wanted = Splits([f"{count - 2 * tenth}:{count - tenth}"], [f"{count - tenth}:{count}"])
    numbers = list(range(count))
    for kind, entries in wanted._asdict().items():
        for entry in entries:
            if not _RANGE.fullmatch(entry):
                raise ZooError(f"data.{kind}: {entry!r} is not a range of {what}; write a range such as '80:90'")
    val, test = (
        [i for entry in entries for i in _slice(numbers, entry, f"data.{kind}", what)]
        for kind, entries in wanted._asdict().items()
    )
    return {split: _consecutive(part) for split, part in _disjoint(numbers, val, test, what).items()}


def split_files(digests: Mapping[str, str]) -> dict[str, list[str]]:
    """Assign each file to one split: about a tenth (at least one) to "val", the same to "test", the rest to "train".

    The content of a file decides. So copies are in the same split, whatever their names are, and a file stays in its
    split if others are added or removed, unless a split would be empty.

    Args:
        digests: SHA-256 of each file as hexadecimal digits, by name.

    Raises:
        ZooError: if there are fewer than three different files.

    >>> import hashlib
    >>> files = {f"{i}.avi": hashlib.sha256(bytes([i])).hexdigest() for i in range(50)}
    >>> {split: len(names) for split, names in split_files(files).items()}
    {'val': 3, 'test': 5, 'train': 42}
    """
    contents = sorted(set(digests.values()))
    if len(contents) < 3:
        raise ZooError(
            f"only {len(contents)} of the usable clips differ{'s' * (len(contents) == 1)}, but three splits "
            "need at least 3; add clips, or list the clips to hold out in data.val and data.test"
        )
    places = [int(content[:12], 16) / 16**12 for content in contents]
    val = min(max(1, bisect(places, HELD_OUT)), len(contents) - 2)
    test = min(max(val + 1, bisect(places, 2 * HELD_OUT)), len(contents) - 1)
    parts = {"val": contents[:val], "test": contents[val:test], "train": contents[test:]}
    return {split: sorted(name for name in digests if digests[name] in part) for split, part in parts.items()}


def _matching(names: list[str], entries: Sequence[str], where: str) -> list[str]:
    matching: dict[str, None] = {}
    for entry in entries:
        if entry in names:
            part = [entry]  # even if it looks like a range, such as "12:30"
        elif _RANGE.fullmatch(entry):
            part = _slice(names, entry, where, "clips")
        elif not (part := _alike(names, entry)):
            raise ZooError(f"{where}: no clip is called {entry!r}; {nearest(entry, names[:20])}")
        matching |= dict.fromkeys(part)
    return list(matching)


def _alike(names: list[str], entry: str) -> list[str]:
    """The names that an entry matches.

    Brackets and question marks stand for themselves in names such as "walk [1]". Only if no name matches in this
    way, the entry is read as a pattern of the shell.
    """
    literal = re.compile(".*".join(map(re.escape, entry.split("*"))), re.DOTALL)
    return [name for name in names if literal.fullmatch(name)] or [name for name in names if fnmatchcase(name, entry)]


def _slice(items: list[Item], entry: str, where: str, what: str) -> list[Item]:
    begin, end = (int(number) if number else None for number in entry.split(":"))
    if not (part := items[begin:end]):
        raise ZooError(f"{where}: the range {entry!r} holds none of the {what} 0 to {len(items) - 1}; change the range")
    return part


def _disjoint(items: list[Item], val: list[Item], test: list[Item], what: str) -> dict[str, list[Item]]:
    both = set(val) & set(test)
    if both:
        raise ZooError(f"{min(both)} is both in data.val and in data.test; name it in only one of them")
    train = [item for item in items if item not in {*val, *test}]
    splits = {"train": train, "val": val, "test": test}
    for split, part in splits.items():
        if not part:
            raise ZooError(f"no {what} are left for {split}; change data.val or data.test")
    return splits


def _consecutive(numbers: list[int]) -> list[range]:
    ranges: list[range] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1].stop == number:
            ranges[-1] = range(ranges[-1].start, number + 1)
        else:
            ranges.append(range(number, number + 1))
    return ranges

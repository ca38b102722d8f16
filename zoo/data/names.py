"""The natural order of names, in which numbers are compared by value."""

import re


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key for the natural order of names.

    >>> sorted(["frame10.png", "frame9.png", "Frame1.png"], key=natural)
    ['Frame1.png', 'frame9.png', 'frame10.png']
    """
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part) for part in parts if part]

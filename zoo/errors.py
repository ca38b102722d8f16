"""The exception type of the package, and a phrase that many of its messages end with."""

import difflib
from collections.abc import Iterable


class ZooError(ValueError):
    """Bad input. The message says what, which value, what is legal and how to mend it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A phrase that says what to write instead of an unknown name: the closest known one, then all.

    >>> nearest("conv-lstn", ["conv-lstm", "predrnn"])
    "did you mean 'conv-lstm'? known: conv-lstm, predrnn"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"{f'did you mean {close[0]!r}? ' if close else ''}known: {', '.join(known)}"

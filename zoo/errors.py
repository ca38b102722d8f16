"""The exception type of the package, and a phrase that ends many of its messages."""

import difflib
from collections.abc import Iterable


class ZooError(ValueError):
    """Bad input. The message says what is wrong, the value, what is legal, and how to repair it."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A phrase that suggests what to write instead of an unknown name: the closest known name, then all of them.

    >>> nearest("conv-lstn", ["conv-lstm", "predrnn"])
    "did you mean 'conv-lstm'? known: conv-lstm, predrnn"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"{f'did you mean {close[0]!r}? ' if close else ''}known: {', '.join(known)}"

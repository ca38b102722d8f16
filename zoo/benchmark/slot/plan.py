"""Divide the time between the parts."""

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.errors import ZooError, nearest

SHARES = {"tests": 1.5 / 9, "speed": 3.5 / 9, "train": 1.0}  # the most valuable first; each may take less
SPARE = 30.0  # the program ends this many seconds before the limit
PACKING = 5.0  # seconds before that end, for the last archive


@dataclass(frozen=True)
class Plan:
    """The parts in the order in which they run, and when each must end.

    Args:
        minutes: the time that the program may take.
        parts: some of "tests", "speed", "train".

    Raises:
        ZooError: if there is no such part, or no time for any.

    >>> plan = Plan(9, ["train", "tests", "speed"])
    >>> plan.parts, plan.end("tests", 0.0), plan.end("speed", 90.0), plan.end("train", 300.0)
    (('tests', 'speed', 'train'), 90.0, 300.0, 505.0)
    """

    minutes: float
    parts: Sequence[str]

    def __post_init__(self) -> None:
        for part in self.parts:
            if part not in SHARES:
                raise ZooError(f"no part {part!r}; {nearest(part, SHARES)}")
        if not self.parts:
            raise ZooError(f"--parts names no part; legal: {', '.join(SHARES)}")
        if not SPARE + PACKING < 60 * self.minutes < float("inf"):
            raise ZooError(
                f"--minutes = {self.minutes:g} leaves no time: the program ends {SPARE:.0f} seconds before the limit, "
                "so at least 0.6 minutes are needed"
            )
        object.__setattr__(self, "parts", tuple(part for part in SHARES if part in self.parts))

    @property
    def last(self) -> float:
        """The second at which the last part must end."""
        return 60 * self.minutes - SPARE - PACKING

    def end(self, part: str, begin: float) -> float:
        """The second at which a part that starts at second `begin` must end."""
        return min(begin + SHARES[part] * 60 * self.minutes, self.last)

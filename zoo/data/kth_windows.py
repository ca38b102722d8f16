"""Rules that cut test sequences (windows of consecutive frames) from the clips. Publications use different rules:

"predrnn": backwards from the last frame of each run. A run is a longest series of consecutive frames that are in any
    range; so if a range starts directly after another, a window may span both. The next window ends one window length
    earlier, or 3 frames earlier in clips of jogging and running. (PredRNN, E3D-LSTM and their successors.)
"mcnet": forwards from the first frame of each range, in steps of the number of predicted frames, or of 3 frames in
    clips of jogging and running. The frame numbers of the annotation count from 1, but its code reads them as if they
    counted from 0. This rule does the same: every window starts one frame late, and the last two possible windows of a
    range are omitted. (Villegas et al., 2017, whose set-up PredRNN++ adopts.)
"conv-tt-lstm": forwards from the first frame of each range, in steps of one window length. (Conv-TT-LSTM's code.)

From all of KTH, these rules cut 5,045, 5,335 and 2,380 test sequences for 10→20, and 2,496, 2,278 and 1,251 for 10→40.
The PredRNN++ paper prints 4,086 (and 108,717 for training). We know of no rule that gives these numbers.
"""

from collections.abc import Callable, Sequence

from zoo.data.kth_annotations import Range
from zoo.errors import ZooError, nearest
from zoo.settings import Windows

HOW: dict[Windows, str] = {
    "predrnn": "backwards from the end of each run, in steps of a window length (jogging and running: 3 frames)",
    "mcnet": "from the start of each range, in steps of the horizon (jogging and running: 3), without the last two",
    "conv-tt-lstm": "from the start of each range, in steps of a window length",
}
BY_RULE = ", windows by "  # precedes the name of a rule other than "predrnn" in `ClipDataset.comparable_with`
FAST = ("jogging", "running")
_FAST_STEP = 3


def window_starts(ranges: Sequence[Range], action: str, length: int, observed: int, windows: Windows) -> list[int]:
    """The first frames, counted from 0, of the windows of `length` frames in one clip.

    Args:
        ranges: the ranges of the clip in which the person acts.
        action: the action of the clip; jogging and running have another step.
        length: number of frames in a window.
        observed: number of these frames that the model observes; only "mcnet" depends on it.
        windows: the name of the rule; see this module.

    Raises:
        ZooError: if there is no such rule, or "mcnet" has no frame to predict.

    >>> window_starts([Range(1, 50), Range(51, 95)], "boxing", 30, 10, "predrnn")
    [5, 35, 65]
    >>> window_starts([Range(1, 50), Range(51, 95)], "boxing", 30, 10, "conv-tt-lstm")
    [0, 50]
    """
    check_windows(windows)
    return sorted(_STARTS[windows](ranges, action in FAST, length, length - observed))


def check_windows(windows: str) -> None:
    """Raise a ZooError if there is no rule of this name."""
    if windows not in HOW:
        raise ZooError(f"no rule for windows {windows!r}; {nearest(windows, HOW)}")


def runs(ranges: Sequence[Range]) -> list[Range]:
    """Merge ranges that touch or overlap, and sort them.

    >>> runs([Range(5, 9), Range(1, 4), Range(20, 30)])
    [Range(first=1, last=9), Range(first=20, last=30)]
    """
    merged: list[Range] = []
    for each in sorted(ranges):
        if merged and each.first <= merged[-1].last + 1:
            merged[-1] = Range(merged[-1].first, max(merged[-1].last, each.last))
        else:
            merged.append(each)
    return merged


def _predrnn(ranges: Sequence[Range], fast: bool, length: int, horizon: int) -> list[int]:
    step = _FAST_STEP if fast else length
    return [start for run in runs(ranges) for start in range(run.last - length, run.first - 2, -step)]


def _mcnet(ranges: Sequence[Range], fast: bool, length: int, horizon: int) -> list[int]:
    if horizon < 1:
        raise ZooError(f"the step of mcnet's windows is the horizon, here {horizon}; predict at least 1 frame")
    step = _FAST_STEP if fast else horizon
    return [start for each in ranges for start in range(each.first, each.last - length - 1, step)]


def _conv_tt_lstm(ranges: Sequence[Range], fast: bool, length: int, horizon: int) -> list[int]:
    return [start for each in ranges for start in range(each.first - 1, each.last - length + 1, length)]


_STARTS: dict[str, Callable[[Sequence[Range], bool, int, int], list[int]]] = {
    "predrnn": _predrnn,
    "mcnet": _mcnet,
    "conv-tt-lstm": _conv_tt_lstm,
}

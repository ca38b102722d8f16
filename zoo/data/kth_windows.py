"""Which windows of consecutive frames are test sequences. Publications cut them in different ways, named here:

"predrnn": backwards from the last frame of each run, where a run is a longest series of consecutive frames that are in
    any range (where one range begins right after another, a window may span both). The next window ends a full window
    earlier; in clips of jogging and running, 3 frames earlier. (PredRNN, E3D-LSTM and their successors.)
"mcnet": forwards from the first frame of each range, in steps of the number of predicted frames; in clips of jogging
    and running, of 3 frames. Its code reads the annotation's frame numbers, which count from 1, as if they counted
    from 0. So does this: every window begins one frame late, and the last two possible windows of a range are left
    out. (Villegas et al., 2017, whose set-up PredRNN++ adopts.)
"conv-tt-lstm": forwards from the first frame of each range, in steps of a full window. (Conv-TT-LSTM's code.)

All of KTH has 5,045, 5,335 and 2,380 such test sequences for 10→20, and 2,496, 2,278 and 1,251 for 10→40. The
PredRNN++ paper prints 4,086 (and 108,717 to train on); we know of no way of cutting that gives these.
"""

from collections.abc import Callable, Sequence

from zoo.data.kth_annotations import Range
from zoo.errors import ZooError, nearest
from zoo.settings import Windows

HOW: dict[Windows, str] = {
    "predrnn": "backwards from the end of each run of ranges, by a full window; jogging and running by 3 frames",
    "mcnet": "from the start of each range, by the predicted frames; jogging and running by 3; without the last two",
    "conv-tt-lstm": "from the start of each range, by a full window",
}
FAST = ("jogging", "running")
_FAST_STEP = 3


def window_starts(ranges: Sequence[Range], action: str, length: int, observed: int, windows: Windows) -> list[int]:
    """First frames, counted from 0, of the windows of `length` frames in one clip.

    Args:
        ranges: of the clip, in which somebody acts.
        action: of the clip; jogging and running have another step.
        length: frames of a window.
        observed: how many of them the model sees; only "mcnet" depends on it.
        windows: the way of cutting, see the module.

    Raises:
        ZooError: no such way, or "mcnet" with no frame to predict.

    >>> window_starts([Range(1, 50), Range(51, 95)], "boxing", 30, 10, "predrnn")
    [5, 35, 65]
    >>> window_starts([Range(1, 50), Range(51, 95)], "boxing", 30, 10, "conv-tt-lstm")
    [0, 50]
    """
    check_windows(windows)
    return sorted(_STARTS[windows](ranges, action in FAST, length, length - observed))


def check_windows(windows: str) -> None:
    """Raise a ZooError unless this is the name of a way of cutting windows."""
    if windows not in HOW:
        raise ZooError(f"no windows {windows!r}; {nearest(windows, HOW)}")


def runs(ranges: Sequence[Range]) -> list[Range]:
    """The same frames in as few ranges as possible, in order.

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
        raise ZooError(f"mcnet's windows are as many frames apart as are predicted, here {horizon}; predict at least 1")
    step = _FAST_STEP if fast else horizon
    return [start for each in ranges for start in range(each.first, each.last - length - 1, step)]


def _conv_tt_lstm(ranges: Sequence[Range], fast: bool, length: int, horizon: int) -> list[int]:
    return [start for each in ranges for start in range(each.first - 1, each.last - length + 1, length)]


_STARTS: dict[str, Callable[[Sequence[Range], bool, int, int], list[int]]] = {
    "predrnn": _predrnn,
    "mcnet": _mcnet,
    "conv-tt-lstm": _conv_tt_lstm,
}

"""Which windows of consecutive frames are test sequences: each published rule, by name.

"predrnn": from the last frame of a run backwards, runs being consecutive frames of any range (where one range begins
    right after another, a window may span both); the next window ends a full window earlier, or 3 frames earlier when
    jogging or running. (PredRNN, E3D-LSTM and their successors.)
"mcnet": from the first frame of each range forwards, by the number of predicted frames, or by 3 when jogging or
    running. The last start, and the start of all windows, are those of its code, which takes the frame numbers,
    counted from 1, as counted from 0: a window begins one frame late, and the last two possible ones are left out.
    (Villegas et al., 2017, whose set-up PredRNN++ adopts.)
"conv-tt-lstm": from the first frame of each range forwards, by a full window. (Conv-TT-LSTM's code.)

Of all of KTH they make 5,045, 5,335 and 2,380 test sequences 10→20, and 2,496, 2,278 and 1,251 10→40. The PredRNN++
paper prints 4,086 (and 108,717 to train on): we know of no rule that gives these.
"""

from collections.abc import Callable, Sequence

from zoo.data.kth_annotations import Range
from zoo.errors import ZooError, nearest
from zoo.settings import Windows

HOW: dict[Windows, str] = {
    "predrnn": "from the end of each run of ranges backwards, by a full window; jogging and running by 3 frames",
    "mcnet": "from the start of each range, by the predicted frames; jogging and running by 3; without the last two",
    "conv-tt-lstm": "from the start of each range, by a full window",
}
FAST = ("jogging", "running")
_FAST_STEP = 3


def window_starts(ranges: Sequence[Range], action: str, length: int, observed: int, rule: Windows) -> list[int]:
    """First frames, counted from 0, of the windows of `length` frames in one clip.

    Args:
        ranges: of the clip.
        action: of the clip; another step is taken for jogging and running.
        length: frames of a window.
        observed: those of them that the model sees.
        rule: see the module.

    Raises:
        ZooError: no such rule, or by "mcnet" no frame to predict.

    >>> window_starts([Range(1, 50), Range(51, 95)], "boxing", 30, 10, "predrnn")
    [5, 35, 65]
    >>> window_starts([Range(1, 50), Range(51, 95)], "boxing", 30, 10, "conv-tt-lstm")
    [0, 50]
    """
    check_rule(rule)
    return sorted(_RULES[rule](ranges, action in FAST, length, length - observed))


def check_rule(rule: str) -> None:
    """Raise a ZooError unless there is such a rule."""
    if rule not in HOW:
        raise ZooError(f"no windowing rule {rule!r}; {nearest(rule, HOW)}")


def runs(ranges: Sequence[Range]) -> list[Range]:
    """The same frames in as few ranges as possible, in order."""
    found: list[Range] = []
    for each in sorted(ranges):
        if found and each.first <= found[-1].last + 1:
            found[-1] = Range(found[-1].first, max(found[-1].last, each.last))
        else:
            found.append(each)
    return found


def _predrnn(ranges: Sequence[Range], fast: bool, length: int, horizon: int) -> list[int]:
    step = _FAST_STEP if fast else length
    return [start for run in runs(ranges) for start in range(run.last - length, run.first - 2, -step)]


def _mcnet(ranges: Sequence[Range], fast: bool, length: int, horizon: int) -> list[int]:
    if horizon < 1:
        raise ZooError(f"windows by mcnet are as far apart as frames are predicted, and {horizon} is no distance")
    step = _FAST_STEP if fast else horizon
    return [start for each in ranges for start in range(each.first, each.last - length - 1, step)]


def _conv_tt_lstm(ranges: Sequence[Range], fast: bool, length: int, horizon: int) -> list[int]:
    return [start for each in ranges for start in range(each.first - 1, each.last - length + 1, length)]


_RULES: dict[str, Callable[[Sequence[Range], bool, int, int], list[int]]] = {
    "predrnn": _predrnn,
    "mcnet": _mcnet,
    "conv-tt-lstm": _conv_tt_lstm,
}

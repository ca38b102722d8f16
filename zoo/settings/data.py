"""The settings of the clips: a class for each kind of data set."""

from dataclasses import dataclass, field
from typing import Literal

from zoo.errors import ZooError, nearest
from zoo.settings.base import Settings

DATA_SETS = ("moving-mnist", "kth", "videos:DIR")
VALIDATION_PERSONS = (15, 16)  # of KTH
Windows = Literal["predrnn", "mcnet", "conv-tt-lstm"]


@dataclass(frozen=True)
class Clips(Settings):
    """Settings of every data set; `MovingMNISTData`, `KTHData` and `VideosData` add their own.

    Args:
        name: "moving-mnist", "kth", or "videos:DIR".
        size: height and width of a frame, in pixels.
        observed: frames that the model sees, T_in.
        length: frames of a training clip, observed ones included.
        clips_per_epoch: training clips in an epoch.
        endless: draw new clips in every epoch instead of the same ones again.
        seed: of the training clips.

    Raises:
        ZooError: no such data set, or the name of one that another class is for.
    """

    name: str
    size: int = 64
    observed: int = 10
    length: int = 20
    clips_per_epoch: int = 10_000
    endless: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if data_class(self.name) is not type(self):
            expected = data_class(self.name).__name__
            raise ZooError(f"data.name = {self.name!r} needs the settings {expected}, not {type(self).__name__}")

    @property
    def kind(self) -> str:
        """The kind of data set: "moving-mnist", "kth" or "videos"."""
        return kind_of(self.name)


@dataclass(frozen=True)
class MovingMNISTData(Clips):
    """Moving-MNIST: grey clips of drifting digits.

    Args:
        name: "moving-mnist".
        digits: moving digits in a clip.
        source: of the handwritten digits: "mnist"; "embedded" for those that scikit-learn ships; or "auto" for MNIST if
            the data root has it, else the embedded ones.
    """

    name: str = "moving-mnist"
    digits: int = 2
    source: Literal["auto", "mnist", "embedded"] = "auto"

    @property
    def channels(self) -> int:
        """1: the frames are grey."""
        return 1


@dataclass(frozen=True)
class KTHData(Clips):
    """KTH actions: grey clips of people.

    Args:
        name: "kth".
        size: height and width of a frame, in pixels.
        windows: the published way in which validation and test clips are cut, see `zoo.data.kth_windows`.
        validation_persons: persons out of 1–16 to validate on; they are held out of training.
        store: digest of the decoded videos. Set by `fit`; a resumed run refuses different data.
    """

    name: str = "kth"
    size: int = 128
    windows: Windows = "predrnn"
    validation_persons: list[int] = field(default_factory=lambda: [*VALIDATION_PERSONS])
    store: str = ""

    @property
    def channels(self) -> int:
        """1: the frames are grey."""
        return 1


@dataclass(frozen=True)
class VideosData(Clips):
    """A folder of videos.

    Args:
        name: "videos:DIR" for the videos in the folder DIR.
        channels: 1 for grey, 3 for RGB; equal to the model's.
        store: digest of the decoded videos. Set by `fit`; a resumed run refuses different data.
    """

    channels: Literal[1, 3] = 1
    store: str = ""


Data = MovingMNISTData | KTHData | VideosData
DATA_CLASSES: dict[str, type[Data]] = {"moving-mnist": MovingMNISTData, "kth": KTHData, "videos": VideosData}


def kind_of(name: str) -> str:
    """The kind of a data set: "moving-mnist", "kth" or "videos".

    Raises:
        ZooError: no such data set.

    >>> kind_of("videos:films")
    'videos'
    """
    kind, _, folder = name.partition(":")
    if name not in DATA_SETS[:2] and not (kind == "videos" and folder):
        raise ZooError(f"no data set {name!r}; {nearest(name, DATA_SETS)}")
    return kind


def data_class(name: str) -> type[Data]:
    """The settings class of a data set.

    Raises:
        ZooError: no such data set.

    >>> data_class("videos:films").__name__
    'VideosData'
    """
    return DATA_CLASSES[kind_of(name)]

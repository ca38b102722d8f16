"""The settings of the clips, with a class for each kind of data set."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from zoo.errors import ZooError, nearest
from zoo.settings.base import Settings

DATA_SETS = ("moving-mnist", "kth", "lorenz", "videos:DIR", "images:DIR", "arrays:FILE", "python")
_PLACED = ("videos", "images", "arrays")  # kinds of data whose names have a colon and a path
VALIDATION_PERSONS = (15, 16)  # persons of KTH
LARGEST_AUGMENTATION = 16  # largest zoom and speed of training clips
Windows = Literal["predrnn", "mcnet", "conv-tt-lstm"]
Resize = Literal["crop", "stretch"]
Content = Literal["video", "series"]  # what the steps of a clip are: frames, or values


@dataclass(frozen=True)
class Clips(Settings):
    """The settings that all data sets share. Each kind of data set has a subclass with further settings.

    A clip is a sequence of steps in time: the frames of a video, or the values of a series.

    Args:
        name: one of `DATA_SETS`, with the path of your data in place of DIR or FILE.
        observed: number of steps at the start of a clip that the model observes (T_in).
        length: number of steps in a training clip, observed and predicted ones together.
        clips_per_epoch: number of training clips in an epoch.
        endless: train on new clips in every epoch, instead of repeating the same clips.
        seed: random seed of the training clips.

    Raises:
        ZooError: if there is no such data set, or it needs another settings class.
    """

    content: ClassVar[Content]

    name: str
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
        """The kind of data set, such as "moving-mnist", or "videos" for "videos:DIR"."""
        return kind_of(self.name)


@dataclass(frozen=True)
class Video(Clips):
    """The base class of the settings of all video data sets."""

    content = "video"


@dataclass(frozen=True)
class FilmedData(Video):
    """The base class of the settings of stored clips, whose training clips can be augmented.

    Args:
        flip: mirror each training clip left to right with probability 1/2.
        max_zoom: enlarge each training clip by a random factor from 1 to this number, and keep a random part of it that
            has the size of a frame.
        max_speed: play each training clip at a random whole speed from 1 to this number. At speed 2 it has every second
            frame. Where a clip would reach beyond its video, it is played at the highest speed that fits.
    """

    flip: bool = False
    max_zoom: float = 1.0
    max_speed: int = 1


@dataclass(frozen=True)
class MovingMNISTData(Video):
    """Data: Moving-MNIST, grey clips of digits that move about a square and are reflected at its border.

    Args:
        name: "moving-mnist".
        size: height and width of a frame, in pixels.
        digits: number of moving digits in a clip.
        source: the handwritten digits: "mnist", "embedded" for the digits of scikit-learn, or "auto" for MNIST if it
            is in the data root and the embedded digits otherwise.
    """

    name: str = "moving-mnist"
    size: int = 64
    digits: int = 2
    source: Literal["auto", "mnist", "embedded"] = "auto"

    @property
    def channels(self) -> int:
        """Number of channels of a frame: 1, because frames are grey."""
        return 1

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of a frame, in pixels."""
        return self.size, self.size


@dataclass(frozen=True)
class KTHData(FilmedData):
    """Data: KTH actions, grey clips of people who walk, run, box and the like.

    Args:
        name: "kth".
        size: height and width of a frame, in pixels.
        windows: how validation and test clips are cut from the videos, by the name of a published rule; see
            `zoo.data.kth_windows`.
        validation_persons: persons of 1–16 whose videos are for validation and not for training.
        store: digest of the decoded videos. `fit` sets it, so that a run can only be resumed with the same data.
    """

    name: str = "kth"
    size: int = 128
    windows: Windows = "predrnn"
    validation_persons: list[int] = field(default_factory=lambda: [*VALIDATION_PERSONS])
    store: str = ""

    @property
    def channels(self) -> int:
        """Number of channels of a frame: 1, because frames are grey."""
        return 1

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of a frame, in pixels."""
        return self.size, self.size


@dataclass(frozen=True)
class OwnData(Video):
    """The base class of the settings of your own clips.

    Args:
        name: name of the data set.
        size: height and width of a frame in pixels, such as [48, 64]; or one number for both.
        channels: number of channels of a frame; the model must have the same number.
        mean: mean of each channel, a list. It is subtracted from a frame in [0, 1] before the model reads it, and added
            to the predictions, so that metrics and pictures use frames in [0, 1]. An empty list stands for 0.
        std: standard deviation of each channel, a list. Frames are divided by it after the mean is subtracted, and
            predictions are multiplied by it. An empty list stands for 1.
    """

    size: int | list[int] = 64
    channels: int = 1
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of a frame in pixels; both are 0 if an array keeps its own size."""
        if isinstance(self.size, int):
            return self.size, self.size
        return self.size[0], self.size[1]


@dataclass(frozen=True)
class StoredData(OwnData, FilmedData):
    """Your own clips, in files.

    Args:
        name: "videos:DIR" for the videos in the folder DIR and its subfolders, or "images:DIR" for folders of frames in
            DIR, each of which is a clip.
        resize: how frames are brought to `size`: "crop" scales them until they cover it and cuts out the centre,
            "stretch" scales height and width independently.
        stride: read only every stride-th frame of a file.
        val: clips for validation: names, in which * stands for any text, or ranges of the sorted clips such as "80:90".
            If both `val` and `test` are empty, a tenth of the clips is held out for each, chosen by their content.
        test: clips for testing, given in the same way. Clips in neither list are for training.
        store: digest of the clips. `fit` sets it, so that a run can only be resumed with the same data.
    """

    resize: Resize = "crop"
    stride: int = 1
    val: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    store: str = ""


@dataclass(frozen=True)
class VideosData(StoredData):
    """Data: a folder of videos.

    Args:
        channels: 1 for grey or 3 for RGB; the model must have the same number.
    """

    channels: Literal[1, 3] = 1


@dataclass(frozen=True)
class ImagesData(VideosData):
    """Data: folders of PNG or JPEG frames. Each folder is a clip, in the natural order of names."""


@dataclass(frozen=True)
class ArraysData(StoredData):
    """Data: an array of clips in a `.npy`, `.npz`, HDF5 or zarr file.

    Args:
        name: "arrays:FILE" for the array in FILE.
        size: height and width of a frame in pixels, such as [48, 64]; 0 keeps those of the array.
        val: ranges of clips for validation, such as "80:90"; ranges of steps in time if the array has no axis N. If
            both `val` and `test` are empty, the last tenth is for testing and the tenth before it for validation.
        test: ranges for testing, given in the same way. What is in neither list is for training.
        key: name of the array, if the file holds several.
        axes: letters that name the axes of the array, such as NTHWC: N clips, T steps in time, C channels, H rows and
            W columns. The default is THW, NTHW or NTCHW, by the number of axes.
        range: the two values that become 0 and 1. The default is 0 and 255 for bytes, and 0 and 1 for floats.
    """

    size: int | list[int] = 0
    key: str = ""
    axes: str = ""
    range: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class PythonData(OwnData):
    """Data: clips that a Python program passes to `zoo.fit`; see `zoo.data.ClipSource`.

    Args:
        name: "python".
    """

    name: str = "python"


@dataclass(frozen=True)
class LorenzData(Clips):
    """Data: series of the Lorenz system, sampled every 0.05 units of time.

    Args:
        name: "lorenz".
        observed: number of steps at the start of a clip that the model observes (T_in).
        length: number of steps in a training clip, observed and predicted ones together.
    """

    content = "series"

    name: str = "lorenz"
    observed: int = 10
    length: int = 40

    @property
    def columns(self) -> int:
        """Number of values in a step: the 3 coordinates of the system."""
        return 3


VideoData = MovingMNISTData | KTHData | VideosData | ImagesData | ArraysData | PythonData
Data = VideoData | LorenzData
DATA_CLASSES: dict[str, type[Data]] = {
    "moving-mnist": MovingMNISTData,
    "kth": KTHData,
    "lorenz": LorenzData,
    "videos": VideosData,
    "images": ImagesData,
    "arrays": ArraysData,
    "python": PythonData,
}


def kind_of(name: str) -> str:
    """The kind of a data set, such as "moving-mnist", or "videos" for "videos:DIR".

    Raises:
        ZooError: if there is no such data set.

    >>> kind_of("videos:films")
    'videos'
    """
    kind, _, place = name.partition(":")
    if bool(place) != (kind in _PLACED) or kind not in DATA_CLASSES or (":" in name and not place):
        raise ZooError(f"no data set {name!r}; {nearest(name, DATA_SETS)}")
    return kind


def data_class(name: str) -> type[Data]:
    """The settings class of a data set.

    Raises:
        ZooError: if there is no such data set.

    >>> data_class("videos:films").__name__
    'VideosData'
    """
    return DATA_CLASSES[kind_of(name)]

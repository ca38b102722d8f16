"""The settings of the clips: a class for each kind of data set."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from zoo.errors import ZooError, nearest
from zoo.settings.base import Settings

DATA_SETS = ("moving-mnist", "kth", "lorenz", "videos:DIR", "images:DIR", "arrays:FILE", "python")
_PLACED = ("videos", "images", "arrays")  # kinds whose names say after a colon where the clips are
VALIDATION_PERSONS = (15, 16)  # of KTH
Windows = Literal["predrnn", "mcnet", "conv-tt-lstm"]
Resize = Literal["crop", "stretch"]
Content = Literal["video", "series"]  # of clips: steps that are frames, or steps that are values


@dataclass(frozen=True)
class Clips(Settings):
    """Settings of every data set; each kind has a class that adds its own.

    A clip has steps in time: the frames of a video, or the values of a series.

    Args:
        name: one of `DATA_SETS`, with the path of your data in place of DIR or FILE.
        observed: steps that the model sees, T_in.
        length: steps of a training clip, observed ones included.
        clips_per_epoch: training clips in an epoch.
        endless: draw new clips in every epoch instead of the same ones again.
        seed: random seed of the training clips.

    Raises:
        ZooError: no such data set, or one that belongs to another settings class.
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
        """The kind of data set, such as "moving-mnist" or "videos"."""
        return kind_of(self.name)


@dataclass(frozen=True)
class Video(Clips):
    """Settings of every data set of video."""

    content = "video"


@dataclass(frozen=True)
class MovingMNISTData(Video):
    """Moving-MNIST: grey clips of drifting digits.

    Args:
        name: "moving-mnist".
        size: height and width of a frame, in pixels.
        digits: number of moving digits in a clip.
        source: where the handwritten digits come from: "mnist"; "embedded" for those that scikit-learn ships; or
            "auto" for MNIST if the data root has it, else the embedded ones.
    """

    name: str = "moving-mnist"
    size: int = 64
    digits: int = 2
    source: Literal["auto", "mnist", "embedded"] = "auto"

    @property
    def channels(self) -> int:
        """1: the frames are grey."""
        return 1

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width."""
        return self.size, self.size


@dataclass(frozen=True)
class KTHData(Video):
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

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width."""
        return self.size, self.size


@dataclass(frozen=True)
class OwnData(Video):
    """The user's own clips, wherever they come from.

    Args:
        name: name of the data set.
        size: height and width of a frame, in pixels, such as [48, 64]; or one number for both.
        channels: channels of a frame; must equal those of the model.
        mean: subtracted from each channel of a frame in [0, 1] before the model reads it, and added to what it
            predicts, so that metrics and pictures see frames in [0, 1]; one number for each channel. Empty for 0.
        std: what each channel is divided by after that, and multiplied by before. Empty for 1.
    """

    size: int | list[int] = 64
    channels: int = 1
    mean: list[float] = field(default_factory=list)
    std: list[float] = field(default_factory=list)

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width; zeros for those of an array."""
        if isinstance(self.size, int):
            return self.size, self.size
        return self.size[0], self.size[1]


@dataclass(frozen=True)
class StoredData(OwnData):
    """The user's own clips, in files.

    Args:
        name: "videos:DIR" for the videos in the folder DIR and its subfolders; "images:DIR" for folders of frames in
            DIR, a clip each.
        resize: how frames of another shape get their size: "crop" scales them until they cover it and cuts out the
            centre, "stretch" squashes them.
        stride: take only every stride-th frame of a file.
        val: clips to validate on: names, in which * stands for anything, or ranges of the sorted clips such as
            "80:90". Empty, with an empty `test`, for a tenth that the content of the files decides.
        test: clips to test on; those that are in neither are for training.
        store: digest of the clips. Set by `fit`; a resumed run refuses different data.
    """

    resize: Resize = "crop"
    stride: int = 1
    val: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    store: str = ""


@dataclass(frozen=True)
class VideosData(StoredData):
    """A folder of videos; or of folders of images, as `ImagesData`.

    Args:
        channels: 1 for grey, 3 for RGB; must equal those of the model.
    """

    channels: Literal[1, 3] = 1


@dataclass(frozen=True)
class ImagesData(VideosData):
    """Folders of PNG or JPEG frames, a clip each; the natural order of their names is that in time."""


@dataclass(frozen=True)
class ArraysData(StoredData):
    """An array of clips in a `.npy`, `.npz`, HDF5 or zarr file.

    Args:
        name: "arrays:FILE" for the array in FILE.
        size: height and width of a frame, in pixels, such as [48, 64]; 0 for those of the array.
        val: ranges of the clips to validate on, such as "80:90"; of the steps in time if the array has no axis N.
            Empty, with an empty `test`, for the last tenth but one.
        test: ranges to test on; with an empty `val` the last tenth.
        key: name of the array in a file that holds several.
        axes: letters that name the axes of the array, such as NTHWC: N clips, T steps in time, C channels, H rows and
            W columns. By default THW, NTHW or NTCHW, by their number.
        range: the values that become 0 and 1. By default 0 and 255 for bytes, and 0 and 1 for floats.
    """

    size: int | list[int] = 0
    key: str = ""
    axes: str = ""
    range: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class PythonData(OwnData):
    """Clips that a program passes to `zoo.fit`, see `zoo.data.ClipSource`.

    Args:
        name: "python".
    """

    name: str = "python"


@dataclass(frozen=True)
class LorenzData(Clips):
    """Series of the Lorenz system, sampled every 0.05 time units.

    Args:
        name: "lorenz".
        observed: steps that the model sees, T_in.
        length: steps of a training clip, observed ones included.
    """

    content = "series"

    name: str = "lorenz"
    observed: int = 10
    length: int = 40

    @property
    def columns(self) -> int:
        """3: the coordinates of the system."""
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
        ZooError: no such data set.

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
        ZooError: no such data set.

    >>> data_class("videos:films").__name__
    'VideosData'
    """
    return DATA_CLASSES[kind_of(name)]
